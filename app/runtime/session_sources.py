"""Where an asynchronous checkpointer has its sessions from, and how work is run on them.

Work is synchronous: a function of a `sqlalchemy.orm.Session`, run in one greenlet.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, Engine, Pool
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import greenlet_spawn

from threadlog.databases.base import Backend, PoolSize
from threadlog.databases.registry import backend_named, backend_of
from threadlog.databases.urls import show_url
from threadlog.errors import ConfigurationError, NotOpenError, PoolTimeoutError
from threadlog.log.append import AppendRequest
from threadlog.log.append_batcher import AppendBatcher, Work
from threadlog.runtime.engines import open_engine
from threadlog.runtime.transactions import translate_errors

T = TypeVar("T")

_GRACE_SECONDS: Final = 5.0


class _Pool:
    """An engine, and as many slots as it has connections.

    First come, first served, which the engine's own queue is not.
    """

    def __init__(self, engine: AsyncEngine, size: PoolSize, seconds: float) -> None:
        self.engine = engine
        self.size = size
        self._seconds = seconds
        self.slots = asyncio.Semaphore(size.most)
        self.appends = AppendBatcher(self.slots, self._run, _GRACE_SECONDS, seconds)
        self._taken = 0

    async def run(self, work: Callable[[Session], T]) -> T:
        """Run synchronous work, on a slot that was entered, and give the slot back."""
        return await shield_with_grace(self._run_and_leave(work))

    async def _run_and_leave(self, work: Callable[[Session], T]) -> T:
        try:
            return await self._run(work)
        finally:
            self.slots.release()

    async def _run(self, work: Callable[[Session], T]) -> T:
        """Run synchronous work in one greenlet; it closes the session itself."""
        # Without an AsyncSession: closing one costs a second greenlet and a task each time.
        return await greenlet_spawn(work, Session(self.engine.sync_engine))

    async def open_minimum(self) -> None:
        """Open connections until there are as many as there are to be at the least."""
        async with AsyncExitStack() as opened:
            for _ in range(self.size.least):
                await opened.enter_async_context(self.engine.connect())

    async def enter(self) -> None:
        """Take a slot, waiting for one if need be.

        Raises:
            PoolTimeoutError: there was none for as long as one may wait.
        """
        if not self.slots.locked():  # sparing the timer where nobody waits
            await self.slots.acquire()
            return
        try:
            async with asyncio.timeout(self._seconds):
                await self.slots.acquire()
        except TimeoutError as error:
            raise PoolTimeoutError(
                f"All {self.size.most} connections were in use for {self._seconds:g} s"
            ) from error

    async def drain(self) -> None:
        """Wait until nothing runs, and let nothing begin."""
        while self._taken < self.size.most:
            await self.slots.acquire()
            self._taken += 1


class EngineSessions:
    """Sessions on engines that threadlog makes of a URL, open or closed.

    On servers that gain by it some connections are set aside for reading: they commit by
    themselves, so that a read costs one round trip and not a second to end its transaction.
    """

    engine_is_external = False
    joined = False

    def __init__(self, url: URL, pool: PoolSize) -> None:
        """Take a URL and how many connections to open at the start and at most.

        Raises:
            ConfigurationError: the URL cannot be used.
        """
        self.url = url
        self.backend: Backend = backend_of(url)
        self._limits = self.backend.settings(url, pool).limits
        self._size = pool
        self._writing: _Pool | None = None
        self._reading: _Pool | None = None

    def __str__(self) -> str:
        """Show the URL without its password."""
        return show_url(self.url)

    @property
    def is_open(self) -> bool:
        """Whether there are engines."""
        return self._writing is not None

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
            raise entered_already(self)
        writing, reading = self.backend.divide(self._size)
        seconds = self._limits.pool
        self._writing = _Pool(open_engine(self.backend, self.url, writing), writing, seconds)
        if reading.most:
            engine = open_engine(self.backend, self.url, reading, reading=True)
            self._reading = _Pool(engine, reading, seconds)

    async def open_minimum(self) -> None:
        """Open the connections that are to be open at the start.

        Raises:
            StorageError: one cannot be opened.
        """
        with translate_errors(self.backend):
            for pool in self._pools():
                await pool.open_minimum()

    async def write(self, work: Callable[[Session], T]) -> T:
        """Run work that may write."""
        return await self._run(self._writing, work)

    async def read(self, work: Callable[[Session], T]) -> T:
        """Run work that only reads; where reading connections are busy, on one that writes."""
        pool = self._reading or self._writing
        writing = self._writing
        if pool is not None and writing is not None and pool.slots.locked():
            pool = pool if writing.slots.locked() else writing
        return await self._run(pool, work)

    async def append(self, append: AppendRequest, work: Work, statement_limit: int) -> None:
        """Run work that appends, together with what waits at the same moment."""
        if self._writing is None:
            raise not_open(self)
        await self._writing.appends.put(append, work, statement_limit)

    async def close(self) -> None:
        """Close the connections when what runs has finished, or after a grace period."""
        pools = self._pools()
        for pool in pools:
            pool.appends.close(self._closed)
        self._writing = self._reading = None
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                for pool in pools:
                    await pool.drain()
        except TimeoutError:
            # What still runs gives its connection back to a pool that is disposed of by then.
            old = [pool.engine.sync_engine.pool for pool in pools]
            late = asyncio.create_task(_dispose_late(pools, old))
            _pending_disposals.add(late)
            late.add_done_callback(_pending_disposals.discard)
        finally:
            for pool in pools:
                await pool.engine.dispose()

    def _pools(self) -> list[_Pool]:
        return [pool for pool in (self._writing, self._reading) if pool is not None]

    async def _run(self, pool: _Pool | None, work: Callable[[Session], T]) -> T:
        if pool is None:
            raise not_open(self)
        await pool.enter()
        if pool not in self._pools():
            pool.slots.release()
            raise self._closed()
        return await pool.run(work)

    def _closed(self) -> NotOpenError:
        return NotOpenError(f"The checkpointer of {self} was closed before it began.")


class ExternalBind:
    """What sessions of a host are connected to, which stays the host's; open or closed."""

    engine_is_external = True
    joined = False

    def __init__(self, session: Session) -> None:
        """Look at a session of the host's, which is not used.

        Raises:
            ConfigurationError: it is bound to nothing, or to a database that threadlog does
                not support.
        """
        self.bind = bind_of(session)
        self.backend = backend_named(self.bind.dialect.name)
        self.is_open = False

    def __str__(self) -> str:
        """Show the engine's URL without its password."""
        return show_url(self.bind.engine.url)

    def open(self) -> None:
        """Let work be run."""
        if self.is_open:
            raise entered_already(self)
        self.is_open = True


