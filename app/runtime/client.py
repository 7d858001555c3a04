"""Run operations of an asynchronous facade: connections, greenlets, threads and cancellation.

An operation is a synchronous function whose first argument is a `TransactionRunner`. Three
clients differ in where its connection comes from: `EngineClient` owns its engines,
`FactoryClient` uses sessions that the application's factory makes, `ExternalClient` one
session of the application's.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar, cast
from weakref import WeakSet

from greenlet import GreenletExit, getcurrent, greenlet
from sqlalchemy import URL, Engine, Pool
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only, greenlet_spawn

from threadlog.databases.base import EngineUse, PoolSize
from threadlog.databases.urls import parse_url
from threadlog.errors import ConfigurationError, PoolTimeoutError
from threadlog.events import ConnectionAwaited
from threadlog.models import SchemaPart
from threadlog.runtime.engines import UrlClient, open_engine, open_sync_engine
from threadlog.runtime.external import (
    ExternalBind,
    ExternalSession,
    check_one_source,
    check_pool,
    closed_before,
    entered_already,
    exclusive_use,
    new_session,
    not_open,
)
from threadlog.runtime.home import Home
from threadlog.runtime.transactions import Operation, OwnedRunner, TransactionRunner

_LOG: Final = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

GRACE_SECONDS: Final = 5.0
"""How long a transaction may still run when its caller is cancelled or its client is closed."""


class OperationThread:
    """The one thread that operations on an embedded database run in, one after the other."""

    def __init__(self) -> None:
        """Create the executor; its thread begins with the first operation."""
        self.executor = ThreadPoolExecutor(1, "threadlog")
        self.task: asyncio.Task[Any] | None = None
        """The task whose operation runs, or ran last."""

    def call(self, task: asyncio.Task[Any] | None, work: Callable[[], T]) -> T:
        """Run an operation of a task; to be called in the thread."""
        self.task = task
        return work()


class OperationGreenlet:
    """A greenlet that operations run in, one after the other, in place of `greenlet_spawn`.

    A new greenlet allocates a stack at its first call, which takes as long as a tenth of a short
    statement.
    """

    def __init__(self) -> None:
        """Create the greenlet; it begins with the first operation."""
        self._call = _Call()
        self._greenlet = greenlet(partial(_run_calls, self._call))
        # `await_only` may be used in it, as the changes of SQLAlchemy 2.0.31 say.
        self._greenlet.__sqlalchemy_greenlet_provider__ = True
        self.is_idle = True
        """Whether no operation runs."""

    async def run(self, work: Callable[[], T]) -> T:
        """Run an operation in a copy of the caller's context; return its result."""
        self.is_idle, call = False, self._call
        call.work, call.context = work, copy_context()
        awaited = self._greenlet.switch()
        while call.work is not None:
            try:
                value = await awaited
            except BaseException as error:  # noqa: BLE001 - the operation's to handle
                awaited = self._greenlet.throw(error)
            else:
                awaited = self._greenlet.switch(value)
        result, call.result = call.result, None
        failure, call.error = call.error, None
        self.is_idle = True  # not before: an interrupt would leave the error to the next operation
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback refers to this frame
        return cast("T", result)


class _Call:
    """The operation that runs in a greenlet; its result or error when it has ended."""

    work: Callable[[], Any] | None = None
    context: Context | None = None
    result: Any = None
    error: BaseException | None = None


def _run_calls(call: _Call) -> None:
    """Run each operation that the call is given."""
    while True:
        try:  # `run` has set both: neither is None here
            call.result = cast("Context", call.context).run(cast("Any", call.work))
        except GreenletExit:
            raise  # nobody waits for the operation any more
        except BaseException as error:  # noqa: BLE001 - raised again by `OperationGreenlet.run`
            call.error = error
        call.work = call.context = None
        getcurrent().parent.switch()  # `OperationGreenlet.run` goes on, until the next operation


