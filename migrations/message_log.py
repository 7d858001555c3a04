"""The versions of the message log, frozen; see `threadlog.migrations.definitions`.

The versions are those of the agent framework, which began with threads and messages; what
came later says since when. Unlike the framework's own helpers these give every identifier
the collation ``utf8mb4_bin``, and version 5 the index that lists recent threads.
"""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from threadlog.migrations.definitions import (
    MYSQL,
    OPTIONS,
    Definitions,
    Index,
    Items,
    identifier,
    packed,
    version_column,
)

_VERSION_TABLE: Final = "cubepi_schema_version"

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

_PARTITIONED: Final[Mapping[str, Any]] = {
    **OPTIONS,
    "mysql_partition_by": "KEY (thread_id)",
    "mysql_partitions": "64",
    "mariadb_partition_by": "KEY (thread_id)",
    "mariadb_partitions": "64",
}


def _newest(dialect: str) -> dict[str, Items]:
    """Give the tables of the newest version."""
    return {
        _VERSION_TABLE: [version_column()],
        "cubepi_threads": _threads(dialect),
        "cubepi_messages": _messages(),
        "cubepi_runs": _runs(),
        "cubepi_hitl_answers": _hitl_answers(),
    }


def _threads(dialect: str) -> Items:
    """Give the threads table; its row is the lock under which seqs are allocated."""
    now = "CURRENT_TIMESTAMP"
    on_update = f"{now} ON UPDATE {now}" if dialect in MYSQL else now
    return [
        sa.Column("thread_id", identifier(), primary_key=True),
        sa.Column("parent_thread_id", identifier(), nullable=True),
        sa.Column("forked_at_seq", sa.BigInteger, nullable=True),
        sa.Column("extra", sa.JSON, server_default=sa.text("(JSON_OBJECT())"), nullable=False),
        sa.Column("pending_request", sa.JSON, nullable=True),
        sa.Column("run_id", identifier(), nullable=True),
        _timestamp("created_at"),
        _timestamp("updated_at", default=on_update),
        sa.ForeignKeyConstraint(["parent_thread_id"], ["cubepi_threads.thread_id"]),
    ]


def _messages() -> Items:
    """Give the messages table. MySQL forbids a foreign key on a partitioned table."""
    return [
        sa.Column("thread_id", identifier(), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("metadata", sa.JSON, server_default=sa.text("(JSON_OBJECT())"), nullable=False),
        sa.Column("payload", packed(), nullable=False),
        sa.Column("run_id", identifier(), nullable=True),
        _timestamp("created_at"),
    ]


def _runs() -> Items:
    """Give the runs table."""
    return [
        sa.Column("thread_id", identifier(), primary_key=True),
        sa.Column("run_id", identifier(), primary_key=True),
        _timestamp("claimed_at"),
        sa.Column("completed_at", sa.TIMESTAMP, nullable=True),
        sa.Column("completion_seq", sa.BigInteger, nullable=True),
    ]


def _hitl_answers() -> Items:
    """Give the table of people's answers."""
    return [
        sa.Column("thread_id", identifier(), primary_key=True),
        sa.Column("run_id", identifier(), primary_key=True),
        sa.Column("question_id", identifier(), primary_key=True),
        sa.Column("answer", sa.JSON, nullable=False),
        _timestamp("answered_at"),
    ]


def _timestamp(name: str, *, default: str = "CURRENT_TIMESTAMP") -> sa.Column[Any]:
    """Give a column that the server sets on insert."""
    return sa.Column(name, sa.TIMESTAMP, server_default=sa.text(default), nullable=False)


MESSAGE_LOG: Final = Definitions(
    versions=range(1, 6),
    version_table=_VERSION_TABLE,
    newest=_newest,
    since=_SINCE,
    all_indexes=_INDEXES,
    all_options={"cubepi_messages": _PARTITIONED, "cubepi_runs": _PARTITIONED},
    upgraded_by="the migrations that made the tables, or with op.upgrade_threadlog_schema() in "
    "a migration of your own",
)
"""Threads, messages, runs and answers, of versions 1 to 5."""
