"""What dialects are called, and which server a connection has met."""

from typing import Final

from sqlalchemy import Dialect

MYSQL: Final = ("mysql", "mariadb")
"""SQLAlchemy's dialects whose SQL is MySQL's. Either may be connected to MariaDB."""


def dialect_name(dialect: Dialect) -> str:
    """Return the name of the dialect of the server that is connected.

    That is ``mariadb`` for MariaDB, whether the URL said so or ``mysql``; else the name that
    SQLAlchemy gives the dialect.
    """
    return "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name
