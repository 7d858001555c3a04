"""Lets autogenerate see the partitions of ``cubepi_messages`` and ``cubepi_runs``.

Alembic itself creates those of MySQL and MariaDB with a table, and from then on looks at them
no more. On PostgreSQL it takes each for a table of its own; there `PartitionsOp` creates those
that are missing. How a table is partitioned cannot be changed there.
"""

import re
from typing import Any, Final

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import ExecuteSQLOp, ModifyTableOps
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

_NONE: Final = "REMOVE PARTITIONING"


class PartitionTableOp(ExecuteSQLOp):
    """An ``ALTER TABLE`` that gives a table other partitions.

    It is rendered as ``op.execute("ALTER TABLE …")``, so that the migration needs nothing of
    threadlog.
    """

    def __init__(self, table: str, clause: str, former: str) -> None:
        """Take the quoted name of the table and what goes behind it, now and for the way back."""
        # op.execute() would take :name in it for a parameter.
        super().__init__(f"ALTER TABLE {table} {clause}".replace(":", r"\:"))
        self.table = table
        self.clause = clause
        self.former = former

    def reverse(self) -> "PartitionTableOp":
        """Give what the downgrade does."""
        return PartitionTableOp(self.table, self.former, self.clause)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Say it as ``alembic check`` prints it."""
        return ("partition_table", self.table, self.clause)


def add_comparator(plugin: Plugin) -> None:
    """Add the comparison to a plugin; a host opts in by naming that in its ``env.py``."""
    for dialect in MYSQL:
        plugin.add_autogenerate_comparator(_compare, "table", "partitions", qualifier=dialect)
    plugin.add_autogenerate_comparator(_complete, "table", "partitions", qualifier=POSTGRESQL)


def _compare(
    autogen_context: AutogenContext,
    modify_table_ops: ModifyTableOps,
    schema: str | None,
    name: str,
    found: Table | None,
    wanted: Table | None,
) -> PriorityDispatchResult:
    """Emit an operation where a table has other partitions than its metadata says.

    Alembic calls it for each table: `found` in the database, `wanted` by the metadata. A
    table that is created gets its partitions with it, and what a host took the partitions
    from in its metadata is left alone.
    """
    connection, dialect = autogen_context.connection, autogen_context.dialect
    if found is None or wanted is None or name not in _TABLES or not connection or not dialect:
        return PriorityDispatchResult.CONTINUE
    options = (f"{dialect.name}_{option}" for option in ("partition_by", "partitions"))
    by, count = (wanted.kwargs.get(option) for option in options)
    if by is not None and _shape(connection, schema, name) != (_plain(by), int(count or 1)):
        table = dialect.identifier_preparer.format_table(wanted)
        clause = f"PARTITION BY {by} PARTITIONS {count or 1}"
        modify_table_ops.ops.append(PartitionTableOp(table, clause, _clause(connection, table)))
    return PriorityDispatchResult.CONTINUE


def _complete(
    autogen_context: AutogenContext,
    modify_table_ops: ModifyTableOps,
    schema: str | None,
    name: str,
    found: Table | None,
    wanted: Table | None,
) -> PriorityDispatchResult:
    """Emit an operation where a table of PostgreSQL lacks partitions; see `_compare`."""
    connection = autogen_context.connection
    if found is None or wanted is None or name not in _TABLES or not connection or schema:
        return PriorityDispatchResult.CONTINUE
    by = wanted.kwargs.get("postgresql_partition_by")
    if by is not None and hash_partitions.key(connection, name) != by:
        warn(f"{name} is not partitioned by {by}, which cannot be changed: create it anew")
    elif by is not None and hash_partitions.are_missing(connection, name):
        modify_table_ops.ops.append(PartitionsOp(name))
    return PriorityDispatchResult.CONTINUE


def _shape(connection: Connection, schema: str | None, table: str) -> tuple[str, int]:
    """Give how the rows of a table are spread, and over how many partitions; 0 if over none."""
    found = connection.execute(_PARTITIONS, {"schema": schema, "table": table}).one()
    method, expression, count = found
    return _plain(f"{method or ''}({expression or ''})"), count


def _plain(clause: str) -> str:
    """Undo how a clause was written: ``KEY (thread_id)`` is ``key(`thread_id`)``."""
    return re.sub(r"[`\s]", "", clause).casefold()


def _clause(connection: Connection, table: str) -> str:
    """Give the partitions that a table has, of whichever kind, as ``ALTER TABLE`` takes them."""
    made = str(connection.exec_driver_sql(f"SHOW CREATE TABLE {table}").one()[1])
    # At the end: /*!50100 PARTITION BY KEY (thread_id)
    # PARTITIONS 64 */, without the marks of a comment on MariaDB.
    found = r"^ ?(?:/\*!\d+ )?(PARTITION BY .*?)(?:\s*\*/)?\s*\Z"
    partitions = re.search(found, made, re.DOTALL | re.MULTILINE)
    return " ".join(partitions[1].split()) if partitions else _NONE
