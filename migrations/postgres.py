"""SQL text for an application's migrations on PostgreSQL.

`threadlog.migrations.helpers` has the texts for MySQL.

Names, separators and effects are those of ``cubeloop.checkpointer.postgres.alembic_helpers``
(cubeloop 0.15.3), so that only the import of a migration changes. The texts are for tables that
the framework's migrations created: ids have the database's collation, as in cubeloop.
`upgrade_v4_to_v5_op` also adds the indexes that list recent and waiting threads.

A text may contain several statements separated by ``;``, but drivers run one at a time. The
same loop runs every text::

    for statement in upgrade_v4_to_v5_op().split(";"):
        if statement.strip():
            op.execute(statement)
"""

from typing import Final

from threadlog.migrations.helpers import write_schema_version_op
from threadlog.migrations.history import hash_partitions

__all__ = [
    "add_pending_request_column_op",
    "add_run_id_column_op",
    "create_message_partitions_op",
    "create_runs_partitions_op",
    "upgrade_v3_to_v4_op",
    "upgrade_v4_to_v5_op",
    "write_schema_version_op",
]

_THREAD: Final = "thread_id TEXT NOT NULL REFERENCES cubepi_threads (thread_id) ON DELETE CASCADE"
_NOW: Final = "TIMESTAMPTZ NOT NULL DEFAULT now()"
_CREATE_INDEX: Final = "CREATE INDEX IF NOT EXISTS"


def create_message_partitions_op() -> str:
    """Return the 64 statements that create the partitions of ``cubepi_messages``.

    For a table that was just created with ``PARTITION BY HASH (thread_id)``. The directives
    create the partitions themselves, as do migrations that autogenerate writes with
    `threadlog.migrations.plugin`.
    """
    return ";\n".join(hash_partitions.statements("cubepi_messages"))


def create_runs_partitions_op() -> str:
    """Return the 64 statements that create the partitions of ``cubepi_runs``.

    See `create_message_partitions_op`.
    """
    return ";\n".join(hash_partitions.statements("cubepi_runs"))


def add_pending_request_column_op() -> str:
    """Return the statement from version 1 to 2, which adds ``pending_request`` to threads."""
    return "ALTER TABLE cubepi_threads ADD COLUMN IF NOT EXISTS pending_request JSONB"


def add_run_id_column_op() -> str:
    """Return the statement from version 2 to 3, which adds ``run_id`` to threads.

    The column has the run that asked the pending question.
    """
    return "ALTER TABLE cubepi_threads ADD COLUMN IF NOT EXISTS run_id TEXT"


def upgrade_v3_to_v4_op() -> str:
    """Return the statements from version 3 to 4 with partitions, without the version row's."""
    return ";\n".join(
        [
            "ALTER TABLE cubepi_messages ADD COLUMN IF NOT EXISTS run_id TEXT",
            f"{_CREATE_INDEX} ix_cubepi_messages_thread_run ON cubepi_messages (thread_id, run_id)",
            (
                f"CREATE TABLE IF NOT EXISTS cubepi_runs ({_THREAD}, "
                f"run_id TEXT NOT NULL, claimed_at {_NOW}, completed_at TIMESTAMPTZ, "
                "completion_seq BIGINT, PRIMARY KEY (thread_id, run_id)"
                ") PARTITION BY HASH (thread_id)"
            ),
            f"{_CREATE_INDEX} ix_cubepi_runs_thread_seq ON cubepi_runs (thread_id, completion_seq)",
            create_runs_partitions_op(),
        ]
    )


def upgrade_v4_to_v5_op() -> str:
    """Return the statements from version 4 to 5, without the version row's."""
    return ";\n".join(
        [
            (
                f"CREATE TABLE IF NOT EXISTS cubepi_hitl_answers ({_THREAD}, "
                "run_id TEXT NOT NULL, question_id TEXT NOT NULL, answer JSONB NOT NULL, "
                f"answered_at {_NOW}, PRIMARY KEY (thread_id, run_id, question_id))"
            ),
            f"{_CREATE_INDEX} ix_cubepi_threads_recent ON cubepi_threads (updated_at, thread_id)",
            (
                f"{_CREATE_INDEX} ix_cubepi_threads_parent "
                "ON cubepi_threads (parent_thread_id) WHERE parent_thread_id IS NOT NULL"
            ),
            (
                f"{_CREATE_INDEX} ix_cubepi_threads_waiting "
                "ON cubepi_threads (updated_at, thread_id) WHERE pending_request IS NOT NULL"
            ),
        ]
    )
