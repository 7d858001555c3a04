"""How the databases differ: each row of the table in docs/databases.md, and nothing else."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    inspect,
    make_url,
    text,
)
from sqlalchemy.schema import CreateTable

from tests.support.databases import on_connection, pools_of, sent_by
from tests.support.factories import UserFactory
from threadlog import Checkpointer
from threadlog.databases.urls import parse_url
from threadlog.errors import CubepiSchemaUninitialized, UnsupportedServerError
from threadlog.models.dialects.ddl import computed
from threadlog.repositories.catalog.catalog import CatalogueRepository

PAGE: Final = Path(__file__).parents[2] / "docs" / "databases.md"
COLUMNS: Final = {"sqlite": 0, "mysql": 1, "mariadb": 2, "postgres": 3}


def rows() -> dict[str, list[str]]:
    """Return the cells of each row of the table of differences."""
    table = (
        PAGE.read_text(encoding="utf-8").partition("## Differences")[2].partition("## Reasons")[0]
    )
    lines = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]
    return {cell[0]: cell[1:] for cell in cells}


ROWS: Final = rows()
TESTED: Final[set[str]] = set()


def row(title: str) -> Callable[[str], str]:
    """Return a function from a database to its cell in a row, which counts as tested."""
    TESTED.add(title)
    return lambda name: ROWS[title][COLUMNS[name]]


OLDEST = row("oldest release")
TABLES = row("tables come from")
WRITING = row("connections that write")
READING = row("connections reserved for reads")
PARTITIONS = row("partitions of messages and runs")
REFERENCE = row("messages refer to their thread")
JSON_TYPE = row("JSON is kept as")
KEYS = row("order of keys of a JSON object")
INDEX = row("index on all of the metadata")
COLUMN = row("a column of `metadata_column` is")
LOCKING = row("statements that append a message, between BEGIN and COMMIT")
LIMIT = row("largest statement in bytes")
HOSTS = row("several hosts in the URL")


def test_each_row_is_tested() -> None:
    """No row is without its test, nor the other way round."""
    assert set(ROWS) == TESTED
    assert len(ROWS) > 10


async def test_oldest_release(
    database_name: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release just before the oldest is refused, with the oldest in the words."""
    oldest = tuple(map(int, OLDEST(database_name).split(".")))
    before = (*oldest[:-1], oldest[-1] - 1, 99)
    monkeypatch.setattr(CatalogueRepository, "server_version", lambda _: before)
    with pytest.raises(UnsupportedServerError, match=re.escape(OLDEST(database_name))):
        async with Checkpointer(database_url):
            """Not reached."""


async def test_tables(database_name: str, empty_url: str) -> None:
    if TABLES(database_name) == "the first use":
        async with Checkpointer(empty_url) as checkpointer:
            assert await checkpointer.load("t") is None
    else:
        assert TABLES(database_name) == "a migration"
        with pytest.raises(CubepiSchemaUninitialized):
            async with Checkpointer(empty_url):
                """Not reached."""


async def test_connections(database_name: str, database_url: str) -> None:
    most = {("1", "none"): [1], ("many", "a third"): [6, 3]}
    async with Checkpointer(database_url, max_pool_size=9) as checkpointer:
        sizes = [pool.size() for pool in pools_of(checkpointer)]
    assert sizes == most[WRITING(database_name), READING(database_name)]


_COUNT: Final = {
    "none": None,
    "64 by KEY": "SELECT table_name, COUNT(*), MIN(partition_method) FROM"
    " information_schema.partitions WHERE table_schema = DATABASE() AND partition_name IS NOT"
    " NULL GROUP BY table_name ORDER BY table_name",
    "64 by HASH": "SELECT p.relname, COUNT(*), CASE MIN(t.partstrat) WHEN 'h' THEN 'HASH' END"
    " FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_partitioned_table t"
    " ON t.partrelid = p.oid WHERE p.relkind = 'p' GROUP BY p.relname ORDER BY p.relname",
}


