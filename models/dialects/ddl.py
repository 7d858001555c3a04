"""Table options, and what belongs to a table beside its columns."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from sqlalchemy import DDL

PARTITION_COUNT: Final = 64
"""Partitions of the messages and runs tables, where the database partitions them."""

TABLE_OPTIONS: Final[dict[str, Any]] = {
    "mysql_engine": "InnoDB",
    "mariadb_engine": "InnoDB",
}
"""Options of every table; SQLAlchemy heeds those with the name that begins the URL."""

METADATA_INDEX: Final = "ix_cubepi_messages_metadata_gin"
"""The index of whatever is in messages' metadata, on PostgreSQL."""

# What the texts below make is not in the metadata, where a host's autogenerate would find it for
# MySQL too, which forbids a foreign key on a partitioned table and has no such index.


def foreign_key(table: str) -> str:
    """Give the statement that has PostgreSQL delete a table's rows with their thread."""
    return (
        f"ALTER TABLE {table} ADD FOREIGN KEY (thread_id) "
        "REFERENCES cubepi_threads (thread_id) ON DELETE CASCADE"
    )


def metadata_index(table: str) -> str:
    """Give the statement that creates PostgreSQL's index of messages' metadata."""
    return f"CREATE INDEX {METADATA_INDEX} ON {table} USING gin (metadata jsonb_path_ops)"


def _parent_index(table: str) -> str:
    """Give the statement that creates PostgreSQL's index of the few threads that are forks.

    Others make one for a foreign key by themselves.
    """
    where = "WHERE parent_thread_id IS NOT NULL"
    return f"CREATE INDEX ix_cubepi_threads_parent ON {table} (parent_thread_id) {where}"


def partition(table: str, place: int) -> str:
    """Give the statement that creates one of a table's partitions on PostgreSQL."""
    return (
        f"CREATE TABLE {table}_p{place:02d} PARTITION OF {table} "
        f"FOR VALUES WITH (modulus {PARTITION_COUNT}, remainder {place})"
    )


_TABLE: Final = "%(fullname)s"
_PARTITIONS: Final = tuple(partition(_TABLE, place) for place in range(PARTITION_COUNT))


def _on_postgresql(statements: Iterable[str]) -> dict[str, Any]:
    """Give the option that has PostgreSQL execute statements after it created the table."""
    make: Callable[[str], Any] = DDL  # it has no types in SQLAlchemy 2.1
    listeners = [make(statement).execute_if(dialect="postgresql") for statement in statements]
    return {"listeners": [("after_create", listener) for listener in listeners]}


THREADS: Final[dict[str, Any]] = {**TABLE_OPTIONS, **_on_postgresql([_parent_index(_TABLE)])}
"""Options of the table of threads."""

OF_THREAD: Final[dict[str, Any]] = {**TABLE_OPTIONS, **_on_postgresql([foreign_key(_TABLE)])}
"""Options of a table whose rows belong to threads, and go with them on PostgreSQL."""

_PARTITIONED: Final[dict[str, Any]] = {
    **TABLE_OPTIONS,
    "mysql_partition_by": "KEY (thread_id)",
    "mariadb_partition_by": "KEY (thread_id)",
    # A string: SQLAlchemy joins the rendered options and raises TypeError on an int.
    "mysql_partitions": str(PARTITION_COUNT),
    "mariadb_partitions": str(PARTITION_COUNT),
    "postgresql_partition_by": "HASH (thread_id)",
}

PARTITIONED_BY_THREAD: Final[dict[str, Any]] = {
    **_PARTITIONED,
    **_on_postgresql([foreign_key(_TABLE), *_PARTITIONS]),
}
"""Options of a table like `OF_THREAD` that is spread over its partitions by thread_id."""

MESSAGES_BY_THREAD: Final[dict[str, Any]] = {
    **_PARTITIONED,
    **_on_postgresql([foreign_key(_TABLE), metadata_index(_TABLE), *_PARTITIONS]),
}
"""The same of the messages, whose metadata PostgreSQL indexes whatever is in them."""
