"""Autogenerate support for the full text index of the search index, which no metadata declares.

On MySQL it is an index of a kind of its own, on PostgreSQL one of an expression, on SQLite a
virtual table with triggers. This module adds it to a migration that creates the table, and removes
operations that would drop it from an existing table.
"""

from collections.abc import Iterable
from typing import Final

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import (
    AlterColumnOp,
    CreateIndexOp,
    CreateTableOp,
    DropIndexOp,
    ExecuteSQLOp,
    MigrateOperation,
    ModifyTableOps,
)
from sqlalchemy import Dialect

from threadlog.migrations.autogenerate.postgres_autogenerate import PartsOfNewTable
from threadlog.migrations.history.search import FULL_TEXT_TABLES, SEARCH
from threadlog.models.dialects.full_text import FullTextKey

_TABLE: Final = "threadlog_search"
_INDEXES: Final = [index for index in SEARCH.all_indexes if index.dialect]
_NAMES: Final = frozenset(index.name for index in _INDEXES)


class _OfNewTableOp(ExecuteSQLOp):
    """A statement on a table that the same migration creates."""

    def reverse(self) -> MigrateOperation:
        """Return no operations, but those that drop a virtual table."""
        virtual = [
            table for table in SEARCH.sqlite_tables if f" {table} USING " in str(self.sqltext)
        ]
        return ExecuteSQLOp(f"DROP TABLE {virtual[0]}") if virtual else ModifyTableOps(_TABLE, [])


def skip_full_text(context: AutogenContext, *_: object) -> None:
    """Hide SQLite's virtual table from Alembic, which would log a removed table."""
    if context.dialect is not None and context.dialect.name == "sqlite":
        context._name_filters = [*context._name_filters, _is_no_virtual_table]  # noqa: SLF001 - Alembic has no public accessor


def _is_no_virtual_table(name: str | None, type_: str, parent_names: object) -> bool:
    return type_ != "table" or name not in FULL_TEXT_TABLES


def with_full_text(
    ops: Iterable[MigrateOperation], dialect: Dialect | None
) -> list[MigrateOperation]:
    """Return a migration's operations, extended by those of the full text index.

    Args:
        ops: the operations that autogenerate derived from the metadata.
        dialect: the dialect of the migration.
    """
    kept: list[MigrateOperation] = []
    for op in ops:
        if isinstance(op, ModifyTableOps) and op.table_name == _TABLE:
            op.ops[:] = [part for part in op.ops if not _is_unwanted(part)]
            if not op.ops:
                continue
        kept.append(op)
        if isinstance(op, CreateTableOp) and op.table_name == _TABLE and dialect is not None:
            op.columns = [item for item in op.columns if not isinstance(item, FullTextKey)]
            kept += [
                PartsOfNewTable(
                    _TABLE, [CreateIndexOp(index.name, _TABLE, [*index.columns], **index.options)]
                )
                for index in _INDEXES
                if index.dialect == dialect.name
            ]
            if dialect.name == "sqlite":
                kept += map(_OfNewTableOp, SEARCH.sqlite_statements)
    return kept


def _is_unwanted(op: MigrateOperation) -> bool:
    """Return True if an operation drops the index, or adds IDENTITY, which only PostgreSQL has."""
    if isinstance(op, AlterColumnOp):
        return op.column_name == "id" and op.modify_type is None and op.modify_nullable is None
    return isinstance(op, DropIndexOp) and op.index_name in _NAMES
