"""Helpers for tests of migrations on PostgreSQL."""

import itertools
from typing import Any, Final

from cubeloop.checkpointer.postgres import alembic_helpers
from sqlalchemy import Connection, text

from threadlog.migrations import write_schema_version_op

_COLUMNS: Final = text(
    "SELECT concat_ws(' ', attname, format_type(atttypid, atttypmod), collname,"
    " CASE WHEN attnotnull THEN 'NOT NULL' END, pg_get_expr(adbin, adrelid)) "
    "FROM pg_attribute LEFT JOIN pg_collation ON pg_collation.oid = attcollation "
    "LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum "
    "WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
)
_PARTS: Final = (
    text(
        "SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conrelid = to_regclass(:table) ORDER BY conname"
    ),
    text(
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index "
        "WHERE indrelid = to_regclass(:table) ORDER BY 1"
    ),
    text(
        "SELECT pg_get_partkeydef(partrelid) FROM pg_partitioned_table "
        "WHERE partrelid = to_regclass(:table)"
    ),
    text(
        "SELECT relname || ' ' || pg_get_expr(relpartbound, child.oid) FROM pg_inherits "
        "JOIN pg_class child ON child.oid = inhrelid "
        "WHERE inhparent = to_regclass(:table) ORDER BY relname"
    ),
)
_PARTITIONS: Final = text("SELECT CAST(relname AS TEXT) FROM pg_class WHERE relispartition")


def described(connection: Connection, table: str) -> str:
    """Describe a table: columns, constraints, indexes and partitions, a line each."""
    found = [
        line
        for query in (_COLUMNS, *_PARTS)
        for line in connection.scalars(query, {"table": table})
    ]
    return "\n".join(found)


def partitions(connection: Connection) -> set[str]:
    """Return the names of the tables that are partitions; only PostgreSQL has such tables."""
    if connection.dialect.name != "postgresql":
        return set()
    return set(connection.scalars(_PARTITIONS))


# The framework's tables of version 1 in our words: ids have the database's own collation.
_THREAD: Final = "TEXT NOT NULL REFERENCES cubepi_threads (thread_id) ON DELETE CASCADE"
_NOW: Final = "TIMESTAMPTZ NOT NULL DEFAULT now()"
_FRAMEWORK: Final = (
    f"""CREATE TABLE cubepi_threads (
    thread_id TEXT NOT NULL PRIMARY KEY,
    parent_thread_id TEXT REFERENCES cubepi_threads (thread_id),
    forked_at_seq BIGINT,
    extra JSONB NOT NULL DEFAULT '{{}}'::jsonb,
    created_at {_NOW},
    updated_at {_NOW}
)""",
    f"""CREATE TABLE cubepi_messages (
    thread_id {_THREAD},
    seq BIGINT NOT NULL,
    role TEXT NOT NULL,
    metadata JSONB NOT NULL DEFAULT '{{}}'::jsonb,
    payload BYTEA NOT NULL,
    created_at {_NOW},
    PRIMARY KEY (thread_id, seq)
) PARTITION BY HASH (thread_id)""",
    """CREATE INDEX ix_cubepi_messages_metadata_gin
    ON cubepi_messages USING gin (metadata jsonb_path_ops)""",
    "CREATE TABLE cubepi_schema_version (version SERIAL PRIMARY KEY)",
)


def framework(version: int, texts: Any = alembic_helpers) -> list[str]:
    """Return the statements of the framework's tables at one of its schema versions, 1 to 5.

    Args:
        version: the version.
        texts: the module with the statements that upgrade version 1's tables: the framework's own,
            or threadlog's.
    """
    steps = (
        texts.create_message_partitions_op(),
        texts.add_pending_request_column_op(),
        texts.add_run_id_column_op(),
        texts.upgrade_v3_to_v4_op(),
        texts.upgrade_v4_to_v5_op(),
    )
    made = [split(step) for step in (*steps[:version], write_schema_version_op(version))]
    return [*_FRAMEWORK, *itertools.chain(*made)]


def split(texts: str) -> list[str]:
    """Split a text as an application's migrations do."""
    return [statement for statement in texts.split(";") if statement.strip()]
