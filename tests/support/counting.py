"""Counts of what a server is sent, by the server itself."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.support.databases import engine_for

_QUESTIONS: Final = "SHOW GLOBAL STATUS LIKE 'Questions'"
_CALLS: Final = "SELECT 'calls', SUM(calls) FROM pg_stat_statements"
_COUNTS: Final = {"mysql": _QUESTIONS, "mariadb": _QUESTIONS, "postgresql": _CALLS}

# What has to be done before: PostgreSQL forgets rare statements once there are too many.
_PREPARATIONS: Final = {"postgresql": "SELECT pg_stat_statements_reset()"}


class StatementCount:
    """Counts the statements that a server gets, commit and rollback included.

    PostgreSQL counts no statement that fails.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        """Create the count with its own connection."""
        self._connection = connection

    async def questions(self) -> int:
        """Return the server's count of statements, including this query."""
        row = await self._connection.execute(text(_COUNTS[self._connection.dialect.name]))
        return int(row.one()[1])

    async def of(self, work: Callable[[], Awaitable[object]]) -> int:
        """Count what `work` sends; the fewest of three, since others may use the server."""
        counts = []
        for _ in range(3):
            await self._prepare()
            before = await self.questions()
            await work()
            counts.append(await self.questions() - before - 1)
        return min(counts)

    def figure(self, mysql: int, *, postgresql: int, mariadb: int | None = None) -> int:
        """Return the figure for the server in use; on MariaDB `mysql` unless `mariadb` is given."""
        match self._connection.dialect.name:
            case "postgresql":
                return postgresql
            case "mariadb" if mariadb is not None:
                return mariadb
        return mysql

    async def _prepare(self) -> None:
        statement = _PREPARATIONS.get(self._connection.dialect.name)
        if statement:
            await self._connection.execute(text(statement))


@asynccontextmanager
async def statement_count(server_url: str) -> AsyncIterator[StatementCount]:
    """Yield a count of the statements that a server receives.

    A PostgreSQL server that the tests did not start needs ``pg_stat_statements`` in its
    ``shared_preload_libraries``.
    """
    engine = engine_for(server_url, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                create = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements"
                await connection.execute(text(create))
            yield StatementCount(connection)
    finally:
        await engine.dispose()
