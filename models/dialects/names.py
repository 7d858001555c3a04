"""Names of dialects, of connected servers and of the schema of the tables."""

from typing import Final

from sqlalchemy import Connection, Dialect

MYSQL: Final = ("mysql", "mariadb")
"""SQLAlchemy's dialects whose SQL is MySQL's. Either may be connected to MariaDB."""


def dialect_name(dialect: Dialect) -> str:
    """Return the name of the dialect of the server that is connected.

    For MariaDB that is ``mariadb``, even if the URL begins with ``mysql``; otherwise it is
    SQLAlchemy's name of the dialect.
    """
    return "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name


TRANSLATE_MAP: Final = "schema_translate_map"
"""SQLAlchemy's execution option by which an application's engine has the tables in a schema."""


def schema_of(connection: Connection) -> str | None:
    """Return the schema that `TRANSLATE_MAP` has for threadlog's tables; None for the default."""
    translated = connection.get_execution_options().get(TRANSLATE_MAP) or {}
    schema: str | None = translated.get(None)
    return schema