async def test_partitions(database_name: str, database_url: str) -> None:
    statement = _COUNT[PARTITIONS(database_name)]
    if statement is None:
        assert database_name == "sqlite"
        return
    found = await on_connection(database_url, lambda c: c.execute(text(statement)).all())
    number, _, method = PARTITIONS(database_name).split()
    assert [tuple(each) for each in found] == [
        (name, int(number), method) for name in ("cubepi_messages", "cubepi_runs")
    ]


async def opened(url: str) -> None:
    """Create an SQLite file with its tables."""
    async with Checkpointer(url):
        """No more."""


async def test_messages_refer_to_their_thread(database_name: str, database_url: str) -> None:
    await opened(database_url)
    keys = await on_connection(
        database_url, lambda c: inspect(c).get_foreign_keys("cubepi_messages")
    )
    assert [key["referred_table"] for key in keys] == (
        [] if REFERENCE(database_name) == "no" else ["cubepi_threads"]
    )


async def test_json_types(database_name: str, database_url: str) -> None:
    await opened(database_url)

    def type_of(connection: Connection) -> str:
        if database_name == "sqlite":
            return str(connection.scalar(text("SELECT typeof(extra) FROM cubepi_threads")))
        columns = (
            "SELECT data_type FROM information_schema.columns WHERE table_name ="
            " 'cubepi_threads' AND column_name = 'extra'"
        )
        here = "" if database_name == "postgres" else " AND table_schema = DATABASE()"
        return str(connection.scalar(text(columns + here)))

    async with Checkpointer(database_url) as checkpointer:
        await checkpointer.save_extra("t", {})
    assert (await on_connection(database_url, type_of)).upper() == JSON_TYPE(database_name).upper()


async def test_order_of_keys(database_name: str, database_url: str) -> None:
    async with Checkpointer(database_url) as checkpointer:
        await checkpointer.save_extra("t", {"bb": 1, "c": 2, "aa": 3, "b": 4})
        data = await checkpointer.load("t")
    assert data is not None
    orders = {
        "as written": ["bb", "c", "aa", "b"],
        "by length, then bytes": ["b", "c", "aa", "bb"],
    }
    assert list(data.extra) == orders[KEYS(database_name)]


async def test_index_on_all_of_the_metadata(database_name: str, database_url: str) -> None:
    await opened(database_url)

    def indexed(connection: Connection) -> list[Any]:
        found = inspect(connection).get_indexes("cubepi_messages")
        on_metadata = [each for each in found if each["column_names"] == ["metadata"]]
        return [each.get("dialect_options", {}).get("postgresql_using", "") for each in on_metadata]

    using = [] if INDEX(database_name) == "no" else [INDEX(database_name).lower()]
    assert await on_connection(database_url, indexed) == using


def test_columns_of_metadata(database_name: str, database_url: str) -> None:
    dialect = make_url(database_url).get_dialect()()
    a = Column("a", Integer)
    table = Table("t", MetaData(), a, Column("b", Integer, computed(a + 1)))
    assert f" {COLUMN(database_name).upper()}" in str(CreateTable(table).compile(dialect=dialect))


async def test_locking(database_name: str, database_url: str) -> None:
    async with Checkpointer(database_url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        sent = sent_by(checkpointer)
        await checkpointer.append("t", [UserFactory()])
    statements = [one for one in sent if not one.startswith(("BEGIN", "UPDATE"))]
    assert len(statements) == int(LOCKING(database_name))


async def test_most_bytes(database_name: str, database_url: str) -> None:
    async with Checkpointer(database_url) as checkpointer:
        limit = checkpointer.client.facts.statement_limit
    told = LIMIT(database_name)
    if told == "`max_allowed_packet`":
        packet = text("SELECT @@max_allowed_packet")
        assert limit == await on_connection(database_url, lambda c: c.scalar(packet))
    else:
        assert limit == int(told.replace(",", ""))


async def test_several_hosts(database_name: str, database_url: str) -> None:
    if HOSTS(database_name) == "no":
        assert database_name == "sqlite"
        return
    url = parse_url(database_url)
    several = database_url.replace(
        f"@{url.host}:{url.port}", f"@{url.host}:1,{url.host}:{url.port}"
    )
    assert several != database_url
    async with Checkpointer(several) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        assert len(await checkpointer.read("t")) == 1
