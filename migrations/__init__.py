"""Alembic environment, frozen revisions, and helpers for an application's own migrations.

Importing this package does not import Alembic. `threadlog.migrations.plugin` imports it and
registers the ``op.`` directives for an application's migrations.
"""

from threadlog.migrations.autogenerate.filters import exclude_threadlog_tables
from threadlog.migrations.helpers import (
    add_messages_run_id_column_op,
    add_pending_request_column_op,
    add_run_id_column_op,
    create_hitl_answers_table_op,
    create_runs_table_op,
    messages_partition_clause,
    runs_partition_clause,
    upgrade_v3_to_v4_op,
    upgrade_v4_to_v5_op,
    write_schema_version_op,
)

__all__ = [
    "add_messages_run_id_column_op",
    "add_pending_request_column_op",
    "add_run_id_column_op",
    "create_hitl_answers_table_op",
    "create_runs_table_op",
    "exclude_threadlog_tables",
    "messages_partition_clause",
    "runs_partition_clause",
    "upgrade_v3_to_v4_op",
    "upgrade_v4_to_v5_op",
    "write_schema_version_op",
]
