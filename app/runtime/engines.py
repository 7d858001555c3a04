"""Open engines that threadlog owns."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from threadlog.databases.base import Backend, Driver, EngineSettings, PoolSize
from threadlog.errors import ConfigurationError, MissingExtraError

T = TypeVar("T")


def open_engine(
    backend: Backend,
    url: URL,
    pool: PoolSize,
    *,
    reading: bool = False,
    partitioned: bool = True,
    no_statement_timeout: bool = False,
    snapshots: bool = False,
) -> AsyncEngine:
    """Create an engine of asyncio on a database of this kind; nothing connects yet.

    Args:
        backend: what knows the database of the URL.
        url: the database.
        pool: the engine's connections.
        reading: the engine is only to read; each of its statements is a transaction.
        partitioned: some tables that it is used for have many partitions.
        no_statement_timeout: statements have no time limit, as those of migrations.
        snapshots: all that a transaction reads is to be of one point in time.

    Raises:
        ConfigurationError: the URL cannot be used.
        MissingExtraError: its driver is not installed.
    """
    settings = backend.settings(url, pool, reading=reading, partitioned=partitioned)
    if snapshots and backend.read_committed:
        settings.options["isolation_level"] = "REPEATABLE READ"
    engine = _create(create_async_engine, settings, backend.asynchronous)
    limits = replace(settings.limits, statement=None) if no_statement_timeout else settings.limits
    backend.attach(engine.sync_engine, limits)
    return engine


def open_sync_engine(
    backend: Backend, url: URL, pool: PoolSize, *, reading: bool = False, partitioned: bool = True
) -> Engine:
    """Create a plain engine; see `open_engine`."""
    settings = backend.settings(
        url, pool, reading=reading, synchronous=True, partitioned=partitioned
    )
    engine = _create(create_engine, settings, backend.synchronous)
    backend.attach(engine, settings.limits)
    return engine


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