class ConnectionPool:
    """An engine, and as many slots as it has connections.

    Slots are given in the order of the requests, which SQLAlchemy's own queue does not do.
    """

    def __init__(
        self,
        engine: Engine,
        size: PoolSize,
        wait_seconds: float,
        runner: OwnedRunner,
        thread: OperationThread | None,
    ) -> None:
        """Create a pool of an engine.

        Args:
            engine: the engine.
            size: how many connections it has.
            wait_seconds: how long to wait for a slot.
            runner: runs transactions on the engine's connections.
            thread: the one thread that operations run in; None for greenlets.
        """
        self.engine = engine
        self._thread = thread
        self._idle: dict[object, list[OperationGreenlet]] = defaultdict(list)
        self.size = size
        self.slots = asyncio.Semaphore(size.most)
        self.wait_seconds = wait_seconds
        self.runner = runner
        self._taken = 0

    async def run(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation in a greenlet or thread, on a slot that is held; release the slot."""
        work = partial(operation, self.runner, *args, **kwargs)
        try:
            if self._thread is None:
                idle = self._idle[getcurrent()]  # a greenlet returns to the one that made it
                chosen = idle.pop() if idle else OperationGreenlet()
                try:
                    return await chosen.run(work)
                finally:
                    if chosen.is_idle:
                        idle.append(chosen)
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            return await loop.run_in_executor(self._thread.executor, self._thread.call, task, work)
        finally:
            self.slots.release()

    async def acquire(self) -> None:
        """Wait for a slot.

        Raises:
            PoolTimeoutError: no slot was free within `wait_seconds`.
        """
        _LOG.debug("Waiting for a connection: all %d are in use", self.size.most)
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.wait_seconds):
                await self.slots.acquire()
        except TimeoutError as error:
            raise PoolTimeoutError(
                f"All {self.size.most} connections were in use for {self.wait_seconds:g} s"
            ) from error
        finally:
            if self.runner.on_event is not None:
                self.runner.on_event(ConnectionAwaited(time.monotonic() - began))

    async def open_minimum(self) -> None:
        """Open connections until the pool has its minimum."""
        await self.slots.acquire()
        await shield_with_grace(self.run(_open_connections, self.size.least))

    async def drain(self) -> None:
        """Wait until nothing runs, and let nothing begin."""
        while self._taken < self.size.most:
            await self.slots.acquire()
            self._taken += 1

    async def dispose(self) -> None:
        """Close the connections, in a thread after the operation that may still run there."""
        if self._thread is None:
            self._idle.clear()
            await greenlet_spawn(self.engine.dispose)
            return
        disposal = self._thread.executor.submit(self.engine.dispose)
        self._thread.executor.shutdown(wait=False)
        if self._taken == self.size.most:
            await asyncio.wrap_future(disposal)


class EngineClient(UrlClient):
    """Runs operations on engines that threadlog makes of a URL.

    On servers some connections are set aside for reading. They are in autocommit mode, so that a
    read costs one round trip and not a second one to end its transaction.
    """

    writing: ConnectionPool | None = None
    """The connections that write; None while closed."""
    reading: ConnectionPool | None = None
    """The connections that only read; None while closed, or if the database has none."""
    home: Home | None = None
    """Where the connections may be used; None while closed."""

    async def open(self) -> None:
        """Create the engines; nothing connects yet.

        Raises:
            ConfigurationError: it is open already, or an engine cannot be made.
            MissingExtraError: the driver is not installed.
        """
        if self.writing is not None:
            raise entered_already(self)
        self.home = Home()
        self.writing = self._open_pool(self.writing_size, reading=False)
        if self.reading_size.most:
            self.reading = self._open_pool(self.reading_size, reading=True)
        _LOG.debug("Opened %s", self)

    def _open_pool(self, size: PoolSize, *, reading: bool) -> ConnectionPool:
        use = EngineUse(reading=reading, partitioned=self._part.partitioned)
        if self.backend.embedded:
            url = self.url.set(drivername=self.url.get_backend_name())
            engine = open_sync_engine(self.backend, url, size, use)
            thread = OperationThread()
        else:
            engine = open_engine(self.backend, self.url, size, use).sync_engine
            thread = None
        runner = self.add_runner(engine, _pause_while_open(self, thread), reading=reading)
        return ConnectionPool(engine, size, self.limits.pool, runner, thread)

    async def open_minimum(self) -> None:
        """Open the connections that are to be open at the start.

        Raises:
            StorageError: one cannot be opened.
        """
        for pool in self._pools():
            await pool.open_minimum()

    async def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that may write.

        Raises:
            NotOpenError: the client is not open.
        """
        if self.writing is None or self.home is None:
            raise not_open(self)
        if asyncio.get_running_loop() is not self.home.loop:
            return await self.home.run(self, partial(self.write, operation, *args, **kwargs))
        return await self._run(self.writing, operation, *args, **kwargs)

    async def read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that only reads; on a writing connection if the others are in use.

        Raises:
            NotOpenError: the client is not open.
        """
        if self.writing is None or self.home is None:
            raise not_open(self)
        if asyncio.get_running_loop() is not self.home.loop:
            return await self.home.run(self, partial(self.read, operation, *args, **kwargs))
        pool = self.reading or self.writing
        if pool.slots.locked() and not self.writing.slots.locked():
            pool = self.writing
        return await self._run(pool, operation, *args, **kwargs)

    write_statement = read
    """Run an operation whose one statement may write; on a connection in autocommit mode if one
    is free.
    """

    async def _run(
        self,
        pool: ConnectionPool,
        operation: Operation[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        if pool.slots.locked():
            await pool.acquire()
        else:  # returns at once, without a timer
            await pool.slots.acquire()
        if pool is not self.writing and pool is not self.reading:
            pool.slots.release()
            raise closed_before(self)
        return await shield_with_grace(pool.run(operation, *args, **kwargs))

    async def close(self) -> None:
        """Close the connections when what runs has finished, or after a grace period."""
        if self.home is not None and asyncio.get_running_loop() is not self.home.loop:
            await self.home.run(self, self.close)
            return
        pools = self._pools()
        self.writing = self.reading = self.home = None
        self._opened = []
        closing = _in_background(self._close(pools))
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await asyncio.wait({closing}, timeout=2 * GRACE_SECONDS)  # it has its own limit
            raise

    async def _close(self, pools: list[ConnectionPool]) -> None:
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                for pool in pools:
                    await pool.drain()
        except TimeoutError:
            # What still runs returns its connection to a pool that is disposed of by then.
            old = [pool.engine.pool for pool in pools]
            _in_background(_dispose_late(pools, old))
        finally:
            for pool in pools:
                await pool.dispose()
            _LOG.debug("Closed %s", self)

    def _pools(self) -> list[ConnectionPool]:
        return [pool for pool in (self.writing, self.reading) if pool is not None]


class FactoryClient(ExternalBind):
    """Runs operations on sessions that the application's factory makes."""

    home: Home | None = None
    """The event loop of the sessions; None while closed."""

    def __init__(
        self,
        factory: Callable[[], AsyncSession],
        part: SchemaPart,
        retry_seconds: float | None = None,
    ) -> None:
        """Create a client; each operation's session is closed after it.

        Args:
            factory: makes a session.
            part: the part of the schema that the operations work on.
            retry_seconds: see `Checkpointer`.

        Raises:
            ConfigurationError: the factory makes no asynchronous session, or one of a
                database that threadlog does not support.
        """
        wanted = (
            "an AsyncSession. Give an async_sessionmaker; threadlog.SyncCheckpointer takes a "
            "sessionmaker."
        )
        session = new_session(factory, AsyncSession, wanted)
        super().__init__(session.sync_session, part, retry_seconds)
        self._factory = factory

    async def open(self) -> None:
        """Mark the client as open; the pool is the application's."""
        self.enter()
        self.home = Home()
        _LOG.debug("Opened %s", self)

    async def open_minimum(self) -> None:
        """Do nothing: the pool is the application's."""

    async def close(self) -> None:
        """Mark the client as closed; connections are the application's."""
        self.is_open, self.home = False, None
        _LOG.debug("Closed %s", self)

    async def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation on a new session, which is closed afterwards.

        Raises:
            NotOpenError: the client is not open.
        """
        if self.home is None:
            raise not_open(self)
        if asyncio.get_running_loop() is not self.home.loop:
            return await self.home.run(self, partial(self.write, operation, *args, **kwargs))

        def run(session: Session) -> T:
            runner = self.runner_on(session, _pause_while_open(self))
            return operation(runner, *args, **kwargs)

        return await shield_with_grace(self._factory().run_sync(run))

    read = write_statement = write


class ExternalClient(ExternalSession):
    """Runs operations in the transaction of one session that the application opened."""

    async def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation in the session's transaction.

        Raises:
            SessionInUseError: another task runs one in the session.
        """
        with exclusive_use(self.session):
            return await greenlet_spawn(partial(operation, self.runner, *args, **kwargs))

    read = write


AsyncClient: TypeAlias = EngineClient | FactoryClient | ExternalClient
"""Runs operations on one database."""


def sleep(seconds: float) -> None:
    """Wait inside a greenlet, while the event loop goes on."""
    await_only(asyncio.sleep(seconds))


def _open_connections(transactions: TransactionRunner, count: int) -> None:
    cast("OwnedRunner", transactions).open_connections(count)


def _pause_while_open(
    client: EngineClient | FactoryClient, thread: OperationThread | None = None
) -> Callable[[float], bool]:
    """Return a function that waits between attempts; it returns True if no attempt may follow.

    No attempt follows after closing, or, in a thread, after the caller was cancelled.
    """
    home = client.home

    def pause(seconds: float) -> bool:
        if thread is None:
            await_only(_pause(seconds))
            return client.home is not home
        time.sleep(seconds)
        return client.home is not home or thread.task in _abandoned

    return pause


pausing: Final[WeakSet[asyncio.Task[Any]]] = WeakSet()
"""Tasks that wait between two attempts."""

_abandoned: Final[WeakSet[asyncio.Task[Any]]] = WeakSet()
"""Tasks whose callers were cancelled: no attempt follows the one that runs."""


async def _pause(seconds: float) -> None:
    task = cast("asyncio.Task[Any]", asyncio.current_task())
    if task in _abandoned:
        raise asyncio.CancelledError
    pausing.add(task)
    try:
        await asyncio.sleep(seconds)
    finally:
        pausing.discard(task)


async def finish_abandoned(task: asyncio.Task[Any]) -> None:
    """Wait for the attempt that runs in a task; cancel a pause, or after a grace period all.

    Cancelling this again ends the wait and not the attempt: the cancel scopes of anyio, which
    FastAPI uses, cancel a task in each cycle of the event loop until it leaves the scope.
    """
    _abandoned.add(task)
    if task in pausing:
        task.cancel()
    end = asyncio.get_running_loop().call_later(GRACE_SECONDS, task.cancel)
    task.add_done_callback(lambda _: end.cancel())
    await asyncio.wait({task}, timeout=GRACE_SECONDS)


_pending_disposals: Final[set[asyncio.Task[None]]] = set()  # asyncio itself does not keep tasks


def _in_background(disposal: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(disposal)
    _pending_disposals.add(task)
    task.add_done_callback(_pending_disposals.discard)
    return task


async def _dispose_late(pools: list[ConnectionPool], old: list[Pool]) -> None:
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
            await finish_abandoned(task)
        finally:
            if done.done() and not done.cancelled():
                done.exception()  # nobody waits for it any more: it is not to be logged
        raise


async def _forward_result(done: asyncio.Future[T], work: Coroutine[Any, Any, T]) -> None:
    """Run work and set its result on a future, which is quicker than `asyncio.shield`."""
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


def client_of(
    part: SchemaPart,
    url: str | URL | None,
    engine: AsyncEngine | None,
    session_factory: Callable[[], AsyncSession] | None,
    client: EngineClient | None,
    size: PoolSize,
    retry_seconds: float | None,
) -> EngineClient | FactoryClient:
    """Create a client of a URL, or of an application's engine or session factory.

    A client of a URL that is given is returned as it is: its owner opens and closes it.

    Raises:
        ConfigurationError: none or several of the four are given, or one cannot be used.
    """
    check_one_source(url, engine, session_factory, client)
    check_pool(size)
    if client is not None:
        return client
    if url is not None:
        return EngineClient(parse_url(url), size, part, retry_seconds)
    if session_factory is None:
        if not isinstance(engine, AsyncEngine):
            kind = "Engine" if isinstance(engine, Engine) else type(engine).__name__
            raise ConfigurationError(
                f"engine is of type {kind}, not AsyncEngine. threadlog.SyncCheckpointer takes an "
                "Engine."
            )
        session_factory = partial(AsyncSession, engine)
    return FactoryClient(session_factory, part, retry_seconds)
