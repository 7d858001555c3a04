"""The versions of the message log, frozen; see `threadlog.migrations.history.definitions`.

The version numbers are the agent framework's. Version 1 has threads and messages; ``_SINCE``
has the first version of everything else. Unlike in the framework's own helpers, every
identifier has the collation ``utf8mb4_bin``, on PostgreSQL ``C``. Version 5 also has the indexes
that list recent and waiting threads and, on PostgreSQL and SQLite, the index that finds forks.
"""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from threadlog.migrations.history.definitions import (
    MYSQL,
    OPTIONS,
    POSTGRESQL,
    Definitions,
    Index,
    Items,
    document,
    identifier,
    large_binary,
    version_column,
)

_VERSION_TABLE: Final = "cubepi_schema_version"

PARENT_INDEX: Final = "ix_cubepi_threads_parent"
"""The index of the threads that are forks, where a foreign key has none of its own."""

WAITING_INDEX: Final = "ix_cubepi_threads_waiting"
"""The index of threads that wait for a person, whose form differs between databases."""

# Each of the two servers ignores the other's comment.
_WAITING_ON_MYSQL: Final = (
    "/*!80013 (pending_request IS NOT NULL) */ /*M!100000 pending_request(1) */"
)

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
    Index(
        "ix_cubepi_messages_metadata_gin",
        "cubepi_messages",
        ("metadata",),
        since=1,
        dialect=POSTGRESQL,
        options={
            "postgresql_using": "gin",
            "postgresql_ops": {"metadata": "jsonb_path_ops"},
        },
    ),
    # MySQL creates an index for a foreign key itself. Partial, because few threads are forks.
    *(
        Index(
            PARENT_INDEX,
            "cubepi_threads",
            ("parent_thread_id",),
            since=5,
            dialect=dialect,
            options={f"{dialect}_where": sa.text("parent_thread_id IS NOT NULL")},
        )
        for dialect in (POSTGRESQL, "sqlite")
    ),
    # An index of an expression on MySQL, and of a prefix on MariaDB; partial on the others.
    *(
        Index(
            WAITING_INDEX,
            "cubepi_threads",
            (sa.text(_WAITING_ON_MYSQL),),
            since=5,
            dialect=dialect,
        )
        for dialect in MYSQL
    ),
    *(
        Index(
            WAITING_INDEX,
            "cubepi_threads",
            ("updated_at", "thread_id"),
            since=5,
            dialect=dialect,
            options={f"{dialect}_where": sa.text("pending_request IS NOT NULL")},
        )
        for dialect in (POSTGRESQL, "sqlite")
    ),
)

_PARTITIONED: Final[Mapping[str, Any]] = {
    **OPTIONS,
    "mysql_partition_by": "KEY (thread_id)",
    "mysql_partitions": "64",
    "mariadb_partition_by": "KEY (thread_id)",
    "mariadb_partitions": "64",
    "postgresql_partition_by": "HASH (thread_id)",
}


def _newest(dialect: str) -> dict[str, Items]:
    """Return the tables of the newest version."""
    now = "CURRENT_TIMESTAMP"
    on_update = f"{now} ON UPDATE {now}" if dialect in MYSQL else now
    return {
        _VERSION_TABLE: [version_column()],
        "cubepi_threads": [
            sa.Column("thread_id", identifier(), primary_key=True),
            sa.Column("parent_thread_id", identifier(), nullable=True),
            sa.Column("forked_at_seq", sa.BigInteger, nullable=True),
            _json_object("extra", dialect),
            sa.Column("pending_request", document(), nullable=True),
            sa.Column("run_id", identifier(), nullable=True),
            _timestamp_column("created_at"),
            _timestamp_column("updated_at", default=on_update),
            sa.ForeignKeyConstraint(["parent_thread_id"], ["cubepi_threads.thread_id"]),
        ],
        "cubepi_messages": [
            sa.Column("thread_id", identifier(), primary_key=True),
            sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column(
                "role", sa.String(32).with_variant(postgresql.TEXT(), POSTGRESQL), nullable=False
            ),
            _json_object("metadata", dialect),
            sa.Column("payload", large_binary(), nullable=False),
            sa.Column("run_id", identifier(), nullable=True),
            _timestamp_column("created_at"),
            *_thread_foreign_key(dialect),
        ],
        "cubepi_runs": [
            sa.Column("thread_id", identifier(), primary_key=True),
            sa.Column("run_id", identifier(), primary_key=True),
            _timestamp_column("claimed_at"),
            sa.Column("completed_at", _timestamp_type(), nullable=True),
            sa.Column("completion_seq", sa.BigInteger, nullable=True),
            *_thread_foreign_key(dialect),
        ],
        "cubepi_hitl_answers": [
            sa.Column("thread_id", identifier(), primary_key=True),
            sa.Column("run_id", identifier(), primary_key=True),
            sa.Column("question_id", identifier(), primary_key=True),
            sa.Column("answer", document(), nullable=False),
            _timestamp_column("answered_at"),
            *_thread_foreign_key(dialect),
        ],
    }


def _timestamp_column(name: str, *, default: str = "CURRENT_TIMESTAMP") -> sa.Column[Any]:
    """Return a column that the server sets on insert."""
    return sa.Column(name, _timestamp_type(), server_default=sa.text(default), nullable=False)


def _timestamp_type() -> sa.TIMESTAMP:
    """Return the type of a point in time."""
    return sa.TIMESTAMP().with_variant(postgresql.TIMESTAMP(timezone=True), POSTGRESQL)


def _json_object(name: str, dialect: str) -> sa.Column[Any]:
    """Return a column of a JSON object, empty by default."""
    empty = "'{}'::jsonb" if dialect == POSTGRESQL else "(JSON_OBJECT())"
    return sa.Column(name, document(), server_default=sa.text(empty), nullable=False)


def _thread_foreign_key(dialect: str) -> Items:
    """Return the foreign key to the thread, which MySQL forbids on a partitioned table."""
    if dialect != POSTGRESQL:
        return []
    return [
        sa.ForeignKeyConstraint(["thread_id"], ["cubepi_threads.thread_id"], ondelete="CASCADE")
    ]


MESSAGE_LOG: Final = Definitions(
    versions=range(1, 6),
    version_table=_VERSION_TABLE,
    newest=_newest,
    since=_SINCE,
    all_indexes=_INDEXES,
    all_options={"cubepi_messages": _PARTITIONED, "cubepi_runs": _PARTITIONED},
    hash_partitioned=("cubepi_messages", "cubepi_runs"),
    referred_by=(
        "threadlog_owners",
        "threadlog_leases",
        "threadlog_append_keys",
        "threadlog_truncations",
        "threadlog_search",
    ),
    upgraded_by="the migrations that created the tables, or with op.upgrade_threadlog_schema() "
    "in a migration of your own",
)
"""Threads, messages, runs and answers, of versions 1 to 5."""
