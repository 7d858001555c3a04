"""The versions of the memory store, frozen; see `threadlog.migrations.history.definitions`."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from threadlog.migrations.history.definitions import (
    MYSQL,
    Definitions,
    Index,
    Items,
    digest,
    document,
    large_binary,
    long_text,
    timestamp_column,
    version_column,
)

_VERSION_TABLE: Final = "threadlog_store_version"


def _newest(_dialect: str) -> dict[str, Items]:
    """Return the tables of the newest version."""
    start = sa.LargeBinary(500).with_variant(mysql.VARBINARY(500), *MYSQL)
    return {
        _VERSION_TABLE: [version_column()],
        # Namespaces and keys are too long for a key, so their hash is the key.
        "threadlog_store": [
            sa.Column("item_digest", digest(32), primary_key=True),
            sa.Column("namespace_start", start, nullable=False),
            sa.Column("namespace", long_text(), nullable=False),
            sa.Column("item_key", long_text(), nullable=False),
            sa.Column("value", document(), nullable=False),
            timestamp_column("created_at"),
            timestamp_column("updated_at"),
            timestamp_column("expires_at", nullable=True),
            sa.Column("ttl_seconds", sa.Double, nullable=True),
            sa.Column("vectors", large_binary(), nullable=True),
        ],
    }


MEMORY_STORE: Final = Definitions(
    versions=range(1, 2),
    version_table=_VERSION_TABLE,
    newest=_newest,
    all_indexes=(
        Index("ix_threadlog_store_namespace", "threadlog_store", ("namespace_start",), since=1),
        Index("ix_threadlog_store_expires", "threadlog_store", ("expires_at",), since=1),
    ),
    upgraded_by="the migrations that created the tables",
)
"""Items of the memory store, of version 1."""
