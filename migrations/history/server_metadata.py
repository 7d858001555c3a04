"""The versions of the server metadata, frozen; see `threadlog.migrations.history.definitions`."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from threadlog.migrations.history.definitions import (
    MYSQL,
    POSTGRESQL,
    Definitions,
    Index,
    Items,
    document,
    exact_text,
    long_text,
    timestamp_column,
    version_column,
)

_VERSION_TABLE: Final = "threadlog_metadata_version"

_INDEXES: Final = (
    Index("idx_app_threads_updated_at", "app_threads", ("updated_at",), since=1),
    Index("idx_app_threads_status_updated", "app_threads", ("status", "updated_at"), since=1),
    Index("idx_app_runs_thread_created", "app_runs", ("thread_id", "created_at"), since=1),
    Index("idx_app_runs_inflight_updated", "app_runs", ("status", "updated_at"), since=1),
)


def _newest(_dialect: str) -> dict[str, Items]:
    """Return the tables of the newest version."""
    return {
        _VERSION_TABLE: [version_column()],
        "app_threads": [
            sa.Column("thread_id", _uuid(), primary_key=True),
            timestamp_column("created_at"),
            timestamp_column("updated_at"),
            timestamp_column("state_updated_at", nullable=True),
            sa.Column("metadata", document(), nullable=False),
            sa.Column("config", document(), nullable=False),
            sa.Column("status", exact_text(32), nullable=False),
            sa.Column("ttl", document(), nullable=True),
        ],
        "app_runs": [
            sa.Column("run_id", _uuid(), primary_key=True),
            sa.Column("thread_id", _uuid(), nullable=False),
            sa.Column("assistant_id", exact_text(255), nullable=False),
            timestamp_column("created_at"),
            timestamp_column("updated_at"),
            sa.Column("status", exact_text(32), nullable=False),
            sa.Column("metadata", document(), nullable=False),
            sa.Column("kwargs", document(), nullable=False),
            sa.Column("multitask_strategy", exact_text(32), nullable=False),
            sa.Column("error", long_text(), nullable=True),
            sa.ForeignKeyConstraint(["thread_id"], ["app_threads.thread_id"], ondelete="CASCADE"),
        ],
    }


def _uuid() -> sa.String:
    """Return the type of a UUID: PostgreSQL's own, elsewhere its 36 characters."""
    kind = mysql.CHAR(36, charset="ascii", collation="ascii_bin")
    return sa.String(36).with_variant(kind, *MYSQL).with_variant(postgresql.UUID(), POSTGRESQL)


SERVER_METADATA: Final = Definitions(
    versions=range(1, 2),
    version_table=_VERSION_TABLE,
    newest=_newest,
    all_indexes=_INDEXES,
    upgraded_by="the migrations that created the tables",
    adopted_from="threadlog_graph_version",
)
"""The threads and runs of a server, of version 1, which were tables of the graph state once."""
