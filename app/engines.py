"""Opens engines that threadlog owns."""

from typing import cast

from sqlalchemy import URL, QueuePool
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from threadlog.backends import Backend, PoolSize, backend_of
from threadlog.errors import ConfigurationError, MissingExtraError


def open_engine(url: URL, pool: PoolSize) -> tuple[AsyncEngine, Backend]:
    """Create an engine, with what knows its database; nothing connects yet.

    Raises:
        ConfigurationError: the URL cannot be used.
        MissingExtraError: its driver is not installed.
    """
    backend = backend_of(url)
    settings = backend.settings(url, pool)
    try:
        # hide_parameters: what people said does not belong into logs and tracebacks.
        engine = create_async_engine(settings.url, hide_parameters=True, **settings.options)
    except ModuleNotFoundError as error:
        ours = settings.url.get_driver_name() == backend.driver
        raise MissingExtraError(error.name or "driver", backend.extra if ours else None) from error
    except (ArgumentError, NoSuchModuleError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"No engine can be made from the URL: {error}. Check its driver and options."
        ) from error
    backend.attach(engine.sync_engine)
    return engine, backend


def connections(engine: AsyncEngine) -> int:
    """Give the most connections that an engine of ours has at once."""
    return cast("QueuePool", engine.pool).size()
