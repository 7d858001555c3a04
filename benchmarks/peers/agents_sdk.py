"""The session of the OpenAI Agents SDK that keeps its items in a SQL database."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self

from agents.extensions.memory import SQLAlchemySession
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.conversation import conversation_items, question_item
from benchmarks.peers.contender import CONNECTIONS, AsyncContender
from benchmarks.peers.log_tables import LogTables
from benchmarks.peers.names import AGENTS_SDK

# What its create_tables=True would create if its VARCHARs had the length that MySQL asks for.
_SESSIONS: Final = """
CREATE TABLE agent_sessions (
    session_id VARCHAR(255) PRIMARY KEY,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
)"""
_MESSAGES: Final = """
CREATE TABLE agent_messages (
    id INTEGER AUTO_INCREMENT PRIMARY KEY,
    session_id VARCHAR(255) NOT NULL,
    message_data TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (session_id) REFERENCES agent_sessions (session_id) ON DELETE CASCADE,
    INDEX idx_agent_messages_session_time (session_id, created_at)
)"""


class AgentsTables(LogTables):
    """Its two tables."""

    thread = "INSERT INTO agent_sessions (session_id) VALUES (:id)"
    message = "INSERT INTO agent_messages (session_id, message_data) VALUES (:id, :data)"
    copy = (
        "INSERT INTO agent_messages (session_id, message_data) SELECT session_id, message_data"
        " FROM agent_messages WHERE session_id = :id ORDER BY id LIMIT :count"
    )

    def seeds(self) -> Sequence[Mapping[str, Any]]:
        """Return the items of the conversation."""
        return [{"data": json.dumps(item)} for item in conversation_items()]


class AgentsSDK(AsyncContender):
    """`agents.extensions.memory.SQLAlchemySession` over asyncmy, one object for each writer."""

    name = AGENTS_SDK

    def __init__(self, engine: AsyncEngine) -> None:
        """Use an engine of a database that has the tables."""
        super().__init__(AgentsTables(engine))
        self._engine = engine

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str) -> AsyncIterator[Self]:
        """Open the contender on a database, and create its tables."""
        engine = create_async_engine(
            make_url(url).set(drivername="mysql+asyncmy"), pool_size=CONNECTIONS, max_overflow=0
        )
        try:
            async with engine.begin() as connection:
                await connection.execute(text(_SESSIONS))
                await connection.execute(text(_MESSAGES))
            yield cls(engine)
        finally:
            await engine.dispose()

    def writer(self, thread_id: str) -> Callable[[], Awaitable[object]]:
        """See `AsyncContender.writer`."""
        session = SQLAlchemySession(thread_id, engine=self._engine)
        items = [question_item()]
        return lambda: session.add_items(items)

    def reader(self, thread_id: str, last: int | None) -> Callable[[], Awaitable[int]]:
        """See `AsyncContender.reader`."""
        session = SQLAlchemySession(thread_id, engine=self._engine)

        async def read() -> int:
            return len(await session.get_items(limit=last))

        return read
