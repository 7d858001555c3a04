"""The partitions of a table on PostgreSQL, each of which is a table; frozen.

They have the agent framework's names: ``cubepi_messages_p00`` and so on.
"""

from typing import Final

from sqlalchemy import Connection, text

from threadlog.migrations.history.schema_names import in_schema

COUNT: Final = 64

_COUNT_PARTITIONS: Final = text(
    "SELECT COUNT(*), COUNT(*) FILTER (WHERE pg_get_expr(relpartbound, child.oid) LIKE :ours) "
    "FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
    "WHERE inhparent = to_regclass(:table)"
)
_PARTITION_KEY: Final = text(
    "SELECT pg_get_partkeydef(partrelid) FROM pg_partitioned_table "
    "WHERE partrelid = to_regclass(:table)"
)


def names(table: str) -> list[str]:
    """Return the names of a table's partitions."""
    return [f"{table}_p{place:02d}" for place in range(COUNT)]


def statements(table: str) -> list[str]:
    """Return the statements that create the partitions of a table without partitions."""
    return [
        f"CREATE TABLE {name} PARTITION OF {table} "
        f"FOR VALUES WITH (modulus {COUNT}, remainder {place})"
        for place, name in enumerate(names(table))
    ]


def statement(table: str) -> str:
    """Return one statement that creates the missing partitions of a table.

    Args:
        table: the name of the table, which may be one with a quoted schema.
    """
    table = table.replace("'", "''")
    return (
        "DO $$ BEGIN "
        f"FOR place IN 0..{COUNT - 1} LOOP "
        f"EXECUTE 'CREATE TABLE IF NOT EXISTS {table}_p' || to_char(place, 'FM00') || "
        f"' PARTITION OF {table} "
        f"FOR VALUES WITH (modulus {COUNT}, remainder ' || place || ')'; "
        "END LOOP; END $$"
    )


def are_missing(connection: Connection, table: str) -> bool:
    """Return True if some of a table's partitions are missing.

    A table that another tool partitioned into another number counts as complete.
    """
    name = in_schema(connection, table)
    existing, ours = connection.execute(
        _COUNT_PARTITIONS, {"table": name, "ours": f"%modulus {COUNT}, remainder%"}
    ).one()
    return key(connection, table) is not None and (existing == 0 or 0 < ours < COUNT)


def key(connection: Connection, table: str) -> str | None:
    """Return a table's partition key, such as ``HASH (thread_id)``; None if not partitioned."""
    found: str | None = connection.scalar(_PARTITION_KEY, {"table": in_schema(connection, table)})
    return found
