"""SQL text for hosts' migrations: what Alembic's operations do not say by themselves.

A migration that called one of these is part of a host's history: the texts are frozen, and
do not follow the models.
"""

from typing import Final

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


def write_schema_version_op(version: int = 5) -> str:
    """Give two statements, separated by ``;``, that make the version table say `version`.

    Drivers run one statement at a time, so split the text::

        for statement in write_schema_version_op().split(";"):
            op.execute(statement)

    They may be run any number of times, in MySQL and SQLite alike, and belong into one
    transaction: between them the table is empty.

    Args:
        version: the schema version that the tables have after this migration.
    """
    return (
        "DELETE FROM cubepi_schema_version; "
        f"INSERT INTO cubepi_schema_version (version) VALUES ({version:d})"
    )
