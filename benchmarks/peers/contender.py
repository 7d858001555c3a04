"""A contender: anything that keeps conversations in MySQL."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, Final

from benchmarks.peers.log_tables import LogTables

CONNECTIONS: Final = 24
"""The most connections of each contender; of ours a third are for reading.

So none of 16 writers waits for a connection, whoever it writes with.
"""


class Contender(ABC):
    """Appends and loads, as fast as it can, over a pool of `CONNECTIONS`."""

    name: ClassVar[str]

    loads_the_newest: ClassVar[bool] = True
    """True if the contender can load only the newest messages of a thread."""

    def __init__(self, tables: LogTables) -> None:
        """Use the tables in which the threads are created."""
        self.tables = tables

    @abstractmethod
    async def write(self, thread_ids: Sequence[str], times: int) -> None:
        """Append a message several times with one writer for each thread id, all at once.

        Args:
            thread_ids: existing threads; several writers may write to one.
            times: the messages of each writer, one by one, each committed before the next.
        """

    @abstractmethod
    async def read(self, thread_id: str, times: int, last: int | None = None) -> int:
        """Load a thread so often, one load after the other.

        Returns:
            The number of messages that the last load gave.
        """


class AsyncContender(Contender):
    """A contender whose writers are tasks."""

    @abstractmethod
    def writer(self, thread_id: str) -> Callable[[], Awaitable[object]]:
        """Return a function that appends one message to a thread."""

    @abstractmethod
    def reader(self, thread_id: str, last: int | None) -> Callable[[], Awaitable[int]]:
        """Return a function that loads a thread and counts its messages."""

    async def write(self, thread_ids: Sequence[str], times: int) -> None:
        """See `Contender.write`."""
        await asyncio.gather(*(_repeat(self.writer(name), times) for name in thread_ids))

    async def read(self, thread_id: str, times: int, last: int | None = None) -> int:
        """See `Contender.read`."""
        read = self.reader(thread_id, last)
        count = 0
        for _ in range(times):
            count = await read()
        return count


async def _repeat(work: Callable[[], Awaitable[object]], times: int) -> None:
    for _ in range(times):
        await work()
