"""Fixtures of the tests of metadata stores."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import Connection, text

from tests.databases import fresh_mysql_database, on_connection
from tests.persistence.stores import KINDS, SHARED_KINDS, Opened
from threadlog.models import GRAPH, graph_metadata


def _create(connection: Connection) -> None:
    graph_metadata.create_all(connection)
    connection.exec_driver_sql(f"INSERT INTO {GRAPH.version_table} VALUES ({GRAPH.version})")


def _empty(connection: Connection) -> None:
    for table in reversed(graph_metadata.sorted_tables):
        if table is not GRAPH.version_table:
            connection.execute(text(f"DELETE FROM {table}"))


@pytest.fixture(scope="session")
def shared_graph_database(mysql_server_url: str) -> Iterator[str]:
    """Give the URL of the MySQL database that these tests use in turn."""
    with fresh_mysql_database(mysql_server_url) as url:
        asyncio.run(on_connection(url, _create))
        yield url


@pytest.fixture
def mysql_graph_url(shared_graph_database: str) -> str:
    """Give the URL of a MySQL database with the graph's tables, and nothing in them."""
    asyncio.run(on_connection(shared_graph_database, _empty))
    return shared_graph_database


@pytest.fixture(params=["sqlite", "mysql"])
def graph_url(request: pytest.FixtureRequest) -> str:
    """Give the URL of a fresh database, one kind after the other."""
    name = "sqlite_url" if request.param == "sqlite" else "mysql_graph_url"
    return str(request.getfixturevalue(name))


def url_for(kind: str, request: pytest.FixtureRequest) -> str:
    """Give the URL of a fresh database for a kind of store."""
    name = "mysql_graph_url" if kind.startswith("mysql") else "sqlite_url"
    return str(request.getfixturevalue(name))


@pytest.fixture(params=KINDS)
def ours(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Name each kind of store of ours, with the URL of a fresh database."""
    return request.param, url_for(request.param, request)


@pytest.fixture(params=[*KINDS, *SHARED_KINDS])
def anyones(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Name each kind of store, skeino's own too, with the URL of a fresh database."""
    return request.param, url_for(request.param, request)


@pytest.fixture
async def opened(ours: tuple[str, str]) -> AsyncIterator[Opened]:
    """Give each store of ours, open."""
    kind, url = ours
    async with {**KINDS, **SHARED_KINDS}[kind](url) as each:
        yield each


@pytest.fixture
async def shared(anyones: tuple[str, str]) -> AsyncIterator[Opened]:
    """Give each store, skeino's own too, open: for what all of them do alike."""
    kind, url = anyones
    async with {**KINDS, **SHARED_KINDS}[kind](url) as each:
        yield each


@pytest.fixture(params=[kind for kind in KINDS if kind != "memory"])
def durable(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Name each kind of store on a database, with the URL of a fresh one."""
    return request.param, url_for(request.param, request)


@pytest.fixture
async def stored(durable: tuple[str, str]) -> AsyncIterator[Opened]:
    """Give each store of ours that is on a database, open."""
    kind, url = durable
    async with KINDS[kind](url) as each:
        yield each