class FactorySessions(ExternalBind):
    """Sessions that the host's factory makes."""

    def __init__(self, factory: Callable[[], AsyncSession]) -> None:
        """Take what makes a session, which is closed after each unit of work.

        Raises:
            ConfigurationError: the factory makes no asynchronous session, or one of a
                database that threadlog does not support.
        """
        session = factory()
        if not isinstance(session, AsyncSession):
            raise ConfigurationError(
                f"A factory of asynchronous sessions is needed, such as async_sessionmaker(); "
                f"this one made a {type(session).__name__}. threadlog.SyncCheckpointer takes "
                "plain ones."
            )
        super().__init__(session.sync_session)
        self._factory = factory

    async def open_minimum(self) -> None:
        """Do nothing: the pool is the host's."""

    async def close(self) -> None:
        """Let no more work be run. Connections are the host's."""
        self.is_open = False

    async def write(self, work: Callable[[Session], T]) -> T:
        """Run work that may write on a new session, which it closes."""
        if not self.is_open:
            raise not_open(self)
        return await shield_with_grace(self._factory().run_sync(work))

    read = write


class ExternalSession:
    """One session that the host opened, and closes."""

    engine_is_external = True
    joined = True
    is_open = True

    def __init__(self, session: AsyncSession, backend: Backend) -> None:
        """Take a session, and what knows its database."""
        self.backend = backend
        self._session = session

    def __str__(self) -> str:
        """Show the engine's URL without its password."""
        return show_url(bind_of(self._session.sync_session).engine.url)

    async def write(self, work: Callable[[Session], T]) -> T:
        """Run work in the session's transaction."""
        return await self._session.run_sync(work)

    read = write


def bind_of(session: Session) -> Engine | Connection:
    """Give what a session of a host is bound to.

    Raises:
        ConfigurationError: it is bound to nothing.
    """
    try:
        return session.get_bind()
    except UnboundExecutionError as error:
        raise ConfigurationError(
            "The session is bound to no engine. Create its factory with bind=engine."
        ) from error


def entered_already(sessions: object) -> ConfigurationError:
    """Make the error of a block inside a block."""
    return ConfigurationError(
        f"The checkpointer of {sessions} is entered already; use one block at a time."
    )


def not_open(sessions: object) -> NotOpenError:
    """Make the error of a call outside the block."""
    return NotOpenError(
        f"What keeps its data in {sessions} is not open. Use it inside its 'async with' block, "
        "or inside 'with' where there is no asyncio."
    )


_pending_disposals: Final[set[asyncio.Task[None]]] = set()


async def _dispose_late(pools: Sequence[_Pool], old: Sequence[Pool]) -> None:
    """Close the connections of closed pools that come back late."""
    for pool in pools:
        await pool.drain()
    for each in old:
        await greenlet_spawn(each.dispose)


async def shield_with_grace(work: Coroutine[Any, Any, T]) -> T:
    """Await work that a cancellation of the caller does not break off in the middle.

    Breaking off costs the connection, and a log entry for each; a transaction takes
    milliseconds. Beyond a grace period the work is cancelled after all.
    """
    done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(_forward_result(done, work))
    try:
        return await done
    except asyncio.CancelledError:
        try:
            await asyncio.wait({task}, timeout=_GRACE_SECONDS)
        finally:
            task.cancel()
            if done.done() and not done.cancelled():
                done.exception()  # nobody waits for it any more: it is not to be logged
        raise


async def _forward_result(done: asyncio.Future[T], work: Coroutine[Any, Any, T]) -> None:
    """Run work and tell who waits, which is quicker than `asyncio.shield`."""
    try:
        result = await work
    except asyncio.CancelledError:
        done.cancel()
        raise
    except Exception as error:  # noqa: BLE001 - it is the caller's to handle
        if not done.done():
            done.set_exception(error)
    else:
        if not done.done():
            done.set_result(result)
