"""Open engines that threadlog owns."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from threadlog.databases.base import (
    Backend,
    DatabaseFacts,
    Driver,
    EngineSettings,
    EngineUse,
    PoolSize,
)
from threadlog.databases.registry import backend_of
from threadlog.databases.timeouts import choose_retry
from threadlog.databases.urls import show_url
from threadlog.errors import ConfigurationError, MissingExtraError
from threadlog.events import OnEvent
from threadlog.models import SchemaPart
from threadlog.runtime.transactions import OwnedRunner

_LOG: Final = logging.getLogger(__name__)

T = TypeVar("T")


class UrlClient:
    """A database of a URL, and the runners on the engines that threadlog makes of it."""

    engine_is_external = False
    """Whether the application made the engine."""

    def __init__(
        self,
        url: URL,
        size: PoolSize,
        part: SchemaPart,
        retry_seconds: float | None = None,
        *,
        synchronous: bool = False,
    ) -> None:
        """Choose the settings of a database; nothing connects yet.

        Args:
            url: the database.
            size: how many connections to open at the start and at most.
            part: the part of the schema that the operations work on.
            retry_seconds: see `Checkpointer`.
            synchronous: the engines do not use asyncio.

        Raises:
            ConfigurationError: the URL cannot be used.
        """
        self.url = url
        self.backend: Backend = backend_of(url)
        settings = self.backend.settings(url, size, EngineUse(synchronous=synchronous))
        named, used = url.drivername.partition("+")[2], settings.url.get_driver_name()
        if named not in {"", used}:
            _LOG.info("The URL of %s names the driver %s; %s is used", show_url(url), named, used)
        self.limits = settings.limits
        self.writing_size, self.reading_size = self.backend.divide(size)
        self.retry_seconds = choose_retry(retry_seconds, self.limits)
        self._part = part
        self._opened: list[tuple[Engine, OwnedRunner]] = []
        """The engine that writes, and after it one that only reads; empty while closed."""
        self._facts = DatabaseFacts()

    def __str__(self) -> str:
        """Return the URL without its password."""
        return show_url(self.url)

    @property
    def is_open(self) -> bool:
        """True if the client is open."""
        return bool(self._opened)

    @property
    def engine(self) -> Engine | None:
        """The engine that writes; None while closed."""
        return self._opened[0][0] if self._opened else None

    @property
    def reading_engine(self) -> Engine | None:
        """The engine that only reads; None while closed, or if the database has none."""
        return self._opened[1][0] if len(self._opened) > 1 else None

    @property
    def facts(self) -> DatabaseFacts:
        """Facts about the database; known once the client is open."""
        return self._facts

    @facts.setter
    def facts(self, facts: DatabaseFacts) -> None:
        self._facts = facts
        for _, runner in self._opened:
            runner.facts = facts

    @property
    def on_event(self) -> OnEvent | None:
        """Gets the events of `threadlog.observe`; None if nobody observes."""
        return self._opened[0][1].on_event if self._opened else None

    @on_event.setter
    def on_event(self, on_event: OnEvent) -> None:
        for _, runner in self._opened:
            runner.on_event = on_event

    def add_runner(
        self, engine: Engine, sleep: Callable[[float], bool], *, reading: bool
    ) -> OwnedRunner:
        """Return the runner on a new engine of the database."""
        runner = OwnedRunner(
            engine,
            self.backend,
            self._part,
            sleep=sleep,
            retry_seconds=self.retry_seconds,
            autocommit=reading or self.backend.embedded,
        )
        self._opened.append((engine, runner))
        return runner


def open_engine(backend: Backend, url: URL, pool: PoolSize, use: EngineUse) -> AsyncEngine:
    """Create an engine of asyncio on a database of this kind; nothing connects yet.

    Args:
        backend: the backend of the URL.
        url: the database.
        pool: the engine's connections.
        use: the use of the engine.

    Raises:
        ConfigurationError: the URL cannot be used.
        MissingExtraError: its driver is not installed.
    """
    settings = backend.settings(url, pool, use)
    if use.snapshots and backend.read_committed:
        settings.options["isolation_level"] = "REPEATABLE READ"
    engine = _create(create_async_engine, settings, backend.asynchronous)
    limits = settings.limits if use.statement_timeout else replace(settings.limits, statement=None)
    backend.attach(engine.sync_engine, limits)
    _log_connections(engine.sync_engine, url)
    return engine


def open_sync_engine(backend: Backend, url: URL, pool: PoolSize, use: EngineUse) -> Engine:
    """Create a plain engine; see `open_engine`."""
    settings = backend.settings(url, pool, replace(use, synchronous=True))
    engine = _create(create_engine, settings, backend.synchronous)
    backend.attach(engine, settings.limits)
    _log_connections(engine, url)
    return engine


def _log_connections(engine: Engine, url: URL) -> None:
    """Log each connection that the pool opens or closes."""
    shown = show_url(url)
    event.listen(engine, "connect", lambda *_: _LOG.debug("Connected to %s", shown))
    event.listen(engine, "close", lambda *_: _LOG.debug("Disconnected from %s", shown))


def _create(create: Callable[..., T], settings: EngineSettings, default: Driver) -> T:
    try:
        # Messages do not belong in logs and tracebacks.
        return create(settings.url, hide_parameters=True, **settings.options)
    except ModuleNotFoundError as error:
        ours = settings.url.get_driver_name() == default.name
        raise MissingExtraError(error.name or "driver", default.extra if ours else None) from error
    except (ArgumentError, NoSuchModuleError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"No engine can be made from the URL: {error}. Check its driver and options."
        ) from error
