"""The one place in the application layer that knows how databases differ."""

from typing import Final
from urllib.parse import unquote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from threadlog.databases.base import Backend, Driver, EngineSettings, PoolSize
from threadlog.databases.mysql.database import MariaDBBackend, MySQLBackend
from threadlog.databases.mysql.failover import follow_primary
from threadlog.databases.postgres.database import PostgresBackend
from threadlog.databases.sqlite import SQLiteBackend
from threadlog.databases.timeouts import TimeLimits
from threadlog.databases.urls import normalize_multi_host_url
from threadlog.errors import ConfigurationError

__all__ = [
    "Backend",
    "Driver",
    "EngineSettings",
    "PoolSize",
    "TimeLimits",
    "backend_named",
    "backend_of",
    "follow_primary",
    "parse_url",
    "show_url",
]

# SQLAlchemy 2.0 leaves a database's name percent-encoded, 2.1 decodes it.
_DECODES: Final = make_url("mysql://host/%41").database == "A"

_BACKENDS: dict[str, type[Backend]] = {
    "mysql": MySQLBackend,
    "mariadb": MariaDBBackend,
    "postgresql": PostgresBackend,
    "sqlite": SQLiteBackend,
}

# What SQLAlchemy calls by another name.
_ALIASES: Final = {"postgres": "postgresql"}


def parse_url(url: str | URL) -> URL:
    """Parse a database URL, which may list several hosts.

    Raises:
        ConfigurationError: it is no URL. The error does not repeat it: it may hold a
            password.
    """
    if isinstance(url, URL) and "," in (url.host or ""):
        url = url.render_as_string(hide_password=False)
    try:
        parsed = make_url(normalize_multi_host_url(url) if isinstance(url, str) else url)
    except (ArgumentError, ValueError):
        # No cause: SQLAlchemy's error quotes the URL.
        raise ConfigurationError(
            "The database URL cannot be parsed. Write it as "
            "mysql://user:password@host:3306/database or sqlite:///file.db, with special "
            "characters of user and password percent-encoded."
        ) from None
    name, plus, driver = parsed.drivername.partition("+")
    parsed = parsed.set(drivername=f"{_ALIASES.get(name, name)}{plus}{driver}")
    encoded = isinstance(url, str) and not _DECODES
    if encoded and parsed.database and parsed.get_backend_name() != "sqlite":
        return parsed.set(database=unquote(parsed.database))
    return parsed


def backend_of(url: URL) -> Backend:
    """Find what knows the database of a URL.

    Raises:
        ConfigurationError: threadlog does not support that database.
    """
    return backend_named(url.get_backend_name())


def backend_named(name: str) -> Backend:
    """Find what knows a dialect's database.

    Raises:
        ConfigurationError: threadlog does not support that database.
    """
    backend = _BACKENDS.get(name)
    if backend is None:
        raise ConfigurationError(
            f"threadlog does not support {name!r}. Supported URLs begin "
            f"with {', '.join(f'{name}://' for name in _BACKENDS)}."
        )
    return backend()


def show_url(url: URL) -> str:
    """Write a URL for people: without its password and without options, which may hold one."""
    hosts = {name: value for name, value in url.query.items() if name == "host"}
    return url.set(query=hosts).render_as_string(hide_password=True).replace("%3A", ":")
