"""Names of dialects and of connected servers."""

from typing import Final

from sqlalchemy import Dialect

MYSQL: Final = ("mysql", "mariadb")
"""SQLAlchemy's dialects whose SQL is MySQL's. Either may be connected to MariaDB."""


def dialect_name(dialect: Dialect) -> str:
    """Return the name of the dialect of the server that is connected.

    For MariaDB that is ``mariadb``, even if the URL begins with ``mysql``; otherwise it is
    SQLAlchemy's name of the dialect.
    """
    return "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name
