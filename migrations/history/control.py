"""The versions of thread control, frozen; see `threadlog.migrations.history.definitions`."""

from typing import Final

import sqlalchemy as sa

from threadlog.migrations.history.definitions import (
    Definitions,
    Index,
    Items,
    identifier,
    timestamp_column,
    version_column,
)

_VERSION_TABLE: Final = "threadlog_control_version"
_THREADS: Final = "cubepi_threads"


def _newest(_dialect: str) -> dict[str, Items]:
    """Return the tables of the newest version."""
    return {
        _VERSION_TABLE: [version_column()],
        "threadlog_owners": [
            *_thread(),
            sa.Column("owner", identifier(), nullable=False),
        ],
        "threadlog_leases": [
            *_thread(),
            sa.Column("run_id", identifier(), primary_key=True),
            sa.Column("token", sa.BigInteger, nullable=False),
            timestamp_column("expires_at", nullable=True),
        ],
        "threadlog_append_keys": [
            *_thread(),
            sa.Column("append_key", identifier(), primary_key=True),
            sa.Column("first_seq", sa.BigInteger, nullable=False),
            sa.Column("last_seq", sa.BigInteger, nullable=False),
            timestamp_column("created_at"),
        ],
        "threadlog_truncations": [
            *_thread(),
            sa.Column("last_seq", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("after_seq", sa.BigInteger, nullable=False),
            sa.Column("message_count", sa.BigInteger, nullable=False),
            sa.Column("run_id", identifier(), nullable=True),
            timestamp_column("truncated_at"),
        ],
    }


def _thread() -> Items:
    """Return the first column of a table, and its foreign key to the thread."""
    return [
        sa.Column("thread_id", identifier(), primary_key=True),
        sa.ForeignKeyConstraint(["thread_id"], [f"{_THREADS}.thread_id"], ondelete="CASCADE"),
    ]


CONTROL: Final = Definitions(
    versions=range(1, 2),
    version_table=_VERSION_TABLE,
    newest=_newest,
    all_indexes=(
        Index("ix_threadlog_owners_owner", "threadlog_owners", ("owner", "thread_id"), since=1),
        Index(
            "ix_threadlog_append_keys_created", "threadlog_append_keys", ("created_at",), since=1
        ),
    ),
    upgraded_by="the migrations that created the tables",
    refers_to=_THREADS,
)
"""Owners, leases, append keys and truncations, of version 1."""
