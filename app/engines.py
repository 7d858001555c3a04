"""Opens engines that threadlog owns."""

from sqlalchemy import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from threadlog.backends import Backend, PoolSize
from threadlog.errors import ConfigurationError, MissingExtraError


def open_engine(
    backend: Backend, url: URL, pool: PoolSize, *, reading: bool = False
) -> AsyncEngine:
    """Create an engine on a database of this kind; nothing connects yet.

    Args:
        backend: what knows the database of the URL.
        url: the database.
        pool: the engine's connections.
        reading: the engine is only to read; each of its statements is a transaction.

    Raises:
        ConfigurationError: the URL cannot be used.
        MissingExtraError: its driver is not installed.
    """
    settings = backend.settings(url, pool, reading=reading)
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
    return engine
