"""Fixtures of the saver's tests."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, text

from tests.databases import fresh_mysql_database, on_connection
from tests.graph_saver.ways import WAYS
from threadlog.langgraph import Saver
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


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> str:
    """Name each way to have a saver."""
    return str(request.param)


@pytest.fixture
async def any_saver(way: str, graph_url: str) -> AsyncIterator[Any]:
    """Give an open saver of each way, on each database."""
    async with WAYS[way](graph_url) as opened:
        yield opened


@pytest.fixture
async def saver(graph_url: str) -> AsyncIterator[Saver]:
    """Give an open saver of a URL, on each database."""
    async with WAYS["own"](graph_url) as opened:
        yield opened
