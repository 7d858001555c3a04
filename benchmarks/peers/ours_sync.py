"""threadlog without asyncio."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Self

from cubeloop.checkpointer import CheckpointData
from cubeloop.hitl.types import HitlRequest
from cubeloop.providers.base import Message

import threadlog
from benchmarks.conversation import question
from benchmarks.peers.contender import CONNECTIONS, Contender
from benchmarks.peers.log_tables import LogTables
from benchmarks.peers.names import SYNC
from threadlog.cubeloop import VOCABULARY


class _Checkpointer(threadlog.SyncCheckpointer[Message, HitlRequest, CheckpointData]):
    vocabulary = VOCABULARY


class OursSync(Contender):
    """`threadlog.SyncCheckpointer` with cubeloop's messages; its writers are threads."""

    name = SYNC

    def __init__(
        self, checkpointer: _Checkpointer, executor: ThreadPoolExecutor, tables: LogTables
    ) -> None:
        """Wrap an open checkpointer, and a pool of threads for its callers."""
        super().__init__(tables)
        self._checkpointer = checkpointer
        self._executor = executor

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, tables: LogTables) -> AsyncIterator[Self]:
        """Open the contender on a database."""
        with (
            _Checkpointer(url, max_pool_size=CONNECTIONS) as checkpointer,
            ThreadPoolExecutor(CONNECTIONS) as executor,
        ):
            yield cls(checkpointer, executor, tables)

    async def write(self, thread_ids: Sequence[str], times: int) -> None:
        """See `Contender.write`."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            *(loop.run_in_executor(self._executor, self._write, name, times) for name in thread_ids)
        )

    def _write(self, thread_id: str, times: int) -> None:
        messages = [question()]
        for _ in range(times):
            self._checkpointer.append(thread_id, messages)

    async def read(self, thread_id: str, times: int, last: int | None = None) -> int:
        """See `Contender.read`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._read, thread_id, times, last)

    def _read(self, thread_id: str, times: int, last: int | None) -> int:
        count = 0
        for _ in range(times):
            data = self._checkpointer.load(thread_id, last=last)
            count = len(data.messages) if data else 0
        return count
