"""Create threadlog's tables for a test, and change the times in them."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Column, Connection, Engine, Table, bindparam, inspect, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from threadlog.models import ALL_PARTS, PARTS, PartName
from threadlog.models.dialects.names import schema_of
from threadlog.models.dialects.time import Timestamp
from threadlog.models.dialects.types import UtcTime


def create_all(bind: Engine | Connection, *parts: PartName) -> None:
    """Create the missing tables of the schema from the models, without a migration.

    Args:
        bind: an engine, on which the tables are committed, or a connection, in whose
            transaction they are created (MySQL commits it).
        parts: the names of parts, such as ``graph``; all but ``search`` by default. The tables of
            ``control`` and ``search`` refer to those of ``messages``.
    """
    for part in ALL_PARTS:
        if part.name in parts or (not parts and part in PARTS):
            part.metadata.create_all(bind)


async def create_all_async(bind: AsyncEngine | AsyncConnection, *parts: PartName) -> None:
    """Create the missing tables of the schema in asyncio; see `create_all`."""
    if isinstance(bind, AsyncConnection):
        await bind.run_sync(create_all, *parts)
        return
    async with bind.begin() as connection:
        await connection.run_sync(create_all, *parts)


def age_rows(connection: Connection, by: timedelta) -> None:
    """Move the stored times of all rows into the past, as if so much time had passed since.

    Times come from the database's clock, which no test can set. Runs become stale and items of a
    store expire as they would after that time; the time to live of a metadata store's thread is
    not changed. Every row is read and written: use it on a test's few rows only.

    Args:
        connection: a connection to the database; the caller commits. In asyncio:
            ``await connection.run_sync(age_rows, by)``.
        by: how much time is to have passed.
    """
    existing = set(inspect(connection).get_table_names(schema_of(connection)))
    for part in ALL_PARTS:
        for table in part.metadata.sorted_tables:
            times = [each for each in table.columns if isinstance(each.type, Timestamp | UtcTime)]
            if times and table.name in existing:
                _age(connection, table, times, by)


def _age(
    connection: Connection, table: Table, times: Sequence[Column[object]], by: timedelta
) -> None:
    keys = list(table.primary_key)
    rows = connection.execute(select(*keys, *times)).all()
    aged = [
        {
            **{f"key_{column.name}": value for column, value in zip(keys, row, strict=False)},
            **{
                f"new_{column.name}": value and value - by
                for column, value in zip(times, row[len(keys) :], strict=True)
            },
        }
        for row in rows
    ]
    if aged:
        is_row = [key == bindparam(f"key_{key.name}", type_=key.type) for key in keys]
        values = {time: bindparam(f"new_{time.name}", type_=time.type) for time in times}
        connection.execute(update(table).where(*is_row).values(values), aged)
