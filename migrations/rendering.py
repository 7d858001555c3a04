"""Makes what autogenerate writes of threadlog's tables run as it is.

Alembic itself would write types of threadlog's own, which the migration does not import and
which may change after it; a downgrade that drops the index of a foreign key before its table,
which MySQL refuses; and on MariaDB an index that would miss rows.
"""

from collections.abc import Sequence
from typing import Any, Final

from alembic import util
from alembic.autogenerate import comparators
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import (
    AddColumnOp,
    AlterColumnOp,
    CreateIndexOp,
    CreateTableOp,
    DropIndexOp,
    ExecuteSQLOp,
    MigrateOperation,
    ModifyTableOps,
    UpgradeOps,
)
from sqlalchemy import Dialect, Index, MetaData, TypeDecorator
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.schema import CreateIndex
from sqlalchemy.types import TypeEngine
from sqlalchemy.util import immutabledict

from threadlog.models import PARTS
from threadlog.models.dialects import met_mariadb

_TABLES: Final = frozenset(name for part in PARTS for name in part.tables)
_OURS: Final = f"{__name__.partition('.')[0]}."
_DIALECTS: Final = {
    "mysql": mysql.dialect,
    "mariadb": MariaDBDialect,
    "sqlite": sqlite.dialect,
}


class IndexesOfNewTable(ModifyTableOps):
    """Indexes of a table that the same migration creates."""

    def reverse(self) -> ModifyTableOps:
        """Do nothing: they go with the table."""
        return ModifyTableOps(self.table_name, [], schema=self.schema)


class IndexUnderLockOp(ExecuteSQLOp):
    """An index of virtual columns, made while nobody writes to the table.

    MariaDB (seen with 11.8.9) leaves out of it what is inserted meanwhile.
    """

    def __init__(self, created: CreateIndexOp, dialect: Dialect) -> None:
        """Take what Alembic would do, and on which database."""
        self.index = created.to_index()
        statement = str(CreateIndex(self.index).compile(dialect=dialect))
        super().__init__(f"{statement} LOCK=SHARED")

    def reverse(self) -> DropIndexOp:
        """Give what the downgrade does."""
        return DropIndexOp.from_index(self.index)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Say it as ``alembic check`` prints it."""
        return ("add_index", self.index)


def register() -> None:
    """Have what autogenerate finds looked through before it is written, in this process."""
    # Before Alembic 1.18 comparators run in the order in which they came: this one last.
    priorities = getattr(util, "DispatchPriority", None)
    options = {"priority": priorities.LAST} if priorities else {}
    comparators.dispatch_for("schema", **options)(_look_through)


def _look_through(context: AutogenContext, upgrade_ops: UpgradeOps, schemas: object) -> None:
    """Change operations on threadlog's tables; Alembic calls it when all are found."""
    created = {op.table_name for op in upgrade_ops.ops if isinstance(op, CreateTableOp)}
    upgrade_ops.ops[:] = [_of_a_table(op, created & _TABLES) for op in upgrade_ops.ops]
    dialect = context.dialect
    if dialect is not None and met_mariadb(dialect):
        _lock_for_indexes(upgrade_ops.ops, dialect)


def _lock_for_indexes(ops: Sequence[MigrateOperation], dialect: Dialect) -> None:
    """Have indexes of virtual columns be made while nobody writes, in tables that are there."""
    for op in ops:
        if type(op) is ModifyTableOps and op.table_name in _TABLES:
            op.ops[:] = [
                IndexUnderLockOp(part, dialect)
                if isinstance(part, CreateIndexOp) and _is_virtual(part.to_index())
                else part
                for part in op.ops
            ]


def _is_virtual(index: Index) -> bool:
    """Say whether a column of an index is computed when it is read."""
    return any(column.computed and not column.computed.persisted for column in index.columns)


def _of_a_table(op: MigrateOperation, created: set[str]) -> MigrateOperation:
    """Change an operation on a table, or those on parts of it."""
    if isinstance(op, CreateTableOp) and op.table_name in created:
        table = op.to_table()
        for column in table.columns:
            column.type = _plain(column.type)
        op.columns = [*table.columns, *table.constraints]
    elif isinstance(op, ModifyTableOps) and op.table_name in created:
        return IndexesOfNewTable(op.table_name, op.ops, schema=op.schema)
    elif isinstance(op, ModifyTableOps) and op.table_name in _TABLES:
        _change_columns(op.ops)
    return op


def _change_columns(ops: Sequence[MigrateOperation]) -> None:
    """Change operations on columns of a table that is there."""
    for op in ops:
        if isinstance(op, AddColumnOp):
            # A copy: the column is that of the model.
            copied = op.column.table.to_metadata(MetaData())
            op.column = copied.columns[op.column.name]
            op.column.type = _plain(op.column.type)
        elif isinstance(op, AlterColumnOp) and op.modify_type is not None:
            op.modify_type = _plain(op.modify_type)


def _is_ours(type_: TypeEngine[Any]) -> bool:
    return type(type_).__module__.startswith(_OURS)


def _plain(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """Give SQLAlchemy's own types in place of one of threadlog's, on each database its own."""
    if isinstance(own := getattr(type_, "plain", None), TypeEngine):
        return own
    variants = type_._variant_mapping  # noqa: SLF001 - there is no other way to see them
    if any(_is_ours(variant) for variant in variants.values()):
        plain = type_.copy()
        plain._variant_mapping = immutabledict({n: _plain(v) for n, v in variants.items()})  # noqa: SLF001 - likewise
        return plain
    if not isinstance(type_, TypeDecorator) or not _is_ours(type_):
        return type_
    plain = type_.load_dialect_impl(DefaultDialect())
    for name, dialect in _DIALECTS.items():
        variant = type_.load_dialect_impl(dialect())
        if repr(variant) != repr(plain):
            plain = plain.with_variant(variant, name)
    return plain
