"""SQL text for an application's migrations, named like the agent framework's helpers.

A migration that called one of these functions is part of the application's history. Therefore
the texts are frozen and do not follow the models. They are for MySQL and MariaDB, except
`write_schema_version_op`. They do not inspect the database: complete an interrupted migration
by hand. The directives of `threadlog.migrations.plugin` inspect the database first, and support
SQLite too.

Every text may contain several statements separated by ``;``, but drivers run one at a time.
The same loop runs every text::

    for statement in upgrade_v4_to_v5_op().split(";"):
        if statement.strip():
            op.execute(statement)

Names and separators are those of ``cubeloop.checkpointer.mysql.alembic_helpers`` (cubeloop
0.15.3), so that only the import of a migration changes. In threadlog's texts identifiers are
compared byte by byte (``utf8mb4_bin``) and have 255 characters. In cubeloop's, the ids of runs
and questions have the database's collation, and ``cubepi_threads.run_id`` has 64 characters.
"""

from typing import Final

_ID: Final = "VARCHAR(255) COLLATE utf8mb4_bin"
_NOW: Final = "TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP"
_BY_THREAD: Final = "PARTITION BY KEY (thread_id) PARTITIONS 64"


def messages_partition_clause() -> str:
    """Return the partition clause of ``cubepi_messages`` on MySQL.

    Append the text to ``ALTER TABLE cubepi_messages``. A table that autogenerate created from
    `threadlog.models.cubepi_metadata` already has its partitions; altering it again changes
    nothing but copies the whole table.
    """
    return _BY_THREAD


def runs_partition_clause() -> str:
    """Return the partition clause of ``cubepi_runs``; see `messages_partition_clause`."""
    return _BY_THREAD


def add_pending_request_column_op() -> str:
    """Return the statement from version 1 to 2, which adds ``pending_request`` to threads."""
    return "ALTER TABLE cubepi_threads ADD COLUMN pending_request JSON NULL"


def add_run_id_column_op() -> str:
    """Return the statement from version 2 to 3, which adds ``run_id`` to threads.

    The column has the run that asked the pending question.
    """
    return f"ALTER TABLE cubepi_threads ADD COLUMN run_id {_ID} NULL"


def add_messages_run_id_column_op() -> str:
    """Return two statements that add ``run_id`` and its index to messages; part of version 4."""
    return (
        f"ALTER TABLE cubepi_messages ADD COLUMN run_id {_ID} NULL; "
        "CREATE INDEX ix_cubepi_messages_thread_run ON cubepi_messages (thread_id, run_id);"
    )


def create_runs_table_op() -> str:
    """Return the statement that creates ``cubepi_runs`` with partitions; part of version 4."""
    return (
        "CREATE TABLE cubepi_runs ("
        f"thread_id {_ID} NOT NULL, "
        f"run_id {_ID} NOT NULL, "
        f"claimed_at {_NOW}, "
        "completed_at TIMESTAMP NULL, "
        "completion_seq BIGINT NULL, "
        "PRIMARY KEY (thread_id, run_id), "
        "KEY ix_cubepi_runs_thread_seq (thread_id, completion_seq)"
        f") ENGINE=InnoDB {_BY_THREAD}"
    )


def upgrade_v3_to_v4_op() -> str:
    """Return the three statements from version 3 to 4, without the version row's."""
    return f"{add_messages_run_id_column_op()} {create_runs_table_op()};"


def create_hitl_answers_table_op() -> str:
    """Return the statement that creates ``cubepi_hitl_answers``; part of version 5."""
    return (
        "CREATE TABLE cubepi_hitl_answers ("
        f"thread_id {_ID} NOT NULL, "
        f"run_id {_ID} NOT NULL, "
        f"question_id {_ID} NOT NULL, "
        "answer JSON NOT NULL, "
        f"answered_at {_NOW}, "
        "PRIMARY KEY (thread_id, run_id, question_id)"
        ") ENGINE=InnoDB"
    )


def upgrade_v4_to_v5_op() -> str:
    """Return the statements from version 4 to 5, without the version row's.

    Unlike the framework's function of this name, it also adds the indexes that list recent and
    waiting threads.
    """
    return (
        f"{create_hitl_answers_table_op()}; "
        "CREATE INDEX ix_cubepi_threads_recent ON cubepi_threads (updated_at, thread_id); "
        "CREATE INDEX ix_cubepi_threads_waiting ON cubepi_threads "
        "(/*!80013 (pending_request IS NOT NULL) */ /*M!100000 pending_request(1) */);"
    )


def write_schema_version_op(version: int = 5) -> str:
    """Return two statements, separated by ``;``, that write `version` to the version table.

    They are safe to run again, on every database. Run both in one transaction, because the
    table is empty between them.

    Args:
        version: the schema version that the tables have after this migration.
    """
    return (
        "DELETE FROM cubepi_schema_version WHERE version >= 0; "
        f"INSERT INTO cubepi_schema_version (version) VALUES ({version:d})"
    )
