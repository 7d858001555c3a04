"""Counts of what a MySQL server is sent, by the server itself."""

from collections.abc import Awaitable, Callable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class StatementCount:
    """Counts the statements that a MySQL server gets, commit and rollback included."""

    def __init__(self, connection: AsyncConnection) -> None:
        """Ask over a connection of its own."""
        self._connection = connection

    async def questions(self) -> int:
        """Give the server's count of statements since it started."""
        row = await self._connection.execute(text("SHOW GLOBAL STATUS LIKE 'Questions'"))
        return int(row.one()[1])

    async def of(self, work: Callable[[], Awaitable[object]]) -> int:
        """Count what `work` sends; the fewest of three, since others may use the server."""
        counts = []
        for _ in range(3):
            before = await self.questions()
            await work()
            counts.append(await self.questions() - before - 1)
        return min(counts)
