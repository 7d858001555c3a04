"""Fixtures that every test may use."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import product
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.copying.ends import KINDS, Ends
from tests.counting import StatementCount
from tests.databases import SharedDatabase, fresh_mysql_database, on_connection
from tests.seeds import FRESH
from tests.servers.mysql import MySQLServer
from tests.servers.mysql import mysql_server as start_mysql_server
from tests.ways import WAYS
from threadlog import Checkpointer
from threadlog.models import GRAPH, graph_metadata


def pytest_report_header() -> str:
    """Tell how to have the same random again."""
    return f"THREADLOG_SEED={FRESH}"


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[MySQLServer]:
    """Run the MySQL server of the whole test run; without one the run fails."""
    with start_mysql_server() as server:
        yield server


@pytest.fixture(scope="session")
def mysql_server_url(mysql_server: MySQLServer) -> str:
    """Give the server's URL, without a database."""
    return mysql_server.url


@pytest.fixture
def mysql_database(mysql_server_url: str) -> Iterator[str]:
    """Give the URL of an empty MySQL database of the test's own."""
    with fresh_mysql_database(mysql_server_url) as url:
        yield url


@pytest.fixture(scope="session")
def shared_database(mysql_server_url: str) -> Iterator[SharedDatabase]:
    """Keep the MySQL database that tests use in turn."""
    shared = SharedDatabase(mysql_server_url)
    yield shared
    shared.close()


@pytest.fixture
def mysql_url(shared_database: SharedDatabase) -> str:
    """Give the URL of a MySQL database with the schema, and nothing else, in it."""
    return shared_database.empty()


@pytest.fixture(scope="session")
def shared_graph_database(mysql_server_url: str) -> Iterator[str]:
    """Give the URL of the MySQL database that these tests use in turn."""
    with fresh_mysql_database(mysql_server_url) as url:
        asyncio.run(on_connection(url, _create_graph_tables))
        yield url


@pytest.fixture
def mysql_graph_url(shared_graph_database: str) -> str:
    """Give the URL of a MySQL database with the graph's tables, and nothing in them."""
    asyncio.run(on_connection(shared_graph_database, _empty_graph_tables))
    return shared_graph_database


@pytest.fixture(params=["sqlite", "mysql"])
def graph_url(request: pytest.FixtureRequest) -> str:
    """Give the URL of a fresh database, one kind after the other."""
    name = "sqlite_url" if request.param == "sqlite" else "mysql_graph_url"
    return str(request.getfixturevalue(name))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Give the URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/threadlog.db"


@pytest.fixture(scope="session")
def other_shared_database(mysql_server_url: str) -> Iterator[SharedDatabase]:
    """Keep a second MySQL database, for tests that need two."""
    shared = SharedDatabase(mysql_server_url)
    yield shared
    shared.close()


@pytest.fixture
def other_mysql_url(other_shared_database: SharedDatabase) -> str:
    """Give the URL of a second MySQL database with the schema, and nothing else, in it."""
    return other_shared_database.empty()


@pytest.fixture
def other_sqlite_url(tmp_path: Path) -> str:
    """Give the URL of a second SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/other.db"


@pytest.fixture(scope="session")
def other_shared_graph_database(mysql_server_url: str) -> Iterator[str]:
    """Give the URL of a second MySQL database that these tests use in turn."""
    with fresh_mysql_database(mysql_server_url) as url:
        asyncio.run(on_connection(url, _create_graph_tables))
        yield url


@pytest.fixture
def other_mysql_graph_url(other_shared_graph_database: str) -> str:
    """Give the URL of a second MySQL database with the graph's tables, and nothing in them."""
    asyncio.run(on_connection(other_shared_graph_database, _empty_graph_tables))
    return other_shared_graph_database


@pytest.fixture
def sqlite_graph_url(sqlite_url: str) -> str:
    """Give the URL of an SQLite file that does not exist yet."""
    return sqlite_url


@pytest.fixture
def other_sqlite_graph_url(other_sqlite_url: str) -> str:
    """Give the URL of a second SQLite file that does not exist yet."""
    return other_sqlite_url


@pytest.fixture(params=product(KINDS, KINDS), ids="-to-".join)
def graph_ends(request: pytest.FixtureRequest) -> Ends:
    """Give two databases for the state of graphs, of each pair of kinds in turn."""
    source, target = request.param
    return Ends(
        request.getfixturevalue(f"{source}_graph_url"),
        request.getfixturevalue(f"other_{target}_graph_url"),
    )


@pytest.fixture(params=product(KINDS, KINDS), ids="-to-".join)
def ends(request: pytest.FixtureRequest) -> Ends:
    """Give two empty databases of each pair of kinds in turn."""
    source, target = request.param
    return Ends(
        request.getfixturevalue(f"{source}_url"), request.getfixturevalue(f"other_{target}_url")
    )


@pytest.fixture(params=["sqlite", "mysql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Give the URL of a fresh database, one kind after the other."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that are marked ``every_way`` on each way to have a checkpointer."""
    if "facade" in metafunc.fixturenames:
        marked = metafunc.definition.get_closest_marker("every_way") is not None
        metafunc.parametrize("facade", WAYS if marked else ["own"])


@pytest.fixture
async def checkpointer(facade: str, database_url: str) -> AsyncIterator[Checkpointer]:
    """Give an open checkpointer; at the end no connection may be left in use."""
    async with WAYS[facade](database_url) as opened:
        yield opened


@pytest.fixture(params=["sqlite_url", "mysql_database"], ids=["sqlite", "mysql"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """Give the URL of a database without tables, one kind after the other."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
async def count(mysql_server_url: str) -> AsyncIterator[StatementCount]:
    """Give a count of what the server gets."""
    url = mysql_server_url.replace("mysql://", "mysql+asyncmy://")
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        yield StatementCount(connection)
    await engine.dispose()


def _create_graph_tables(connection: Connection) -> None:
    graph_metadata.create_all(connection)
    connection.exec_driver_sql(f"INSERT INTO {GRAPH.version_table} VALUES ({GRAPH.version})")


def _empty_graph_tables(connection: Connection) -> None:
    for table in reversed(graph_metadata.sorted_tables):
        if table is not GRAPH.version_table:
            connection.execute(text(f"DELETE FROM {table}"))
