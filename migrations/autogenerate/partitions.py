"""Compare the partitions of ``cubepi_messages`` and ``cubepi_runs`` in autogenerate.

On MySQL and MariaDB, Alembic itself creates the partitions with the table and never compares
them afterwards. On PostgreSQL, Alembic sees each partition as a table. `PartitionsOp` creates
missing partitions there; the partition key of an existing table cannot be changed.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import ExecuteSQLOp, MigrateOperation, ModifyTableOps
from alembic.runtime.plugins import Plugin
from alembic.util import PriorityDispatchResult, warn
from sqlalchemy import Connection, Table, text

from threadlog.migrations.autogenerate.postgres_autogenerate import PartitionsOp
from threadlog.migrations.history import hash_partitions
from threadlog.migrations.history.definitions import MYSQL, POSTGRESQL
from threadlog.models import Message, Run

_TABLES: Final = (Message.__tablename__, Run.__tablename__)

# https://dev.mysql.com/doc/refman/9.7/en/information-schema-partitions-table.html
_PARTITIONS: Final = text(
    "SELECT partition_method, partition_expression, COUNT(DISTINCT partition_name)"
    " FROM information_schema.partitions"
    " WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table"
    " GROUP BY partition_method, partition_expression"
)

_NO_PARTITIONS: Final = "REMOVE PARTITIONING"


class PartitionTableOp(ExecuteSQLOp):
    """An ``ALTER TABLE`` that changes the partitions of a table.

    It is rendered as ``op.execute("ALTER TABLE …")``, so that the migration does not import
    threadlog.
    """

    def __init__(self, table: str, clause: str, former: str) -> None:
        """Create the operation for the quoted name `table`.

        Args:
            table: the quoted name of the table.
            clause: the clause that follows ``ALTER TABLE`` and the name.
            former: the same clause for the downgrade.
        """
        # op.execute() would read :name in the clause as a parameter.
        super().__init__(f"ALTER TABLE {table} {clause}".replace(":", r"\:"))
        self.table = table
        self.clause = clause
        self.former = former

    def reverse(self) -> "PartitionTableOp":
        """Return the operation of the downgrade."""
        return PartitionTableOp(self.table, self.former, self.clause)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the tuple that ``alembic check`` prints."""
        return ("partition_table", self.table, self.clause)


def add_comparator(plugin: Plugin) -> None:
    """Add the comparison to a plugin; an application opts in by naming it in ``env.py``."""
    for dialect in (*MYSQL, POSTGRESQL):
        plugin.add_autogenerate_comparator(_compare, "table", "partitions", qualifier=dialect)


def _compare(
    autogen_context: AutogenContext,
    modify_table_ops: ModifyTableOps,
    schema: str | None,
    name: str,
    found: Table | None,
    wanted: Table | None,
) -> PriorityDispatchResult:
    """Append an operation if a table's partitions differ from its metadata.

    Alembic calls this function for each table: `found` is the table in the database, `wanted`
    the table in the metadata. A new table is created with its partitions. A table from whose
    metadata the application removed the partitions is ignored.
    """
    connection, dialect = autogen_context.connection, autogen_context.dialect
    if found is not None and wanted is not None and name in _TABLES and connection and dialect:
        by = wanted.kwargs.get(f"{dialect.name}_partition_by")
        if by is not None and dialect.name in MYSQL:
            modify_table_ops.ops += _mysql_operations(connection, schema, wanted, by)
        elif by is not None and not schema:
            modify_table_ops.ops += _postgres_operations(connection, name, by)
    return PriorityDispatchResult.CONTINUE


def _mysql_operations(
    connection: Connection, schema: str | None, wanted: Table, by: str
) -> Iterator[MigrateOperation]:
    """Yield the operation if a table's partitions differ from its metadata on MySQL."""
    count = wanted.kwargs.get(f"{connection.dialect.name}_partitions") or 1
    if _partitioning(connection, schema, wanted.name) != (_normalize(by), int(count)):
        table = connection.dialect.identifier_preparer.format_table(wanted)
        clause = f"PARTITION BY {by} PARTITIONS {count}"
        yield PartitionTableOp(table, clause, _existing_clause(connection, table))


def _postgres_operations(connection: Connection, table: str, by: str) -> Iterator[MigrateOperation]:
    """Yield the operation if a table lacks partitions on PostgreSQL."""
    if _normalize(hash_partitions.key(connection, table) or "") != _normalize(by):
        warn(
            f"{table} is not partitioned by {by}. An existing table's partition key cannot be "
            "changed: create the table again."
        )
    elif hash_partitions.are_missing(connection, table):
        yield PartitionsOp(table)


def _partitioning(connection: Connection, schema: str | None, table: str) -> tuple[str, int]:
    """Return a table's partition key, normalized, and its number of partitions, 0 if none."""
    key = {"schema": schema, "table": table}
    method, expression, count = connection.execute(_PARTITIONS, key).one()
    return _normalize(f"{method or ''}({expression or ''})"), count


def _normalize(clause: str) -> str:
    """Return a clause in normal form: ``KEY (thread_id)`` is ``key(`thread_id`)``.

    Under ANSI_QUOTES, and PostgreSQL's quote_all_identifiers, the quotes are others.
    """
    return re.sub(r"[`\"\s]", "", clause).casefold()


def _existing_clause(connection: Connection, table: str) -> str:
    """Return the ``ALTER TABLE`` clause for a table's existing partitions, of any kind."""
    made = str(connection.exec_driver_sql(f"SHOW CREATE TABLE {table}").one()[1])
    # MySQL ends the statement with /*!50100 PARTITION BY KEY (thread_id)
    # PARTITIONS 64 */, MariaDB without the comment marks.
    found = r"^ ?(?:/\*!\d+ )?(PARTITION BY .*?)(?:\s*\*/)?\s*\Z"
    partitions = re.search(found, made, re.DOTALL | re.MULTILINE)
    return " ".join(partitions[1].split()) if partitions else _NO_PARTITIONS
