"""What threadlog's tables have on PostgreSQL that their metadata does not say.

Partitions, each of which is a table; foreign keys to threads; the indexes of messages'
metadata and of forks. The models keep them out of the metadata, where autogenerate would want
them on MySQL too. Here it is told of them: it puts them into a migration that creates a table,
and does not drop them from one that is there.
"""

from collections.abc import Iterable
from typing import Final

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
_OF_THREAD: Final = ("cubepi_messages", "cubepi_runs", "cubepi_hitl_answers")
_REFERRED: Final = ("cubepi_threads", "app_threads")
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
        """Do nothing: they go with the table."""
        return ModifyTableOps(self.table_name, [], schema=self.schema)


class PartitionsOp(ExecuteSQLOp):
    """A statement that creates the partitions that a table lacks.

    It is rendered as ``op.execute("DO …")``, so that the migration needs nothing of threadlog.
    """

    def __init__(self, table: str) -> None:
        """Take the table."""
        super().__init__(hash_partitions.statement(table))
        self.table = table

    def reverse(self) -> ModifyTableOps:
        """Do nothing: they go with the table, or ought to have been there before."""
        return ModifyTableOps(self.table, [])

    def to_diff_tuple(self) -> tuple[str, str]:
        """Say it as ``alembic check`` prints it."""
        return ("create_partitions", self.table)


def added(ops: Iterable[MigrateOperation]) -> list[MigrateOperation]:
    """Give the operations of a migration on PostgreSQL, with what else tables have.

    Args:
        ops: those that autogenerate found by the metadata.
    """
    kept: list[MigrateOperation] = []
    for op in ops:
        if isinstance(op, DropTableOp | ModifyTableOps) and op.table_name in _PARTITIONS:
            continue  # they go with their table
        if isinstance(op, ModifyTableOps) and op.table_name in _TABLES:
            op.ops[:] = [one for one in op.ops if not _is_wanted(one)]
            if not op.ops:
                continue
        kept.append(op)
        if isinstance(op, CreateTableOp) and op.table_name in _TABLES:
            kept += _beside(op)
    # Alembic drops tables in any order.
    return sorted(kept, key=lambda op: isinstance(op, DropTableOp) and op.table_name in _REFERRED)


def _is_wanted(op: MigrateOperation) -> bool:
    """Say whether an operation drops what the table is to have."""
    if isinstance(op, DropConstraintOp):
        return op.constraint_type == "foreignkey" and op.constraint_name == _foreign_key(
            op.table_name
        )
    return isinstance(op, DropIndexOp) and op.index_name in _INDEX_NAMES


def _foreign_key(table: str) -> str | None:
    """Name the foreign key to threads, as PostgreSQL does."""
    return f"{table}_thread_id_fkey" if table in _OF_THREAD else None


def _beside(op: CreateTableOp) -> list[MigrateOperation]:
    """Give a table that is created its foreign key; give what creates the rest."""
    table = op.table_name
    if table in _OF_THREAD:
        key = ForeignKeyConstraint(["thread_id"], ["cubepi_threads.thread_id"], ondelete="CASCADE")
        op.columns = [*op.columns, key]
    rest: list[MigrateOperation] = []
    if table in MESSAGE_LOG.hash_partitioned:
        rest.append(PartitionsOp(table))
    rest += [
        PartsOfNewTable(
            table, [CreateIndexOp(index.name, table, [*index.columns], **index.options)]
        )
        for index in _INDEXES
        if index.table == table
    ]
    return rest
