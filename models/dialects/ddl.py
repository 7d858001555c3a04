"""Table options, partitions, foreign keys, indexes and computed columns."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from sqlalchemy import DDL, ColumnElement, Computed, ExecutableDDLElement, Table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import DDLCompiler

from threadlog.models.dialects.names import MYSQL

PARTITION_COUNT: Final = 64
"""Partitions of the messages and runs tables, where the database partitions them."""

TABLE_OPTIONS: Final[dict[str, Any]] = {
    "mysql_engine": "InnoDB",
    "mariadb_engine": "InnoDB",
}
"""Options of every table; SQLAlchemy uses those of the dialect that the URL names."""

METADATA_INDEX: Final = "ix_cubepi_messages_metadata_gin"
"""PostgreSQL's index of all keys and values in messages' metadata."""

PARENT_INDEX: Final = "ix_cubepi_threads_parent"
"""The index of the threads that are forks, on PostgreSQL and SQLite."""

WAITING_INDEX: Final = "ix_cubepi_threads_waiting"
"""The index of the threads with a question that waits for a person."""

# Not in the metadata, where an application's autogenerate would find these for MySQL too, which
# forbids a foreign key on a partitioned table and has no such index.


def foreign_key(table: str, threads: str = "cubepi_threads") -> str:
    """Return the statement by which PostgreSQL deletes a table's rows with their thread."""
    return (
        f"ALTER TABLE {table} ADD FOREIGN KEY (thread_id) "
        f"REFERENCES {threads} (thread_id) ON DELETE CASCADE"
    )


class _ForeignKey(ExecutableDDLElement):
    """The foreign key to the thread, in the schema of the table that was created."""


@compiles(_ForeignKey)
def _foreign_key(element: _ForeignKey, compiler: DDLCompiler, **_: Any) -> str:
    table: Any = element.target
    name: str = compiler.preparer.format_table(table)
    return foreign_key(name, f"{name.removesuffix(table.name)}cubepi_threads")


def metadata_index(table: str) -> str:
    """Return the statement that creates PostgreSQL's index of messages' metadata."""
    return f"CREATE INDEX {METADATA_INDEX} ON {table} USING gin (metadata jsonb_path_ops)"


def parent_index(table: str) -> str:
    """Return the statement that creates the index of the few threads that are forks.

    For PostgreSQL and SQLite: MySQL and MariaDB index a foreign key automatically.
    """
    where = "WHERE parent_thread_id IS NOT NULL"
    return f"CREATE INDEX {PARENT_INDEX} ON {table} (parent_thread_id) {where}"


# MySQL has no partial index, and its JSON no index but one of an expression; MariaDB has none of
# an expression. Each ignores the other's comment. Without the time, which each append changes.
_WAITING_ON_MYSQL: Final = (
    "(/*!80013 (pending_request IS NOT NULL) */ /*M!100000 pending_request(1) */)"
)
_WAITING: Final = "(updated_at, thread_id) WHERE pending_request IS NOT NULL"


def waiting_index(table: str, dialect: str) -> str:
    """Return the statement that creates the index of the few threads that wait for a person."""
    keys = _WAITING_ON_MYSQL if dialect in MYSQL else _WAITING
    return f"CREATE INDEX {WAITING_INDEX} ON {table} {keys}"


def partition(table: str, place: int) -> str:
    """Return the statement that creates one of a table's partitions on PostgreSQL."""
    return (
        f"CREATE TABLE {table}_p{place:02d} PARTITION OF {table} "
        f"FOR VALUES WITH (modulus {PARTITION_COUNT}, remainder {place})"
    )


_TABLE: Final = "%(fullname)s"
_PARTITIONS: Final = tuple(partition(_TABLE, place) for place in range(PARTITION_COUNT))


def _after_create(dialect: str, statements: Iterable[str | ExecutableDDLElement]) -> dict[str, Any]:
    """Return the option that executes statements on a dialect after the table was created."""
    make: Callable[[str], Any] = DDL  # DDL has no types in SQLAlchemy 2.1
    elements = [make(each) if isinstance(each, str) else each for each in statements]
    listeners = [element.execute_if(dialect=dialect) for element in elements]
    return {"listeners": [("after_create", listener) for listener in listeners]}


class _WaitingIndex(ExecutableDDLElement):
    """The index of waiting threads, on the table that was created."""


@compiles(_WaitingIndex)
def _create_waiting_index(element: _WaitingIndex, compiler: DDLCompiler, **_: Any) -> str:
    table: Any = element.target
    return waiting_index(compiler.preparer.format_table(table), compiler.dialect.name)


_on_threads = [
    *_after_create("postgresql", [parent_index(_TABLE)])["listeners"],
    *_after_create("sqlite", [parent_index(_TABLE)])["listeners"],
    ("after_create", _WaitingIndex()),
]

THREADS: Final[dict[str, Any]] = {**TABLE_OPTIONS, "listeners": _on_threads}
"""Options of the threads table."""

OF_THREAD: Final[dict[str, Any]] = {**TABLE_OPTIONS, **_after_create("postgresql", [_ForeignKey()])}
"""Options of a table whose rows belong to threads; PostgreSQL deletes them with the thread."""

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
    **_after_create("postgresql", [_ForeignKey(), *_PARTITIONS]),
}
"""Options of a table like `OF_THREAD` that is partitioned by thread_id."""

MESSAGES_BY_THREAD: Final[dict[str, Any]] = {
    **_PARTITIONED,
    **_after_create("postgresql", [_ForeignKey(), metadata_index(_TABLE), *_PARTITIONS]),
}
"""Options of the messages table: partitioned by thread_id; PostgreSQL indexes all metadata."""


class _Generated(Computed):
    """A virtual column; stored on PostgreSQL, which has virtual columns only since 18."""

    inherit_cache = True

    def _copy(self, *, target_table: Table | None = None, **kw: Any) -> "_Generated":
        copied = super()._copy(target_table=target_table, **kw)
        return _Generated(copied.sqltext, persisted=copied.persisted)


@compiles(_Generated, "postgresql")
def _stored(element: _Generated, compiler: DDLCompiler, **kw: Any) -> str:
    return compiler.process(Computed(element.sqltext, persisted=True), **kw)


def enforces_foreign_keys(dialect: str) -> bool:
    """Return True if all connections enforce foreign keys; SQLite's do so only if told to."""
    return dialect != "sqlite"


def computed(value: ColumnElement[Any]) -> Computed:
    """Return the construct of a column that the database computes.

    Args:
        value: an expression of other columns of the row.
    """
    return _Generated(value, persisted=False)
