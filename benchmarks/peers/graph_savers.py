"""Savers of graph state: ours, and LangGraph's for SQLite and PostgreSQL."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from benchmarks.peers.names import LANGGRAPH, OURS
from benchmarks.place import Place
from threadlog.langgraph import Saver

Savers = Mapping[str, Mapping[str, Any]]
"""Savers by their database, and there by their names."""


@asynccontextmanager
async def opened_savers(place: Place) -> AsyncIterator[Savers]:
    """Return the savers, open and set up. LangGraph has none for MySQL."""
    theirs_on_sqlite = str(place.folder / "langgraph.db")
    made: dict[str, dict[str, Any]] = {
        "SQLite": {
            OURS: Saver(f"sqlite:///{place.folder}/graph.db"),
            LANGGRAPH: AsyncSqliteSaver.from_conn_string(theirs_on_sqlite),
        },
        "PostgreSQL": {
            OURS: Saver(place.postgres),
            LANGGRAPH: AsyncPostgresSaver.from_conn_string(place.postgres),
        },
        "MySQL": {OURS: Saver(place.mysql)},
    }
    async with AsyncExitStack() as stack:
        opened = {
            database: {name: await stack.enter_async_context(one) for name, one in savers.items()}
            for database, savers in made.items()
        }
        for savers in opened.values():
            for saver in savers.values():
                await saver.setup()
        yield opened
