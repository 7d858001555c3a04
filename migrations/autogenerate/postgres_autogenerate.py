"""Autogenerate support for PostgreSQL's partitions, foreign keys to threads and indexes.

Each partition is a table. The indexes are those of messages' metadata, of forks and of waiting
threads. None of these is in the models' metadata, because autogenerate would then create them on
MySQL too. This module adds them to a migration that creates a table, and removes operations that
would drop them from an existing table.
"""

from collections.abc import Iterable
from typing import Final

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import (
    CreateIndexOp,
    CreateTableOp,
    DropConstraintOp,
    DropIndexOp,
    DropTableOp,
    ExecuteSQLOp,
    MigrateOperation,
    ModifyTableOps,
)
from sqlalchemy import ForeignKeyConstraint

from threadlog.migrations.history import hash_partitions
from threadlog.migrations.history.definitions import POSTGRESQL
from threadlog.migrations.history.message_log import MESSAGE_LOG

_VERSION: Final = MESSAGE_LOG.versions[-1]
_TABLES: Final = MESSAGE_LOG.tables(_VERSION, POSTGRESQL).keys()
_WITH_THREAD_KEY: Final = ("cubepi_messages", "cubepi_runs", "cubepi_hitl_answers")
_INDEXES: Final = [
    index for index in MESSAGE_LOG.indexes(_VERSION, POSTGRESQL) if index.dialect == POSTGRESQL
]
_INDEX_NAMES: Final = frozenset(index.name for index in _INDEXES)
_PARTITIONS: Final = frozenset(
    name for table in MESSAGE_LOG.hash_partitioned for name in hash_partitions.names(table)
)


class PartsOfNewTable(ModifyTableOps):
    """Indexes of a table that the same migration creates."""

    def reverse(self) -> ModifyTableOps:
        """Return no operations: the indexes are dropped with the table."""
        return ModifyTableOps(self.table_name, [], schema=self.schema)


class PartitionsOp(ExecuteSQLOp):
    """A statement that creates the missing partitions of a table.

    It is rendered as ``op.execute("DO …")``, so that the migration does not import threadlog.
    """

    def __init__(self, table: str) -> None:
        """Create the operation for a table."""
        super().__init__(hash_partitions.statement(table))
        self.table = table

    def reverse(self) -> ModifyTableOps:
        """Return no operations: partitions of an existing table should not have been missing.

        Those of a new table are dropped with it.
        """
        return ModifyTableOps(self.table, [])

    def to_diff_tuple(self) -> tuple[str, str]:
        """Return the tuple that ``alembic check`` prints."""
        return ("create_partitions", self.table)


def skip_partitions(context: AutogenContext, *_: object) -> None:
    """Hide partitions from Alembic, which would log each as a removed table."""
    if context.dialect is not None and context.dialect.name == POSTGRESQL:
        context._name_filters = [*context._name_filters, _is_no_partition]  # noqa: SLF001 - Alembic has no public accessor


def _is_no_partition(name: str | None, type_: str, parent_names: object) -> bool:
    return type_ != "table" or name not in _PARTITIONS


def with_postgres_parts(ops: Iterable[MigrateOperation]) -> list[MigrateOperation]:
    """Return a PostgreSQL migration's operations, extended by those that no metadata declares.

    Args:
        ops: the operations that autogenerate derived from the metadata.
    """
    kept: list[MigrateOperation] = []
    for op in ops:
        if isinstance(op, DropTableOp | ModifyTableOps) and op.table_name in _PARTITIONS:
            continue  # dropped with their table
        if isinstance(op, ModifyTableOps) and op.table_name in _TABLES:
            op.ops[:] = [part for part in op.ops if not _is_unwanted_drop(part)]
            if not op.ops:
                continue
        kept.append(op)
        if isinstance(op, CreateTableOp) and op.table_name in _TABLES:
            kept += _add_postgres_parts(op)
    return kept


def _is_unwanted_drop(op: MigrateOperation) -> bool:
    """Return True if an operation drops a foreign key or an index that the table needs."""
    if isinstance(op, DropConstraintOp):
        is_ours = op.table_name in _WITH_THREAD_KEY and op.constraint_type == "foreignkey"
        return is_ours and op.constraint_name == f"{op.table_name}_thread_id_fkey"
    return isinstance(op, DropIndexOp) and op.index_name in _INDEX_NAMES


def _add_postgres_parts(op: CreateTableOp) -> list[MigrateOperation]:
    """Add the foreign key to a new table; return operations for its partitions and indexes."""
    table = op.table_name
    if table in _WITH_THREAD_KEY:
        key = ForeignKeyConstraint(["thread_id"], ["cubepi_threads.thread_id"], ondelete="CASCADE")
        op.columns = [*op.columns, key]
    indexes = [
        CreateIndexOp(index.name, table, [*index.columns], **index.options)
        for index in _INDEXES
        if index.table == table
    ]
    partitions = [PartitionsOp(table)] if table in MESSAGE_LOG.hash_partitioned else []
    return [*partitions, *(PartsOfNewTable(table, [index]) for index in indexes)]
