"""The message log: schema version 5, in a database that is empty or holds it already.

Frozen: this file never changes with the models.

MySQL commits each DDL statement by itself, so a run may break off anywhere and must be able
to begin again. The version table is made first and its row written last: data tables beside
an *empty* version table are such a run's, and are completed. Data tables *without* a version
table are not ours to judge, and are refused.

What another tool made at version 5 is adopted: its tables stay as they are and are given
the indexes that they lack.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from threadlog.errors import CubepiSchemaMismatch

revision = "0005"
down_revision = None
branch_labels = None
depends_on = None

_VERSION: Final = 5
_VERSION_TABLE: Final = "cubepi_schema_version"

_Items: TypeAlias = Sequence[sa.Column[Any] | sa.Constraint]

_OPTIONS: Final[Mapping[str, Any]] = {"mysql_engine": "InnoDB"}
_PARTITIONED: Final[Mapping[str, Any]] = {
    **_OPTIONS,
    "mysql_partition_by": "KEY (thread_id)",
    "mysql_partitions": "64",
}
_OPTIONS_OF: Final = {"cubepi_messages": _PARTITIONED, "cubepi_runs": _PARTITIONED}

_INDEXES: Final = (
    ("ix_cubepi_threads_recent", "cubepi_threads", ["updated_at", "thread_id"]),
    ("ix_cubepi_messages_thread_run", "cubepi_messages", ["thread_id", "run_id"]),
    ("ix_cubepi_runs_thread_seq", "cubepi_runs", ["thread_id", "completion_seq"]),
)


def upgrade() -> None:
    """Create what is missing of the five tables, then write the version row.

    Raises:
        CubepiSchemaMismatch: the database holds tables that are not of version 5; nothing
            was changed.
    """
    tables = _tables()
    existing = _existing(tables)
    _refuse_others(tables, existing)
    for table, items in tables.items():
        # IF NOT EXISTS would do, but where the table exists drivers show its warning.
        if table not in existing:
            options = _OPTIONS_OF.get(table, _OPTIONS)
            op.create_table(table, *items, if_not_exists=True, **options)
    for name, table, columns in _INDEXES:
        # MySQL has no CREATE INDEX IF NOT EXISTS.
        if name not in _indexes(table):
            op.create_index(name, table, columns)
    op.execute(f"DELETE FROM {_VERSION_TABLE}")
    op.execute(f"INSERT INTO {_VERSION_TABLE} (version) VALUES ({_VERSION})")


def downgrade() -> None:
    """Drop the five tables with all that they hold.

    The version table goes first, so that nobody opens what is half dropped.
    """
    tables = _tables()
    existing = _existing(tables)
    for table in (_VERSION_TABLE, *reversed(tables)):
        if op.get_context().as_sql or table in existing:
            op.drop_table(table, if_exists=True)
            existing.pop(table, None)


def _tables() -> dict[str, _Items]:
    """Give the tables' columns and constraints, in the order of creation."""
    return {
        _VERSION_TABLE: [sa.Column("version", sa.Integer, primary_key=True, autoincrement=False)],
        "cubepi_threads": _threads(),
        "cubepi_messages": _messages(),
        "cubepi_runs": _runs(),
        "cubepi_hitl_answers": _hitl_answers(),
    }


def _threads() -> _Items:
    """Give the threads table; its row is the lock under which seqs are allocated."""
    return [
        sa.Column("thread_id", _identifier(), primary_key=True),
        sa.Column("parent_thread_id", _identifier(), nullable=True),
        sa.Column("forked_at_seq", sa.BigInteger, nullable=True),
        sa.Column("extra", sa.JSON, server_default=sa.text("(JSON_OBJECT())"), nullable=False),
        sa.Column("pending_request", sa.JSON, nullable=True),
        sa.Column("run_id", _identifier(), nullable=True),
        _timestamp("created_at"),
        _timestamp("updated_at", on_update=True),
        sa.ForeignKeyConstraint(["parent_thread_id"], ["cubepi_threads.thread_id"]),
    ]


