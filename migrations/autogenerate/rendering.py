"""Makes what autogenerate writes of threadlog's tables run as it is.

Alembic itself would write types of threadlog's own, which the migration does not import and
which may change after it; and a downgrade that drops the index of a foreign key before its
table, which MySQL refuses; and on MariaDB an index that would miss rows. On PostgreSQL it would
not see what tables have that is not in their metadata, or would drop it: see
`threadlog.migrations.autogenerate.postgres_autogenerate`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any, Final

import sqlalchemy
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
from sqlalchemy import Column, Dialect, Index, MetaData, TypeDecorator
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.schema import CreateIndex
from sqlalchemy.types import TypeEngine

from threadlog.migrations.autogenerate import postgres_autogenerate
from threadlog.migrations.autogenerate.postgres_autogenerate import PartsOfNewTable
from threadlog.migrations.history.definitions import POSTGRESQL
from threadlog.models import PARTS
from threadlog.models.dialects.names import dialect_name
from threadlog.models.dialects.types import BytewiseText

_TABLES: Final = frozenset(name for part in PARTS for name in part.tables)
_OURS: Final = f"{__name__.partition('.')[0]}."
# Of each dialect what makes it, and the module that has its types.
_DIALECTS: Final[dict[str, tuple[Callable[[], Dialect], ModuleType]]] = {
    "mysql": (mysql.dialect, mysql),
    "mariadb": (MariaDBDialect, mysql),
    POSTGRESQL: (postgresql.dialect, postgresql),
    "sqlite": (sqlite.dialect, sqlite),
}


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
    dialect = context.dialect
    on_postgresql = dialect is not None and dialect.name == POSTGRESQL
    plain = partial(_of_a_table, created=created & _TABLES, on_postgresql=on_postgresql)
    ops = [*map(plain, upgrade_ops.ops)]
    upgrade_ops.ops[:] = postgres_autogenerate.added(ops) if on_postgresql else ops
    if dialect is not None and dialect_name(dialect) == "mariadb":
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


def _of_a_table(
    op: MigrateOperation, created: set[str], *, on_postgresql: bool
) -> MigrateOperation:
    """Change an operation on a table, or those on parts of it.

    Args:
        op: the operation.
        created: those of threadlog's tables that the same migration creates.
        on_postgresql: whether the migration is of PostgreSQL.
    """
    if isinstance(op, CreateTableOp) and op.table_name in created:
        table = op.to_table()
        for column in table.columns:
            _make_plain(column, on_postgresql=on_postgresql)
        op.columns = [*table.columns, *table.constraints]
    elif isinstance(op, ModifyTableOps) and op.table_name in created:
        return PartsOfNewTable(op.table_name, op.ops, schema=op.schema)
    elif isinstance(op, ModifyTableOps) and op.table_name in _TABLES:
        _change_columns(op.ops, on_postgresql=on_postgresql)
    return op


def _change_columns(ops: Sequence[MigrateOperation], *, on_postgresql: bool) -> None:
    """Change operations on columns of a table that is there."""
    for op in ops:
        if isinstance(op, AddColumnOp):
            # A copy: the column is that of the model.
            copied = op.column.table.to_metadata(MetaData())
            op.column = copied.columns[op.column.name]
            _make_plain(op.column, on_postgresql=on_postgresql)
        elif isinstance(op, AlterColumnOp) and op.modify_type is not None:
            op.modify_type = _plain(op.modify_type, on_postgresql=on_postgresql)


def _make_plain(column: Column[Any], *, on_postgresql: bool) -> None:
    """Have a copy of a model's column say nothing that only threadlog's models understand."""
    column.type = _plain(column.type, on_postgresql=on_postgresql)
    if on_postgresql and column.computed is not None:
        column.computed.persisted = True


def _plain(type_: TypeEngine[Any], *, on_postgresql: bool) -> TypeEngine[Any]:
    """Give SQLAlchemy's own types in place of one of threadlog's, on each database its own."""
    variants = type_._variant_mapping  # noqa: SLF001 - SQLAlchemy tells them in no other way
    if isinstance(variants.get(POSTGRESQL), BytewiseText):
        plain = type_.copy()
        # with_variant() adds variants, and replaces none.
        plain._variant_mapping = variants.union({POSTGRESQL: BytewiseText.plain})  # noqa: SLF001 - as above
        return plain
    if not isinstance(type_, TypeDecorator) or not type(type_).__module__.startswith(_OURS):
        return type_
    plain = type_.load_dialect_impl(DefaultDialect())
    for name, (make, module) in _DIALECTS.items():
        # In migrations of others Alembic writes PostgreSQL's JSONB so that it cannot be read.
        if name == POSTGRESQL and not on_postgresql:
            continue
        variant = _public(type_.load_dialect_impl(make()), module)
        if isinstance(variant, postgresql.JSONB):
            # SQLAlchemy 2.0 would write a class there that the migration does not import.
            vars(variant)["astext_type"] = None
        if repr(variant) != repr(plain):
            plain = plain.with_variant(variant, name)
    return plain


def _public(type_: TypeEngine[Any], module: ModuleType) -> TypeEngine[Any]:
    """Give a type that can be imported in place of one that a dialect keeps for itself."""
    for kind in type(type_).__mro__:
        if kind in {getattr(place, kind.__name__, None) for place in (module, sqlalchemy)}:
            return type_ if kind is type(type_) else type_.adapt(kind)
    return type_
