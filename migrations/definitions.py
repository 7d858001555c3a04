"""What each version of the schema has: tables, columns and indexes, frozen.

The versions are those of the agent framework, which began with threads and messages; what
came later says since when. A version that is written here never changes, whatever becomes
of the models: migrations that hosts have run were made from it. A newer version is added.

Unlike the framework's own helpers these give every identifier the collation
``utf8mb4_bin``, and version 5 the index that lists recent threads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

VERSIONS: Final = range(1, 6)
"""The versions that are defined here."""

VERSION_TABLE: Final = "cubepi_schema_version"
"""The table of one row that says which version the database has."""

Items: TypeAlias = Sequence[sa.Column[Any] | sa.Constraint]
"""Columns and constraints of a table, not yet attached to one."""


@dataclass(frozen=True, slots=True)
class Index:
    """An index of a table."""

    name: str
    table: str
    columns: tuple[str, ...]
    since: int
    """The first version that has it."""


_SINCE: Final[Mapping[str, int]] = {
    "cubepi_threads.pending_request": 2,
    "cubepi_threads.run_id": 3,
    "cubepi_messages.run_id": 4,
    "cubepi_runs": 4,
    "cubepi_hitl_answers": 5,
}

_INDEXES: Final = (
    Index("ix_cubepi_threads_recent", "cubepi_threads", ("updated_at", "thread_id"), since=5),
    Index("ix_cubepi_messages_thread_run", "cubepi_messages", ("thread_id", "run_id"), since=4),
    Index("ix_cubepi_runs_thread_seq", "cubepi_runs", ("thread_id", "completion_seq"), since=4),
)

_OPTIONS: Final[Mapping[str, Any]] = {"mysql_engine": "InnoDB"}
_PARTITIONED: Final[Mapping[str, Any]] = {
    **_OPTIONS,
    "mysql_partition_by": "KEY (thread_id)",
    "mysql_partitions": "64",
}
_OPTIONS_OF: Final = {"cubepi_messages": _PARTITIONED, "cubepi_runs": _PARTITIONED}


def tables(version: int, dialect: str) -> dict[str, Items]:
    """Give a version's tables with columns and constraints, in the order of creation.

    Args:
        version: one of `VERSIONS`; 0 has no tables.
        dialect: SQLAlchemy's name of the database, such as ``mysql``.
    """
    if not version:
        return {}
    newest: dict[str, Items] = {
        VERSION_TABLE: [sa.Column("version", sa.Integer, primary_key=True, autoincrement=False)],
        "cubepi_threads": _threads(dialect),
        "cubepi_messages": _messages(),
        "cubepi_runs": _runs(),
        "cubepi_hitl_answers": _hitl_answers(),
    }
    return {
        table: [item for item in items if _SINCE.get(f"{table}.{item.name}", 1) <= version]
        for table, items in newest.items()
        if _SINCE.get(table, 1) <= version
    }


def columns(items: Items) -> dict[str, sa.Column[Any]]:
    """Give the columns of a table by name, in their order."""
    return {item.name: item for item in items if isinstance(item, sa.Column)}


def indexes(version: int) -> list[Index]:
    """Give a version's indexes, in the order of creation."""
    return [index for index in _INDEXES if index.since <= version]


def options(table: str) -> dict[str, Any]:
    """Give a table's options, for ``op.create_table``: its engine and partitions on MySQL."""
    return dict(_OPTIONS_OF.get(table, _OPTIONS))


def _threads(dialect: str) -> Items:
    """Give the threads table; its row is the lock under which seqs are allocated."""
    now = "CURRENT_TIMESTAMP"
    on_update = f"{now} ON UPDATE {now}" if dialect == "mysql" else now
    return [
        sa.Column("thread_id", _identifier(), primary_key=True),
        sa.Column("parent_thread_id", _identifier(), nullable=True),
        sa.Column("forked_at_seq", sa.BigInteger, nullable=True),
        sa.Column("extra", sa.JSON, server_default=sa.text("(JSON_OBJECT())"), nullable=False),
        sa.Column("pending_request", sa.JSON, nullable=True),
        sa.Column("run_id", _identifier(), nullable=True),
        _timestamp("created_at"),
        _timestamp("updated_at", default=on_update),
        sa.ForeignKeyConstraint(["parent_thread_id"], ["cubepi_threads.thread_id"]),
    ]


def _messages() -> Items:
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


def _runs() -> Items:
    """Give the runs table."""
    return [
        sa.Column("thread_id", _identifier(), primary_key=True),
        sa.Column("run_id", _identifier(), primary_key=True),
        _timestamp("claimed_at"),
        sa.Column("completed_at", sa.TIMESTAMP, nullable=True),
        sa.Column("completion_seq", sa.BigInteger, nullable=True),
    ]


def _hitl_answers() -> Items:
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


def _timestamp(name: str, *, default: str = "CURRENT_TIMESTAMP") -> sa.Column[Any]:
    """Give a column that the server sets on insert."""
    return sa.Column(name, sa.TIMESTAMP, server_default=sa.text(default), nullable=False)
