"""Find the backend of a URL or of a dialect."""

from typing import Final

from sqlalchemy import URL

from threadlog.databases.base import Backend
from threadlog.databases.mysql.database import MariaDBBackend, MySQLBackend
from threadlog.databases.postgres.database import PostgresBackend
from threadlog.databases.sqlite import SQLiteBackend
from threadlog.errors import ConfigurationError

_BACKENDS: Final[dict[str, type[Backend]]] = {
    "mysql": MySQLBackend,
    "mariadb": MariaDBBackend,
    "postgresql": PostgresBackend,
    "sqlite": SQLiteBackend,
}


def backend_of(url: URL) -> Backend:
    """Return the backend for the database of a URL.

    Raises:
        ConfigurationError: threadlog does not support that database.
    """
    return backend_named(url.get_backend_name())


def backend_named(name: str) -> Backend:
    """Return the backend for one of SQLAlchemy's dialects, given by name.

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
