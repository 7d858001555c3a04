"""The directives for columns of `threadlog.models.metadata_column`, for each database."""

from typing import Any, Final

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import _repr_type  # Alembic's renderers are built from it
from alembic.operations import MigrateOperation, Operations
from sqlalchemy import Column, inspect
from sqlalchemy.types import TypeEngine

from threadlog.migrations.alembic.steps import name_in_schema, schema_of_tables
from threadlog.models import metadata_column
from threadlog.models.dialects.names import dialect_name
from threadlog.models.metadata_column import TABLES, JsonColumn


def index_name(table: str, column: str) -> str:
    """Return the name of a column's index, which is that of a model with ``index=True``."""
    return f"ix_{table}_{column}"


@Operations.register_operation("add_threadlog_metadata_column")
class AddMetadataColumnOp(MigrateOperation):
    """Adds a column that the database computes from a JSON column of threadlog's."""

    def __init__(
        self, name: str, path: str, type_: TypeEngine[Any], *, index: bool, of: JsonColumn
    ) -> None:
        """Create the operation; see `add_threadlog_metadata_column`."""
        self.name, self.path, self.type, self.index, self.of = name, path, type_, index, of

    @classmethod
    def add_threadlog_metadata_column(
        cls,
        operations: Operations,
        name: str,
        path: str,
        type_: TypeEngine[Any],
        *,
        index: bool = False,
        of: JsonColumn = "metadata",
    ) -> None:
        """Add a column of `threadlog.models.metadata_column` in a migration.

        One statement for each database: the column is virtual, on PostgreSQL stored. Safe to run
        again after a failure.

        Args:
            operations: passed by Alembic.
            name: the name of the column.
            path: the JSON path, as for `metadata_column`.
            type_: the type, as for `metadata_column`.
            index: whether to index the column too.
            of: ``metadata`` of messages, or ``extra`` of threads.

        Raises:
            InvalidInputError: the path or the type cannot be used.
        """
        operations.invoke(cls(name, path, type_, index=index, of=of))

    @property
    def table(self) -> str:
        """The name of the table."""
        return TABLES[self.of].name

    def to_column(self) -> Column[Any]:
        """Return the column."""
        column = metadata_column(self.path, self.type, of=self.of).column
        column.name = column.key = self.name
        return column

    def reverse(self) -> "DropMetadataColumnOp":
        """Return the operation of the downgrade."""
        return DropMetadataColumnOp(self.name, index=self.index, of=self.of)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the tuple that ``alembic check`` prints."""
        return ("add_column", None, self.table, self.to_column())


@Operations.register_operation("drop_threadlog_metadata_column")
class DropMetadataColumnOp(MigrateOperation):
    """Drops a column that `AddMetadataColumnOp` added."""

    def __init__(self, name: str, *, index: bool, of: JsonColumn) -> None:
        """Create the operation; see `drop_threadlog_metadata_column`."""
        self.name, self.index, self.of = name, index, of

    @classmethod
    def drop_threadlog_metadata_column(
        cls,
        operations: Operations,
        name: str,
        *,
        index: bool = False,
        of: JsonColumn = "metadata",
    ) -> None:
        """Drop a column that `add_threadlog_metadata_column` added, with its index.

        Args:
            operations: passed by Alembic.
            name: the name of the column.
            index: whether the column has an index.
            of: ``metadata`` of messages, or ``extra`` of threads.
        """
        operations.invoke(cls(name, index=index, of=of))


@Operations.implementation_for(AddMetadataColumnOp)
def _add(operations: Operations, op: AddMetadataColumnOp) -> None:
    index = index_name(op.table, op.name)
    columns, indexes = _existing(operations, op.table)
    if op.name not in columns:
        operations.add_column(op.table, op.to_column(), schema=schema_of_tables(operations))
    if not op.index or index in indexes:
        return
    dialect = operations.get_context().dialect
    if dialect_name(dialect) == "mariadb":
        # Without the lock, rows inserted meanwhile would be missing in the index.
        column = dialect.identifier_preparer.quote(op.name)
        table = name_in_schema(operations, op.table)
        operations.execute(f"CREATE INDEX {index} ON {table} ({column}) LOCK=SHARED")
    else:
        operations.create_index(index, op.table, [op.name])


@Operations.implementation_for(DropMetadataColumnOp)
def _drop(operations: Operations, op: DropMetadataColumnOp) -> None:
    table = TABLES[op.of].name
    if op.index:
        operations.drop_index(index_name(table, op.name), table_name=table)
    operations.drop_column(table, op.name, schema=schema_of_tables(operations))


def _existing(operations: Operations, table: str) -> tuple[set[str], set[str]]:
    """Return the names of a table's columns and indexes; none in a script of SQL."""
    if operations.get_context().as_sql:
        return set(), set()
    inspector, schema = inspect(operations.get_bind()), schema_of_tables(operations)
    columns = {str(column["name"]) for column in inspector.get_columns(table, schema)}
    return columns, {str(index["name"]) for index in inspector.get_indexes(table, schema)}


@renderers.dispatch_for(AddMetadataColumnOp)
def _render_add(context: AutogenContext, op: AddMetadataColumnOp) -> str:
    given = f"{op.name!r}, {op.path!r}, {_repr_type(op.type, context)}"
    return f"op.add_threadlog_metadata_column({given}{_options(index=op.index, of=op.of)})"


@renderers.dispatch_for(DropMetadataColumnOp)
def _render_drop(context: AutogenContext, op: DropMetadataColumnOp) -> str:
    given = _options(index=op.index, of=op.of)
    return f"op.drop_threadlog_metadata_column({op.name!r}{given})"


def _options(*, index: bool, of: JsonColumn) -> str:
    return ", index=True" * index + f", of={of!r}" * (of != _DEFAULT)


_DEFAULT: Final[JsonColumn] = "metadata"
