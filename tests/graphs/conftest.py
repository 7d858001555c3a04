"""Fixtures of the tests with real graphs."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.databases import fresh_mysql_database, on_connection
from tests.graphs.databases import create_graph_schema, empty_graph_schema
from tests.graphs.ways import WAYS, Way


@pytest.fixture(scope="session")
def shared_graphs_database(mysql_server_url: str) -> Iterator[str]:
    """Give the URL of the MySQL database that these tests use in turn."""
    with fresh_mysql_database(mysql_server_url) as url:
        asyncio.run(on_connection(url, create_graph_schema))
        yield url


@pytest.fixture
def mysql_graphs_url(shared_graphs_database: str) -> str:
    """Give the URL of a MySQL database with the graph's tables, and nothing in them."""
    asyncio.run(on_connection(shared_graphs_database, empty_graph_schema))
    return shared_graphs_database


@pytest.fixture(params=["sqlite", "mysql"])
def graphs_url(request: pytest.FixtureRequest) -> str:
    """Give the URL of a fresh database, one kind after the other."""
    name = "sqlite_url" if request.param == "sqlite" else "mysql_graphs_url"
    return str(request.getfixturevalue(name))


@pytest.fixture(params=list(WAYS))
async def way(request: pytest.FixtureRequest, graphs_url: str) -> AsyncIterator[Way]:
    """Give an open saver of each way, on each database."""
    async with WAYS[request.param](graphs_url) as opened:
        yield opened


@pytest.fixture(params=["own", "own_sync"])
async def own_way(request: pytest.FixtureRequest, graphs_url: str) -> AsyncIterator[Way]:
    """Give an open saver of a URL, asynchronous and synchronous, on each database."""
    async with WAYS[request.param](graphs_url) as opened:
        yield opened
