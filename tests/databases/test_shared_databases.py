"""The databases that tests share, and counts of what a server gets, on each kind of server."""

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    event,
    func,
    insert,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError

from tests.support.counting import statement_count
from tests.support.databases import (
    SharedDatabase,
    engine_for,
    execute,
    fresh_database,
    on_connection,
)
from tests.support.matrix import on_each
from tests.support.servers.products import PRODUCTS
from tests.support.ways import sync_host_engine
from threadlog.models import SchemaPart, Thread

NOTES = MetaData()
VERSION = Table("note_version", NOTES, Column("version", Integer, primary_key=True))
NOTE = Table(
    "note",
    NOTES,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("parent", ForeignKey("note.id")),
    Column("title", String(20)),
)
PART = SchemaPart("messages", NOTES, 7, VERSION, "note_revision", Thread)


@event.listens_for(VERSION, "after_create")
def write_version(table: Table, connection: Connection, **_: object) -> None:
    """Write the version with the table, as the models do."""
    connection.execute(insert(table).values(version=PART.version))


CHANGES = [
    "ALTER TABLE note ADD COLUMN more INTEGER",
    "ALTER TABLE note DROP COLUMN title",
    "ALTER TABLE note ADD UNIQUE (title)",
    "CREATE INDEX ix_title ON note (title)",
    "DROP TABLE note_version",
]


@pytest.fixture(params=on_each(PRODUCTS))
def any_server_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of each server, also of those that THREADLOG_TEST_DATABASES omits."""
    return str(request.getfixturevalue(f"{request.param}_server_url"))


@pytest.fixture
def shared(any_server_url: str) -> Iterator[SharedDatabase]:
    """Yield a database to share."""
    with closing(SharedDatabase(any_server_url, PART)) as made:
        yield made


def contents(url: str) -> tuple[list[int], int]:
    """Read the versions, and count the notes."""

    def work(connection: Connection) -> tuple[list[int], int]:
        notes = connection.scalar(select(func.count()).select_from(NOTE)) or 0
        return list(connection.scalars(select(VERSION.c.version))), notes

    return asyncio.run(on_connection(url, work))


def test_a_shared_database_is_emptied(shared: SharedDatabase) -> None:
    """All rows go, though they name each other, and the database stays."""
    url = shared.empty()
    notes = insert(NOTE).values([{"id": id_, "parent": id_ - 1 or None} for id_ in (1, 2, 3)])
    asyncio.run(on_connection(url, lambda connection: connection.execute(notes) and None))
    asyncio.run(execute(url, "UPDATE note_version SET version = 8"))
    assert contents(url) == ([8], 3)
    assert shared.empty() == url
    assert contents(url) == ([7], 0)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_schema_is_made_anew(shared: SharedDatabase, change: str) -> None:
    """No test meets what another one has done to the tables."""
    url = shared.empty()
    asyncio.run(execute(url, change))
    anew = shared.empty()
    assert anew != url
    assert contents(anew) == ([7], 0)


def test_tables_that_were_added_are_dropped(shared: SharedDatabase) -> None:
    """Creating all of them anew would take longer."""
    url = shared.empty()
    of_note = "id INTEGER, note INTEGER, FOREIGN KEY (note) REFERENCES note (id)"
    asyncio.run(execute(url, f"CREATE TABLE other ({of_note}, UNIQUE (id))"))
    asyncio.run(
        execute(url, "CREATE TABLE another (FOREIGN KEY (id) REFERENCES other (id), id INTEGER)")
    )
    assert shared.empty() == url
    assert contents(url) == ([7], 0)
    names = asyncio.run(on_connection(url, lambda c: inspect(c).get_table_names()))
    assert sorted(names) == ["note", "note_version"]


def test_a_fresh_database_is_dropped_whoever_is_in_it(any_server_url: str) -> None:
    """A connection which a test has left open does not keep it."""
    with fresh_database(any_server_url) as url:
        engine = sync_host_engine(url)
        connection = engine.connect()
        connection.execute(text("SELECT 1"))
    connection.invalidate()
    connection.close()
    with pytest.raises(DBAPIError, match=str(make_url(url).database)):
        engine.connect()
    engine.dispose()


def test_statements_are_counted_with_their_commit(any_server_url: str) -> None:
    """The server counts what is sent to it, and nothing of the counting."""

    async def counted(statements: int) -> int:
        engine = engine_for(any_server_url, pool_reset_on_return=None)

        async def work() -> None:
            async with engine.begin() as connection:
                for _ in range(statements):
                    await connection.execute(text("SELECT 1"))

        try:
            await work()  # what a driver asks of a new connection is not counted
            async with statement_count(any_server_url) as count:
                return await count.of(work)
        finally:
            await engine.dispose()

    # PostgreSQL's driver begins a transaction with a statement, the others' do not.
    around = 2 if any_server_url.startswith("postgresql") else 1
    assert [asyncio.run(counted(number)) for number in (1, 4)] == [1 + around, 4 + around]
