"""``session.delete(thread)`` deletes the thread's rows, whatever keys the database enforces."""

from functools import partial
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from tests.erasing.contents import fill, rows
from tests.support.databases import engine_for, on_connection
from threadlog.models import CONTROL, MESSAGES, SEARCH, Thread

PARTS = (MESSAGES, CONTROL, SEARCH)


async def test_deleting_a_thread_deletes_its_rows_of_control_and_search(full_url: str) -> None:
    """On SQLite without foreign keys, as is SQLAlchemy's default."""
    deleted, other = uuid4(), uuid4()
    await on_connection(full_url, partial(fill, thread_id=other, mark="other"))
    before = await on_connection(full_url, rows)
    await on_connection(full_url, partial(fill, thread_id=deleted, mark="mark"))
    engine = engine_for(full_url)
    async with AsyncSession(engine) as session, session.begin():
        if full_url.startswith("sqlite"):
            keys = await (await session.connection()).exec_driver_sql("PRAGMA foreign_keys")
            assert keys.scalar() == 0
        await session.delete(await session.get_one(Thread, str(deleted)))
    await engine.dispose()
    after = await on_connection(full_url, rows)
    names = {table for part in PARTS for table in part.tables} - {
        part.version_table.name for part in PARTS
    }
    assert len(names) == 9
    assert {name: after[name] for name in names} == {name: before[name] for name in names}
