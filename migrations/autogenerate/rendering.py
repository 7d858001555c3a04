"""Rewrite autogenerate's operations on threadlog's tables, so that migrations run unedited.

Alembic itself would write:

- threadlog's own types, which the migration does not import and which may change later;
- a downgrade that drops the index of a foreign key before its table, which MySQL refuses;
- on MariaDB, an index that would miss rows;
- on PostgreSQL, nothing for the indexes, foreign keys and partitions that are not in the
  metadata, or operations that drop them: see
  `threadlog.migrations.autogenerate.postgres_autogenerate`.
"""

import re
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Final, TypeGuard

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
    DropTableOp,
    ExecuteSQLOp,
    MigrateOperation,
    ModifyTableOps,
    UpgradeOps,
)
from sqlalchemy import (
    Column,
    Computed,
    DefaultClause,
    Dialect,
    Index,
    MetaData,
    TypeDecorator,
    text,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.schema import CreateIndex
from sqlalchemy.types import TypeEngine

from threadlog.migrations.autogenerate import postgres_autogenerate, search_autogenerate
from threadlog.migrations.autogenerate.metadata_columns import AddMetadataColumnOp, index_name
from threadlog.migrations.autogenerate.parts import DEFINITIONS, CreatePartOp
from threadlog.migrations.autogenerate.postgres_autogenerate import PartsOfNewTable
from threadlog.migrations.autogenerate.thread_indexes import with_thread_indexes
from threadlog.migrations.history.definitions import POSTGRESQL, columns
from threadlog.models import ALL_PARTS, CONTROL, SEARCH, SchemaPart, Thread
from threadlog.models.dialects.names import dialect_name
from threadlog.models.dialects.types import BytewiseText, SentAsText
from threadlog.models.metadata_column import DEFINITION

_TABLES: Final = frozenset(name for part in ALL_PARTS for name in part.tables)
_REFERRING: Final = (CONTROL, SEARCH)
_REFERENCED: Final = ("cubepi_threads", "app_threads")
# A JSON path of MySQL and SQLite, or an array of keys of PostgreSQL.
_PATH: Final = r"'([${][^']*)'"
_OURS: Final = f"{__name__.partition('.')[0]}."
# For each dialect: its factory, and the module of its types.
_DIALECTS: Final[dict[str, tuple[Callable[[], Dialect], ModuleType]]] = {
    "mysql": (mysql.dialect, mysql),
    "mariadb": (MariaDBDialect, mysql),
    POSTGRESQL: (postgresql.dialect, postgresql),
    "sqlite": (sqlite.dialect, sqlite),
}


class IndexUnderLockOp(ExecuteSQLOp):
    """An index of virtual columns, created while the table is locked against writes.

    Without the lock, rows inserted meanwhile are missing in the index on MariaDB (seen with
    11.8.9).
    """

    def __init__(self, created: CreateIndexOp, dialect: Dialect) -> None:
        """Create the operation from Alembic's own, for a dialect."""
        self.index = created.to_index()
        statement = str(CreateIndex(self.index).compile(dialect=dialect))
        super().__init__(f"{statement} LOCK=SHARED")

    def reverse(self) -> DropIndexOp:
        """Return the operation of the downgrade."""
        return DropIndexOp.from_index(self.index)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the tuple that ``alembic check`` prints."""
        return ("add_index", self.index)


def register() -> None:
    """Register the rewriting of autogenerate's operations for this process."""
    # Before Alembic 1.18 comparators run in the order of registration: this one is last.
    priorities = getattr(util, "DispatchPriority", None)
    options = {"priority": priorities.LAST} if priorities else {}
    comparators.dispatch_for("schema", **options)(_rewrite_operations)
    if priorities:
        first = {"priority": priorities.FIRST}
        comparators.dispatch_for("schema", **first)(postgres_autogenerate.skip_partitions)
        comparators.dispatch_for("schema", **first)(search_autogenerate.skip_full_text)
        compare_default = comparators.dispatch_for("column", subgroup="server_default", **first)
        compare_default(_compare_computed)


def _compare_computed(
    context: AutogenContext,
    alter_op: AlterColumnOp,
    schema: object,
    table: object,
    name: object,
    found: Column[Any],
    wanted: Column[Any],
) -> Any:
    """Accept a column of `metadata_column` with the same path.

    Alembic would compare the text, which every server writes in its own way.
    """
    if wanted.table.name in _TABLES and found.computed and wanted.computed:
        there, here = (_keys(part, context.dialect) for part in (found.computed, wanted.computed))
        # SQLAlchemy reads too much of the columns of SQLite, or nothing.
        if not there or here <= there:
            return util.PriorityDispatchResult.STOP
    return util.PriorityDispatchResult.CONTINUE


def _keys(computed: Computed, dialect: Dialect | None) -> set[str]:
    """Return the JSON paths in the expression of a column."""
    sql = str(computed.sqltext.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    return set(re.findall(_PATH, re.sub(r'[\s"]', "", sql)))


def _rewrite_operations(context: AutogenContext, upgrade_ops: UpgradeOps, schemas: object) -> None:
    """Rewrite operations with threadlog's tables or types, after all comparisons."""
    for part in reversed(ALL_PARTS):
        upgrade_ops.ops[:] = _with_directive(upgrade_ops.ops, part)
    upgrade_ops.ops[:] = map(_with_metadata_columns, upgrade_ops.ops)
    created = {op.table_name for op in upgrade_ops.ops if _creates_own_table(op)}
    dialect = context.dialect
    on_postgresql = dialect is not None and dialect.name == POSTGRESQL
    # First, as an application's table may refer to them; Alembic sorts each metadata by itself.
    first = sorted(upgrade_ops.ops, key=_place)
    ops = [_rewrite_operation(op, created, dialect, on_postgresql=on_postgresql) for op in first]
    if on_postgresql:
        ops = postgres_autogenerate.with_postgres_parts(ops)
    elif dialect is not None:
        ops = with_thread_indexes(ops, dialect.name)
    ops = search_autogenerate.with_full_text(ops, dialect)
    # Alembic drops tables in any order.
    upgrade_ops.ops[:] = sorted(ops, key=_drops_referenced_table)
    if dialect is not None and dialect_name(dialect) == "mariadb":
        _lock_for_virtual_indexes(upgrade_ops.ops, dialect)


def _with_directive(ops: Sequence[MigrateOperation], part: SchemaPart) -> list[MigrateOperation]:
    """Return operations with the directive of a part in place of those that create all of it.

    The operations stay as they are if the application's tables of the part are in another schema,
    have other options, or have columns that are no `metadata_column`.
    """
    definitions = DEFINITIONS[part.name]
    known = definitions.tables(part.version, POSTGRESQL)
    made = {
        op.table_name: op
        for op in ops
        if isinstance(op, CreateTableOp)
        and not op.schema
        and definitions.options(op.table_name).items() <= op.kw.items()
    }
    more = {
        table: [
            each
            for each in (made[table].columns if table in made else ())
            if isinstance(each, Column) and each.name not in columns(items)
        ]
        for table, items in known.items()
    }
    added = [column for found in more.values() for column in found]
    if not known.keys() <= made.keys() or any(DEFINITION not in each.info for each in added):
        return list(ops)
    indexes = {index.name for index in definitions.all_indexes}
    kept: list[MigrateOperation] = [CreatePartOp(part)]
    for table, found in more.items():
        rest: list[MigrateOperation] = [AddColumnOp(table, column) for column in found]
        for op in ops:
            if isinstance(op, ModifyTableOps) and op.table_name == table:
                rest += [x for x in op.ops if getattr(x, "index_name", None) not in indexes]
        if rest:
            kept.append(ModifyTableOps(table, rest))
    return [*kept, *(op for op in ops if getattr(op, "table_name", None) not in known)]


def _with_metadata_columns(op: MigrateOperation) -> MigrateOperation:
    """Return an operation on a table, with directives for the columns of `metadata_column`."""
    if not isinstance(op, ModifyTableOps):
        return op
    names = [x.index_name for x in op.ops if isinstance(x, CreateIndexOp)]
    directives: dict[str, AddMetadataColumnOp] = {}
    for each in op.ops:
        if isinstance(each, AddColumnOp) and DEFINITION in each.column.info:
            path, type_, of = each.column.info[DEFINITION]
            name = each.column.name
            index = index_name(op.table_name, name)
            directives[index] = AddMetadataColumnOp(name, path, type_, index=index in names, of=of)
    if directives:
        others = [x for x in op.ops if getattr(x, "index_name", None) not in directives]
        op.ops[:] = [
            *directives.values(),
            *(
                x
                for x in others
                if not (isinstance(x, AddColumnOp) and DEFINITION in x.column.info)
            ),
        ]
    return op


def _place(op: MigrateOperation) -> int:
    """Return the place of an operation in a migration.

    An append locks its thread before the messages. PostgreSQL migrates in one transaction, which
    would deadlock with appends if it altered messages first.
    """
    if isinstance(op, CreatePartOp):
        return int(op.part in _REFERRING)  # to the messages, which may have no directive
    if _creates_own_table(op):
        return int(any(op.table_name in part.tables for part in _REFERRING))
    return 2 if getattr(op, "table_name", None) == Thread.__tablename__ else 3


def _drops_referenced_table(op: MigrateOperation) -> bool:
    return isinstance(op, DropTableOp) and op.table_name in _REFERENCED


def _creates_own_table(op: MigrateOperation) -> TypeGuard[CreateTableOp]:
    return isinstance(op, CreateTableOp) and op.table_name in _TABLES


def _lock_for_virtual_indexes(ops: Sequence[MigrateOperation], dialect: Dialect) -> None:
    """Replace the creation of virtual columns' indexes in existing tables by a locking one."""
    for op in ops:
        if type(op) is ModifyTableOps and op.table_name in _TABLES:
            op.ops[:] = [
                IndexUnderLockOp(part, dialect)
                if isinstance(part, CreateIndexOp) and _is_virtual(part.to_index())
                else part
                for part in op.ops
            ]


def _is_virtual(index: Index) -> bool:
    """Return True if a column of an index is virtual, that is computed when it is read."""
    return any(column.computed and not column.computed.persisted for column in index.columns)


def _rewrite_operation(
    op: MigrateOperation, created: set[str], dialect: Dialect | None, *, on_postgresql: bool
) -> MigrateOperation:
    """Return an operation on a table, or on parts of it, with plain types.

    Args:
        op: the operation.
        created: the names of threadlog's tables that the same migration creates.
        dialect: the database's dialect.
        on_postgresql: True if the migration is for PostgreSQL.
    """
    if isinstance(op, CreateTableOp):
        table = op.to_table()
        columns = [column for column in table.columns if _is_to_rewrite(column)]
        for column in columns:
            _use_plain_type(column, on_postgresql=on_postgresql)
            _use_plain_default(column, dialect)
        if columns:
            op.columns = [*table.columns, *table.constraints]
    elif isinstance(op, ModifyTableOps) and op.table_name in created:
        return PartsOfNewTable(op.table_name, op.ops, schema=op.schema)
    elif isinstance(op, ModifyTableOps):
        _use_plain_types(op.ops, on_postgresql=on_postgresql)
    return op


def _is_to_rewrite(column: Column[Any]) -> bool:
    """Return True for columns of threadlog's tables, and foreign keys to their columns."""
    own_type = _plain(column.type, on_postgresql=True) is not column.type
    return own_type or column.table.name in _TABLES


def _use_plain_types(ops: Sequence[MigrateOperation], *, on_postgresql: bool) -> None:
    """Replace types in operations on columns of an existing table."""
    for op in ops:
        if isinstance(op, AddColumnOp) and _is_to_rewrite(op.column):
            # Copied, because the column belongs to the model.
            copied = op.column.table.to_metadata(MetaData())
            op.column = copied.columns[op.column.name]
            _use_plain_type(op.column, on_postgresql=on_postgresql)
        elif isinstance(op, AlterColumnOp) and op.modify_type is not None:
            op.modify_type = _plain(op.modify_type, on_postgresql=on_postgresql)


def _use_plain_type(column: Column[Any], *, on_postgresql: bool) -> None:
    """Replace a copied column's type by SQLAlchemy's own."""
    column.type = _plain(column.type, on_postgresql=on_postgresql)
    if on_postgresql and column.computed is not None:
        column.computed.persisted = True


def _use_plain_default(column: Column[Any], dialect: Dialect | None) -> None:
    """Replace a copied column's default by its SQL, which is not the same in all dialects."""
    default = column.server_default
    if isinstance(default, DefaultClause) and not isinstance(default.arg, str):
        column.server_default = DefaultClause(text(str(default.arg.compile(dialect=dialect))))


def _plain(type_: TypeEngine[Any], *, on_postgresql: bool) -> TypeEngine[Any]:
    """Return SQLAlchemy's own types, one for each dialect, in place of threadlog's type."""
    variants = type_._variant_mapping  # noqa: SLF001 - SQLAlchemy has no public accessor
    ours = {
        n: kind.plain for n, kind in variants.items() if isinstance(kind, BytewiseText | SentAsText)
    }
    if ours:
        plain = type_.copy()
        # with_variant() cannot replace a variant.
        plain._variant_mapping = variants.union(ours)  # noqa: SLF001 - as above
        return plain
    if not isinstance(type_, TypeDecorator) or not type(type_).__module__.startswith(_OURS):
        return type_
    plain = type_.load_dialect_impl(DefaultDialect())
    for name, (make, module) in _DIALECTS.items():
        # For other databases Alembic renders PostgreSQL's JSONB as Python that cannot be run.
        if name == POSTGRESQL and not on_postgresql:
            continue
        variant = _public(type_.load_dialect_impl(make()), module)
        if isinstance(variant, postgresql.JSONB):
            # SQLAlchemy 2.0 would render a class there that the migration does not import.
            vars(variant)["astext_type"] = None
        if repr(variant) != repr(plain):
            plain = plain.with_variant(variant, name)
    return plain


def _public(type_: TypeEngine[Any], module: ModuleType) -> TypeEngine[Any]:
    """Return an importable type in place of a dialect's private one."""
    for kind in type(type_).__mro__:
        if kind in {getattr(place, kind.__name__, None) for place in (module, sqlalchemy)}:
            return type_ if kind is type(type_) else type_.adapt(kind)
    return type_
