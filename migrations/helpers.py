"""SQL text for hosts' migrations, under the names that the agent framework gives such texts.

A migration that called one of these is part of a host's history: the texts are frozen, and
do not follow the models. They are for MySQL and MariaDB, except `write_schema_version_op`, and
look at nothing first: a migration that broke off in the middle is finished by hand. The
directives of `threadlog.migrations.plugin` look, and know SQLite too.

Every text may hold several statements, separated by ``;``, where drivers run one at a time.
One loop does for all::

    for statement in upgrade_v4_to_v5_op().split(";"):
        if statement.strip():
            op.execute(statement)

Names and splitting are those of ``cubeloop.checkpointer.mysql.alembic_helpers`` (cubeloop
0.15.3), so that a migration changes nothing but its import. Here identifiers are compared
byte by byte (``utf8mb4_bin``) and have 255 characters; there the ids of runs and questions
have the database's collation, and ``cubepi_threads.run_id`` has 64 characters.
"""

from typing import Final

_ID: Final = "VARCHAR(255) COLLATE utf8mb4_bin"
_NOW: Final = "TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP"
_BY_THREAD: Final = "PARTITION BY KEY (thread_id) PARTITIONS 64"


def messages_partition_clause() -> str:
    """Give the partitions of ``cubepi_messages`` on MySQL.

    The text goes behind ``ALTER TABLE cubepi_messages``. A table that autogenerate took
    from `threadlog.models.cubepi_metadata` has its partitions already; altering it again
    changes nothing but costs a copy of the table.
    """
    return _BY_THREAD


def runs_partition_clause() -> str:
    """Give the partitions of ``cubepi_runs`` on MySQL; see `messages_partition_clause`."""
    return _BY_THREAD


def add_pending_request_column_op() -> str:
    """Give the statement from version 1 to 2: the question that a thread waits with."""
    return "ALTER TABLE cubepi_threads ADD COLUMN pending_request JSON NULL"


def add_run_id_column_op() -> str:
    """Give the statement from version 2 to 3: the run that asked the question."""
    return f"ALTER TABLE cubepi_threads ADD COLUMN run_id {_ID} NULL"


def add_messages_run_id_column_op() -> str:
    """Give the two statements that let messages say their run, a part of version 4."""
    return (
        f"ALTER TABLE cubepi_messages ADD COLUMN run_id {_ID} NULL; "
        "CREATE INDEX ix_cubepi_messages_thread_run ON cubepi_messages (thread_id, run_id);"
    )


def create_runs_table_op() -> str:
    """Give the statement that creates ``cubepi_runs``, partitions included; of version 4."""
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
    """Give the three statements from version 3 to 4, without that of the version."""
    return f"{add_messages_run_id_column_op()} {create_runs_table_op()};"


def create_hitl_answers_table_op() -> str:
    """Give the statement that creates ``cubepi_hitl_answers``; of version 5."""
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
    """Give the statements from version 4 to 5, without that of the version.

    Besides what the framework's text of that name does, it adds the index that lists recent
    threads.
    """
    return (
        f"{create_hitl_answers_table_op()}; "
        "CREATE INDEX ix_cubepi_threads_recent ON cubepi_threads (updated_at, thread_id);"
    )


def write_schema_version_op(version: int = 5) -> str:
    """Give two statements, separated by ``;``, that make the version table say `version`.

    They may be run any number of times, in MySQL and SQLite alike, and belong into one
    transaction: between them the table is empty.

    Args:
        version: the schema version that the tables have after this migration.
    """
    return (
        "DELETE FROM cubepi_schema_version; "
        f"INSERT INTO cubepi_schema_version (version) VALUES ({version:d})"
    )
