"""Autogenerate support for the index of waiting threads, which no metadata declares.

Each database has another form of it. This module adds it to a migration that creates the table of
threads, and removes operations that would drop it from an existing table. On PostgreSQL
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
from threadlog.migrations.history.message_log import MESSAGE_LOG, WAITING_INDEX

_VERSION: Final = MESSAGE_LOG.versions[-1]
_TABLE: Final = "cubepi_threads"


def with_waiting_index(ops: Iterable[MigrateOperation], dialect: str) -> list[MigrateOperation]:
    """Return a migration's operations, extended by the index of waiting threads.

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
                if not (isinstance(part, DropIndexOp) and part.index_name == WAITING_INDEX)
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
                if index.name == WAITING_INDEX
            ]
    return kept
