"""The versions of the graph state, frozen; see `threadlog.migrations.history.definitions`."""

from typing import Final

import sqlalchemy as sa

from threadlog.migrations.history.definitions import (
    Definitions,
    Index,
    Items,
    digest,
    document,
    exact_text,
    identifier,
    large_binary,
    long_text,
    timestamp_column,
    version_column,
)

_VERSION_TABLE: Final = "threadlog_graph_version"

_INDEXES: Final = (
    Index("ix_threadlog_checkpoints_recent", "threadlog_checkpoints", ("checkpoint_id",), since=1),
    Index("ix_threadlog_checkpoints_run", "threadlog_checkpoints", ("run_id",), since=1),
    Index(
        "ix_threadlog_checkpoints_created",
        "threadlog_checkpoints",
        ("created_at", "thread_id"),
        since=1,
    ),
)


def _newest(_dialect: str) -> dict[str, Items]:
    """Return the tables of the newest version."""
    return {
        _VERSION_TABLE: [version_column()],
        "threadlog_write_owners": [
            sa.Column("thread_id", identifier(), primary_key=True),
            sa.Column("token", sa.BigInteger, nullable=False),
        ],
        # A namespace is too long for a key, so its hash is in the key.
        "threadlog_checkpoints": [
            sa.Column("thread_id", identifier(), primary_key=True),
            sa.Column("ns_digest", digest(32), primary_key=True),
            sa.Column("checkpoint_id", identifier(), primary_key=True),
            sa.Column("checkpoint_ns", long_text(), nullable=False),
            sa.Column("parent_checkpoint_id", identifier(), nullable=True),
            sa.Column("type", sa.String(255), nullable=False),
            sa.Column("checkpoint", large_binary(), nullable=False),
            sa.Column("blob_keys", document(), nullable=False),
            sa.Column("metadata", document(), nullable=False),
            sa.Column("run_id", identifier(), nullable=True),
            timestamp_column("created_at"),
        ],
        "threadlog_checkpoint_blobs": [
            sa.Column("thread_id", identifier(), primary_key=True),
            sa.Column("ns_digest", digest(32), primary_key=True),
            sa.Column("blob_key", digest(64), primary_key=True),
            sa.Column("channel", long_text(), nullable=False),
            sa.Column("version", long_text(), nullable=False),
            sa.Column("type", sa.String(255), nullable=False),
            sa.Column("value", large_binary(), nullable=False),
        ],
        # Without a foreign key: a write may be stored before its checkpoint.
        "threadlog_checkpoint_writes": [
            sa.Column("thread_id", identifier(), primary_key=True),
            sa.Column("ns_digest", digest(32), primary_key=True),
            sa.Column("checkpoint_id", identifier(), primary_key=True),
            sa.Column("task_id", exact_text(128), primary_key=True),
            sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("task_path", long_text(), nullable=False),
            sa.Column("channel", long_text(), nullable=False),
            sa.Column("type", sa.String(255), nullable=False),
            sa.Column("value", large_binary(), nullable=False),
        ],
    }


GRAPH_STATE: Final = Definitions(
    versions=range(1, 2),
    version_table=_VERSION_TABLE,
    newest=_newest,
    all_indexes=_INDEXES,
    upgraded_by="the migrations that created the tables",
)
"""Checkpoints, of version 1."""
