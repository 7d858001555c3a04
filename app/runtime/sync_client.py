"""Run operations of a synchronous facade; see `threadlog.runtime.client`."""

import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final, ParamSpec, TypeAlias, TypeVar

from sqlalchemy import URL, Engine, Pool, event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from threadlog.databases.base import EngineUse, PoolSize
from threadlog.databases.urls import parse_url
from threadlog.errors import ConfigurationError
from threadlog.models import SchemaPart
from threadlog.runtime.engines import UrlClient, open_sync_engine
from threadlog.runtime.external import (
    ExternalBind,
    ExternalSession,
    check_one_source,
    check_pool,
    entered_already,
    exclusive_use,
    new_session,
    not_open,
)
from threadlog.runtime.transactions import Operation, is_busy

_LOG: Final = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


_parents_pools: Final[list[Pool]] = []
"""Pools of a parent process, kept so that the garbage collector closes none of them."""


class SyncEngineClient(UrlClient):
    """Runs operations on engines that threadlog makes of a URL."""

    def __init__(
        self, url: URL, size: PoolSize, part: SchemaPart, retry_seconds: float | None = None
    ) -> None:
        """Create a client of a database; see `UrlClient`."""
        super().__init__(url, size, part, retry_seconds, synchronous=True)
        self._process = 0
        self._forking = threading.Lock()

    def open(self) -> None:
        """Create the engines; nothing connects yet.

        Raises:
            ConfigurationError: it is open already, or an engine cannot be made.
            MissingExtraError: the driver is not installed.
        """
        if self.is_open:
            raise entered_already(self)
        self._process = os.getpid()
        self._open_engine(self.writing_size, reading=False)
        if self.reading_size.most:
            self._open_engine(self.reading_size, reading=True)
        _LOG.debug("Opened %s", self)

    def _open_engine(self, size: PoolSize, *, reading: bool) -> None:
        opened = self._opened

        def pause(seconds: float) -> bool:
            time.sleep(seconds)
            return self._opened is not opened

        use = EngineUse(reading=reading, partitioned=self._part.partitioned)
        engine = open_sync_engine(self.backend, self.url, size, use)
        self.add_runner(engine, pause, reading=reading)

    def _leave_parent(self) -> None:
        """Open connections of this process's own, after it was forked.

        Connections of the parent process are neither used nor closed: closing one would end
        it for the parent.
        """
        with self._forking:
            if self._process == os.getpid():
                return
            for engine, _ in self._opened:
                _parents_pools.append(engine.pool)
                engine.dispose(close=False)
            self._process = os.getpid()

    def open_minimum(self) -> None:
        """Open the connections that are to be open at the start.

        Raises:
            StorageError: one cannot be opened.
        """
        sizes = (self.writing_size, self.reading_size)
        for (_, runner), size in zip(self._opened, sizes, strict=False):
            runner.open_connections(size.least)

    def close(self) -> None:
        """Close the connections; those in use when their work is done."""
        opened, self._opened = self._opened, []
        for engine, _ in opened:
            event.listen(engine, "checkin", _close_connection)
            engine.dispose()
        _LOG.debug("Closed %s", self)

    def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that may write.

        Raises:
            NotOpenError: the client is not open.
        """
        opened = self._opened
        if not opened:
            raise not_open(self)
        if os.getpid() != self._process:
            self._leave_parent()
        return operation(opened[0][1], *args, **kwargs)

    def read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that only reads; on a writing connection if the others are in use.

        Raises:
            NotOpenError: the client is not open.
        """
        if os.getpid() != self._process:
            self._leave_parent()
        match self._opened:
            case [(writing, _), (reading, runner)] if is_busy(writing) or not is_busy(reading):
                return operation(runner, *args, **kwargs)
        return self.write(operation, *args, **kwargs)

    write_statement = read
    """See `EngineClient`."""


class SyncFactoryClient(ExternalBind):
    """Runs operations on sessions that the application's factory makes."""

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
        wanted = (
            "a Session. Give a sessionmaker; threadlog.Checkpointer takes an async_sessionmaker."
        )
        super().__init__(new_session(factory, Session, wanted), part, retry_seconds)
        self._factory = factory

    def open(self) -> None:
        """Mark the client as open; the pool is the application's."""
        self.enter()
        _LOG.debug("Opened %s", self)

    def open_minimum(self) -> None:
        """Do nothing: the pool is the application's."""

    def close(self) -> None:
        """Mark the client as closed; connections are the application's."""
        self.is_open = False
        _LOG.debug("Closed %s", self)

    def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation on a new session, which is closed afterwards.

        Raises:
            NotOpenError: the client is not open.
        """
        if not self.is_open:
            raise not_open(self)
        runner = self.runner_on(self._factory(), self._pause)
        return operation(runner, *args, **kwargs)

    read = write_statement = write

    def _pause(self, seconds: float) -> bool:
        time.sleep(seconds)
        return not self.is_open


class SyncExternalClient(ExternalSession):
    """Runs operations in the transaction of one session that the application opened."""

    def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation in the session's transaction.

        Raises:
            SessionInUseError: another thread runs one in the session.
        """
        with exclusive_use(self.session):
            return operation(self.runner, *args, **kwargs)

    read = write


SyncClient: TypeAlias = SyncEngineClient | SyncFactoryClient | SyncExternalClient
"""Runs operations on one database."""


def _close_connection(raw: object, record: ConnectionPoolEntry) -> None:
    """Close a connection that returns to the pool of a closed client."""
    record.invalidate()


def client_of(
    part: SchemaPart,
    url: str | URL | None,
    engine: Engine | None,
    session_factory: Callable[[], Session] | None,
    client: SyncEngineClient | None,
    size: PoolSize,
    retry_seconds: float | None,
) -> SyncEngineClient | SyncFactoryClient:
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
        return SyncEngineClient(parse_url(url), size, part, retry_seconds)
    if session_factory is None:
        if not isinstance(engine, Engine):
            kind = "AsyncEngine" if isinstance(engine, AsyncEngine) else type(engine).__name__
            raise ConfigurationError(
                f"engine is of type {kind}, not Engine. threadlog.Checkpointer takes an "
                "AsyncEngine."
            )
        session_factory = partial(Session, engine)
    return SyncFactoryClient(session_factory, part, retry_seconds)
