"""What dialects are called, and which server a session has met."""

from typing import Final

from sqlalchemy import Dialect
from sqlalchemy.orm import Session

MYSQL: Final = ("mysql", "mariadb")
"""SQLAlchemy's dialects whose SQL is MySQL's. Either may be connected to MariaDB."""


def dialect_of(session: Session) -> str:
    """Name the dialect of the server that a session is connected to.

    That is ``mariadb`` for MariaDB, whether the URL said so or ``mysql``; else the name that
    SQLAlchemy gives the dialect. The session is connected if it was not.
    """
    dialect = session.connection().dialect
    return "mariadb" if met_mariadb(dialect) else dialect.name


def met_mariadb(dialect: Dialect) -> bool:
    """Say whether a dialect, once it is connected, has met MariaDB."""
    return bool(getattr(dialect, "is_mariadb", False))
