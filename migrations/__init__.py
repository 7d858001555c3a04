"""Alembic environment, frozen revisions, and helpers for hosts' own migrations.

Importing this package imports no Alembic.
"""

from threadlog.migrations.helpers import (
    messages_partition_clause,
    runs_partition_clause,
    write_schema_version_op,
)

__all__ = ["messages_partition_clause", "runs_partition_clause", "write_schema_version_op"]
