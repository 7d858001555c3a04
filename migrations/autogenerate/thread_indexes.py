"""Autogenerate support for the indexes of forks and waiting threads, which no metadata declares.

Databases differ in them. This module adds them to a migration that creates the table of threads,
and removes operations that would drop them from an existing table. On PostgreSQL
`threadlog.migrations.autogenerate.postgres_autogenerate` does so.
"""

from collections.abc import Iterable
from typing import Final

from alembic.operations.ops import (
    CreateIndexOp,
    CreateTableOp,
    DropIndexOp,
    MigrateOperation,
    ModifyTableOps,
)

from threadlog.migrations.autogenerate.postgres_autogenerate import PartsOfNewTable
from threadlog.migrations.history.message_log import (
    MESSAGE_LOG,
    PARENT_INDEX,
    WAITING_INDEX,
)

_VERSION: Final = MESSAGE_LOG.versions[-1]
_TABLE: Final = "cubepi_threads"
_NAMES: Final = (PARENT_INDEX, WAITING_INDEX)


def with_thread_indexes(ops: Iterable[MigrateOperation], dialect: str) -> list[MigrateOperation]:
    """Return a migration's operations, extended by the indexes of forks and waiting threads.

    Args:
        ops: the operations that autogenerate derived from the metadata.
        dialect: the name of the migration's dialect.
    """
    kept: list[MigrateOperation] = []
    for op in ops:
        if isinstance(op, ModifyTableOps) and op.table_name == _TABLE:
            op.ops[:] = [
                part
                for part in op.ops
                if not (isinstance(part, DropIndexOp) and part.index_name in _NAMES)
            ]
            if not op.ops:
                continue
        kept.append(op)
        if isinstance(op, CreateTableOp) and op.table_name == _TABLE:
            kept += [
                PartsOfNewTable(
                    _TABLE, [CreateIndexOp(index.name, _TABLE, [*index.columns], **index.options)]
                )
                for index in MESSAGE_LOG.indexes(_VERSION, dialect)
                if index.name in _NAMES
            ]
    return kept
