"""threadlog in asyncio."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

from benchmarks.conversation import question
from benchmarks.peers.contender import CONNECTIONS, AsyncContender
from benchmarks.peers.log_tables import LogTables
from benchmarks.peers.names import OURS
from threadlog.cubeloop import Checkpointer


class Ours(AsyncContender):
    """`threadlog.cubeloop.Checkpointer`, which takes cubeloop's messages."""

    name = OURS

    def __init__(self, checkpointer: Checkpointer, tables: LogTables) -> None:
        """Wrap an open checkpointer."""
        super().__init__(tables)
        self.checkpointer = checkpointer

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, tables: LogTables) -> AsyncIterator[Self]:
        """Open the contender on a database."""
        async with Checkpointer(url, max_pool_size=CONNECTIONS) as checkpointer:
            yield cls(checkpointer, tables)

    def writer(self, thread_id: str) -> Callable[[], Awaitable[object]]:
        """See `AsyncContender.writer`."""
        messages = [question()]
        return lambda: self.checkpointer.append(thread_id, messages)

    def reader(self, thread_id: str, last: int | None) -> Callable[[], Awaitable[int]]:
        """See `AsyncContender.reader`."""

        async def read() -> int:
            data = await self.checkpointer.load(thread_id, last=last)
            return len(data.messages) if data else 0

        return read
