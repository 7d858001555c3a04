"""The framework's own backend: that of ``cubeloop[mysql]``."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

from cubeloop.checkpointer.mysql import MySQLCheckpointer

from benchmarks.conversation import question
from benchmarks.peers.contender import CONNECTIONS, AsyncContender
from benchmarks.peers.log_tables import LogTables
from benchmarks.peers.names import FRAMEWORK


class Framework(AsyncContender):
    """`cubeloop.checkpointer.mysql.MySQLCheckpointer`, over aiomysql."""

    name = FRAMEWORK
    loads_the_newest = False

    def __init__(self, checkpointer: Any, tables: LogTables) -> None:
        """Wrap an open checkpointer."""
        super().__init__(tables)
        self.checkpointer = checkpointer

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, tables: LogTables) -> AsyncIterator[Self]:
        """Open the contender on a database."""
        async with MySQLCheckpointer(url, max_pool_size=CONNECTIONS) as checkpointer:
            yield cls(checkpointer, tables)

    def writer(self, thread_id: str) -> Callable[[], Awaitable[object]]:
        """See `AsyncContender.writer`."""
        messages = [question()]
        return lambda: self.checkpointer.append(thread_id, messages)

    def reader(self, thread_id: str, last: int | None) -> Callable[[], Awaitable[int]]:
        """See `AsyncContender.reader`."""

        async def read() -> int:
            return len((await self.checkpointer.load(thread_id)).messages)

        return read
