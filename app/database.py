"""The engines of an open checkpointer, and what runs on their sessions."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, Final, TypeVar

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from threadlog.backends import Backend, PoolSize, backend_of, show_url
from threadlog.engines import open_engine
from threadlog.errors import ConfigurationError, NotOpenError
from threadlog.store import translated

T = TypeVar("T")

_GRACE_SECONDS: Final = 5.0


class _Pool:
    """An engine, and as many slots as it has connections.

    First come, first served, for as long as it takes: the engine's own queue would give up
    after half a minute.
    """

    def __init__(self, engine: AsyncEngine, size: PoolSize) -> None:
        self.engine = engine
        self.size = size
        self.slots = asyncio.Semaphore(size.most)

    async def run(self, work: Callable[[Session], T]) -> T:
        """Run synchronous work in one greenlet; it closes the session itself.

        Leaving that to AsyncSession would cost a second greenlet and a task each time.
        """
        return await _undisturbed(AsyncSession(self.engine).run_sync(work))

    async def warm(self) -> None:
        """Open connections until there are as many as there are to be at the least."""
        async with AsyncExitStack() as opened:
            for _ in range(self.size.least):
                await opened.enter_async_context(self.engine.connect())

    async def drain(self) -> None:
        """Wait until nothing runs, and let nothing begin."""
        for _ in range(self.size.most):
            await self.slots.acquire()


class Database:
    """The connections of one checkpointer, open or closed.

    On servers that gain by it some connections are set aside for reading: they commit by
    themselves, so that a read costs one round trip and not a second to end its transaction.
    """

    def __init__(self, url: URL, pool: PoolSize) -> None:
        """Take a URL and how many connections to open at the start and at most.

        Raises:
            ConfigurationError: the URL cannot be used.
        """
        self.url = url
        self.backend: Backend = backend_of(url)
        self.backend.settings(url, pool)
        self._size = pool
        self._writing: _Pool | None = None
        self._reading: _Pool | None = None

    def __repr__(self) -> str:
        """Show the URL without its password, and the state."""
        return f"{show_url(self.url)} {'closed' if self._writing is None else 'open'}"

    @property
    def engine(self) -> AsyncEngine | None:
        """The engine that writes; None while closed."""
        return None if self._writing is None else self._writing.engine

    @property
    def reading_engine(self) -> AsyncEngine | None:
        """The engine that only reads; None while closed, and where there is none."""
        return None if self._reading is None else self._reading.engine

    def open(self) -> None:
        """Make the engines; nothing connects yet.

        Raises:
            ConfigurationError: it is open already, or an engine cannot be made.
            MissingExtraError: the driver is not installed.
        """
        if self._writing is not None:
            raise ConfigurationError(
                f"The checkpointer of {show_url(self.url)} is entered already; use one block at "
                "a time."
            )
        writing, reading = self.backend.divide(self._size)
        self._writing = _Pool(open_engine(self.backend, self.url, writing), writing)
        if reading.most:
            engine = open_engine(self.backend, self.url, reading, reading=True)
            self._reading = _Pool(engine, reading)

    async def warm(self) -> None:
        """Open the connections that are to be open at the start.

        Raises:
            StorageError: one cannot be opened.
        """
        with translated(self.backend):
            for pool in self._pools():
                await pool.warm()

    async def write(self, work: Callable[[Session], T]) -> T:
        """Run work that may write."""
        return await self._run(self._writing, work)

    async def read(self, work: Callable[[Session], T]) -> T:
        """Run work that only reads; where reading connections are busy, on one that writes."""
        reading = self._reading
        if reading is None or reading.slots.locked():
            return await self._run(self._writing, work)
        return await self._run(reading, work)

    async def close(self) -> None:
        """Close the connections when what runs has finished, or after a grace period."""
        pools = self._pools()
        self._writing = self._reading = None
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                for pool in pools:
                    await pool.drain()
        except TimeoutError:
            return  # what still runs closes its connection itself
        finally:
            for pool in pools:
                await pool.engine.dispose()

    def _pools(self) -> list[_Pool]:
        return [pool for pool in (self._writing, self._reading) if pool is not None]

    async def _run(self, pool: _Pool | None, work: Callable[[Session], T]) -> T:
        if pool is None:
            raise NotOpenError(
                f"The checkpointer of {show_url(self.url)} is not open. Use it inside its "
                "'async with' block."
            )
        async with pool.slots:
            if pool not in self._pools():
                raise NotOpenError(
                    f"The checkpointer of {show_url(self.url)} was closed before the operation "
                    "began."
                )
            return await pool.run(work)


async def _undisturbed(work: Coroutine[Any, Any, T]) -> T:
    """Await work that a cancellation of the caller does not break off in the middle.

    Breaking off costs the connection, and a log entry for each; a transaction takes
    milliseconds. Beyond a grace period the work is cancelled after all.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await asyncio.wait({task}, timeout=_GRACE_SECONDS)
        finally:
            task.cancel()
            task.add_done_callback(_retrieve)
        raise


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Look at a task's exception, which nobody waits for any more, so that none is logged."""
    if not task.cancelled():
        task.exception()
