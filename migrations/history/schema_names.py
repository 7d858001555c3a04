"""The schema of threadlog's tables in a migration; frozen.

An application's engine, or the connection of its Alembic environment, may have a
``schema_translate_map``. SQLAlchemy applies it to its own constructs only.
"""

from sqlalchemy import Connection


def schema_of(connection: Connection) -> str | None:
    """Return the schema that the connection's map has for tables without one; None for none."""
    translated = connection.get_execution_options().get("schema_translate_map") or {}
    schema: str | None = translated.get(None)
    return schema


def in_schema(connection: Connection, table: str) -> str:
    """Return the name of a table for a statement of text."""
    schema = schema_of(connection)
    quote = connection.dialect.identifier_preparer.quote_schema
    return table if schema is None else f"{quote(schema)}.{table}"