def _messages() -> _Items:
    """Give the messages table. MySQL forbids a foreign key on a partitioned table."""
    payload = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql")
    return [
        sa.Column("thread_id", _identifier(), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("metadata", sa.JSON, server_default=sa.text("(JSON_OBJECT())"), nullable=False),
        sa.Column("payload", payload, nullable=False),
        sa.Column("run_id", _identifier(), nullable=True),
        _timestamp("created_at"),
    ]


def _runs() -> _Items:
    """Give the runs table."""
    return [
        sa.Column("thread_id", _identifier(), primary_key=True),
        sa.Column("run_id", _identifier(), primary_key=True),
        _timestamp("claimed_at"),
        sa.Column("completed_at", sa.TIMESTAMP, nullable=True),
        sa.Column("completion_seq", sa.BigInteger, nullable=True),
    ]


def _hitl_answers() -> _Items:
    """Give the table of people's answers."""
    return [
        sa.Column("thread_id", _identifier(), primary_key=True),
        sa.Column("run_id", _identifier(), primary_key=True),
        sa.Column("question_id", _identifier(), primary_key=True),
        sa.Column("answer", sa.JSON, nullable=False),
        _timestamp("answered_at"),
    ]


def _identifier() -> sa.String:
    """Give the type of an identifier: compared byte by byte on every database."""
    return sa.String(255).with_variant(mysql.VARCHAR(255, collation="utf8mb4_bin"), "mysql")


def _timestamp(name: str, *, on_update: bool = False) -> sa.Column[Any]:
    """Give a column that the server sets on insert and, where it can, `on_update`."""
    default = "CURRENT_TIMESTAMP"
    if on_update and op.get_context().dialect.name == "mysql":
        default += " ON UPDATE CURRENT_TIMESTAMP"
    return sa.Column(name, sa.TIMESTAMP, server_default=sa.text(default), nullable=False)


def _existing(tables: Mapping[str, _Items]) -> dict[str, set[str]]:
    """Give the columns of those tables that the database has; offline it has none."""
    if op.get_context().as_sql:
        return {}
    inspector = sa.inspect(op.get_bind())
    names = tables.keys() & set(inspector.get_table_names())
    return {name: {str(c["name"]) for c in inspector.get_columns(name)} for name in names}


def _indexes(table: str) -> set[str]:
    """Name the indexes that a table has now; offline it has none."""
    if op.get_context().as_sql:
        return set()
    return {str(index["name"]) for index in sa.inspect(op.get_bind()).get_indexes(table)}


def _refuse_others(tables: Mapping[str, _Items], existing: Mapping[str, set[str]]) -> None:
    """Go on only with no tables, with those of version 5, or with an unfinished run's.

    Raises:
        CubepiSchemaMismatch: the database holds something else.
    """
    if existing and _VERSION_TABLE not in existing:
        raise _refusal(
            0,
            f"There are data tables ({', '.join(sorted(existing))}) but no version table. "
            "Upgrade them to version 5 with the migrations that made them and let those write "
            "cubepi_schema_version; nothing was changed.",
        )
    versions = _versions() if "version" in existing.get(_VERSION_TABLE, ()) else set()
    if others := versions - {_VERSION}:
        raise _refusal(
            max(others),
            "Upgrade the database to version 5 with the migrations that made it, or use the "
            "release of threadlog for its version; nothing was changed.",
        )
    for table, columns in existing.items():
        wanted = {item.name for item in tables[table] if isinstance(item, sa.Column)}
        if lacking := wanted - columns:
            raise _refusal(
                0,
                f"{table} lacks {', '.join(sorted(lacking))}, so it is not of version 5 "
                "whatever the version table says; nothing was changed.",
            )


def _versions() -> set[int]:
    """Read the version table."""
    return set(op.get_bind().scalars(sa.text(f"SELECT version FROM {_VERSION_TABLE}")))


def _refusal(actual: int, hint: str) -> CubepiSchemaMismatch:
    """Make the error of a database that is left alone."""
    return CubepiSchemaMismatch(expected=_VERSION, actual=actual, hint=hint)
