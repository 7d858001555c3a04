"""Run operations of a synchronous facade; see `threadlog.runtime.client`."""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final, ParamSpec, Protocol, TypeVar, cast

from sqlalchemy import URL, Engine, Pool, QueuePool, event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from threadlog.databases.base import Backend, PoolSize
from threadlog.databases.registry import backend_of
from threadlog.databases.timeouts import TimeLimits, choose_retry
from threadlog.databases.urls import show_url
from threadlog.errors import ConfigurationError
from threadlog.models import SchemaPart
from threadlog.runtime.engines import open_sync_engine
from threadlog.runtime.external import (
    ExternalBind,
    bind_of,
    check_factory,
    check_new_session,
    entered_already,
    exclusive_use,
    not_open,
)
from threadlog.runtime.transactions import (
    JoinedRunner,
    Operation,
    OwnedRunner,
)

_LOG: Final = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


_parents_pools: Final[list[Pool]] = []
"""Pools of a parent process, kept so that the garbage collector closes none of them."""


class SyncOperations(Protocol):
    """Runs operations on one database; see `threadlog.runtime.client.AsyncOperations`."""

    backend: Backend
    engine_is_external: bool

    @property
    def statement_limit(self) -> int:
        """The most bytes that one statement may have; known once the client is open."""

    @property
    def is_open(self) -> bool:
        """True if the checkpointer is open."""

    def read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that only reads."""

    def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that may write."""


class SyncEngineClient:
    """Runs operations on engines that threadlog makes of a URL."""

    engine_is_external = False

    def __init__(
        self, url: URL, size: PoolSize, part: SchemaPart, retry_seconds: float | None = None
    ) -> None:
        """Create a client of a database; see `EngineClient`.

        Raises:
            ConfigurationError: the URL cannot be used.
        """
        self.url = url
        self.backend: Backend = backend_of(url)
        self.limits = self.backend.settings(url, size, synchronous=True).limits
        self._retry_seconds = choose_retry(retry_seconds, self.limits)
        self.engine: Engine | None = None
        self.reading_engine: Engine | None = None
        self._part = part
        self.writing_size, self._reading_size = self.backend.divide(size)
        self._statement_limit = 0
        self._process = 0
        self._forking = threading.Lock()
        self._runner: OwnedRunner | None = None
        self._reading_runner: OwnedRunner | None = None

    def __str__(self) -> str:
        """Return the URL without its password."""
        return show_url(self.url)

    @property
    def is_open(self) -> bool:
        """True if the client is open."""
        return self.engine is not None

    @property
    def statement_limit(self) -> int:
        """The most bytes that one statement may have."""
        return self._statement_limit

    @statement_limit.setter
    def statement_limit(self, limit: int) -> None:
        self._statement_limit = limit
        for runner in (self._runner, self._reading_runner):
            if runner is not None:
                runner.statement_limit = limit

    def open(self) -> None:
        """Create the engines; nothing connects yet.

        Raises:
            ConfigurationError: it is open already, or an engine cannot be made.
            MissingExtraError: the driver is not installed.
        """
        if self.engine is not None:
            raise entered_already(self)
        self._process = os.getpid()
        partitioned = self._part.partitioned
        self.engine = open_sync_engine(
            self.backend, self.url, self.writing_size, partitioned=partitioned
        )
        self._runner = self._runner_on(self.engine, autocommit=self.backend.embedded)
        if self._reading_size.most:
            self.reading_engine = open_sync_engine(
                self.backend, self.url, self._reading_size, reading=True, partitioned=partitioned
            )
            self._reading_runner = self._runner_on(self.reading_engine, autocommit=True)
        _LOG.debug("Opened %s", self)

    def _runner_on(self, engine: Engine, *, autocommit: bool) -> OwnedRunner:
        opened = self.engine

        def pause(seconds: float) -> bool:
            time.sleep(seconds)
            return self.engine is not opened

        return OwnedRunner(
            engine,
            self.backend,
            self._part,
            sleep=pause,
            retry_seconds=self._retry_seconds,
            autocommit=autocommit,
        )

    def _leave_parent(self) -> None:
        """Open connections of this process's own, after it was forked.

        Connections of the parent process are neither used nor closed: closing one would end
        it for the parent.
        """
        with self._forking:
            if self._process == os.getpid():
                return
            for engine in (self.engine, self.reading_engine):
                if engine is not None:
                    _parents_pools.append(engine.pool)
                    engine.dispose(close=False)
            self._process = os.getpid()

    def open_minimum(self) -> None:
        """Open the connections that are to be open at the start.

        Raises:
            StorageError: one cannot be opened.
        """
        sizes = ((self._runner, self.writing_size), (self._reading_runner, self._reading_size))
        for runner, size in sizes:
            if runner is not None:
                runner.open_connections(size.least)

    def close(self) -> None:
        """Close the connections; those in use when their work is done."""
        engines = (self.engine, self.reading_engine)
        self.engine = self.reading_engine = None
        self._runner = self._reading_runner = None
        for engine in engines:
            if engine is not None:
                event.listen(engine, "checkin", _close_connection)
                engine.dispose()
        _LOG.debug("Closed %s", self)

    def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that may write.

        Raises:
            NotOpenError: the client is not open.
        """
        if self._runner is None:
            raise not_open(self)
        if os.getpid() != self._process:
            self._leave_parent()
        return operation(self._runner, *args, **kwargs)

    def read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that only reads; on a writing connection if the others are in use.

        Raises:
            NotOpenError: the client is not open.
        """
        if os.getpid() != self._process:
            self._leave_parent()
        reading, writing, runner = self.reading_engine, self.engine, self._reading_runner
        if reading is None or writing is None or runner is None:
            return self.write(operation, *args, **kwargs)
        if _is_busy(reading) and not _is_busy(writing):
            return self.write(operation, *args, **kwargs)
        return operation(runner, *args, **kwargs)

    write_statement = read
    """See `EngineClient`."""


