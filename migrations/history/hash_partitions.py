"""The partitions of a table on PostgreSQL, each of which is a table; frozen.

They are called as the agent framework calls them: ``cubepi_messages_p00`` and so on.
"""

from typing import Final

from sqlalchemy import Connection, text

COUNT: Final = 64

_THERE: Final = text(
    "SELECT COUNT(*), COUNT(*) FILTER (WHERE pg_get_expr(relpartbound, child.oid) LIKE :ours) "
    "FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
    "WHERE inhparent = to_regclass(:table)"
)
_PARTITIONED: Final = text(
    "SELECT pg_get_partkeydef(partrelid) FROM pg_partitioned_table "
    "WHERE partrelid = to_regclass(:table)"
)


def names(table: str) -> list[str]:
    """Name the partitions of a table."""
    return [f"{table}_p{place:02d}" for place in range(COUNT)]


def statements(table: str) -> list[str]:
    """Give the statements that create the partitions of a table that has none."""
    return [
        f"CREATE TABLE {name} PARTITION OF {table} "
        f"FOR VALUES WITH (modulus {COUNT}, remainder {place})"
        for place, name in enumerate(names(table))
    ]


def statement(table: str) -> str:
    """Give one statement that creates those partitions of a table that it lacks."""
    return (
        "DO $$ BEGIN "
        f"FOR place IN 0..{COUNT - 1} LOOP "
        f"EXECUTE 'CREATE TABLE IF NOT EXISTS {table}_p' || to_char(place, 'FM00') || "
        f"' PARTITION OF {table} "
        f"FOR VALUES WITH (modulus {COUNT}, remainder ' || place || ')'; "
        "END LOOP; END $$"
    )


def are_missing(connection: Connection, table: str) -> bool:
    """Say whether a table lacks some of its partitions.

    Those that others made in another number are whole too, as far as they say.
    """
    there, ours = connection.execute(
        _THERE, {"table": table, "ours": f"%modulus {COUNT}, remainder%"}
    ).one()
    return key(connection, table) is not None and (there == 0 or 0 < ours < COUNT)


def key(connection: Connection, table: str) -> str | None:
    """Give what a table is partitioned by, such as ``HASH (thread_id)``; None if by nothing."""
    found: str | None = connection.scalar(_PARTITIONED, {"table": table})
    return found