class SyncFactoryClient(ExternalBind):
    """Runs operations on sessions that the application's factory makes."""

    statement_limit = 0

    def __init__(
        self,
        factory: Callable[[], Session],
        part: SchemaPart,
        retry_seconds: float | None = None,
    ) -> None:
        """Create a client; each operation's session is closed after it.

        Raises:
            ConfigurationError: the factory makes no plain session, or one of a database that
                threadlog does not support.
        """
        check_factory(factory)
        session = factory()
        if not isinstance(session, Session):
            raise ConfigurationError(
                f"The session factory made a {type(session).__name__}, not a Session. Give a "
                "sessionmaker; threadlog.Checkpointer takes an async_sessionmaker."
            )
        check_new_session(session, factory)
        super().__init__(session, part)
        self._factory = factory
        self._part = part
        self._retry_seconds = choose_retry(retry_seconds, TimeLimits())

    def open(self) -> None:
        """Mark the client as open; the pool is the application's."""
        self.enter()

    def open_minimum(self) -> None:
        """Do nothing: the pool is the application's."""

    def close(self) -> None:
        """Mark the client as closed; connections are the application's."""
        self.is_open = False

    def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation on a new session, which is closed afterwards.

        Raises:
            NotOpenError: the client is not open.
        """
        if not self.is_open:
            raise not_open(self)
        runner = OwnedRunner(
            self._factory(),
            self.backend,
            self._part,
            self.statement_limit,
            sleep=self._pause,
            engine_is_external=True,
            retry_seconds=self._retry_seconds,
        )
        return operation(runner, *args, **kwargs)

    read = write_statement = write

    def _pause(self, seconds: float) -> bool:
        time.sleep(seconds)
        return not self.is_open


class SyncExternalClient:
    """Runs operations in the transaction of one session that the application opened."""

    engine_is_external = True
    is_open = True

    def __init__(
        self, session: Session, backend: Backend, part: SchemaPart, statement_limit: int
    ) -> None:
        """Create a client of a session; the other arguments are those of the open client."""
        self.backend = backend
        self.statement_limit = statement_limit
        self._session = session
        self._part = part

    def __str__(self) -> str:
        """Return the engine's URL without its password."""
        return show_url(bind_of(self._session, self._part).engine.url)

    def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation in the session's transaction.

        Raises:
            SessionInUseError: another thread runs one in the session.
        """
        runner = JoinedRunner(self._session, self.backend, self._part, self.statement_limit)
        with exclusive_use(self._session):
            return operation(runner, *args, **kwargs)

    read = write


def _close_connection(raw: object, record: ConnectionPoolEntry) -> None:
    """Close a connection that returns to the pool of a closed client."""
    record.invalidate()


def _is_busy(engine: Engine) -> bool:
    pool = cast("QueuePool", engine.pool)
    return pool.checkedout() >= pool.size()


def factory_of(
    engine: Engine | None, session_factory: Callable[[], Session] | None
) -> Callable[[], Session]:
    """Return what makes sessions of an application's engine or factory.

    Raises:
        ConfigurationError: the engine is not a synchronous one.
    """
    if session_factory is not None:
        return session_factory
    if not isinstance(engine, Engine):
        kind = "AsyncEngine" if isinstance(engine, AsyncEngine) else type(engine).__name__
        raise ConfigurationError(
            f"engine is of type {kind}, not Engine. threadlog.Checkpointer takes an AsyncEngine."
        )
    return lambda: Session(engine)
