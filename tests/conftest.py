"""Fixtures that every test may use."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from tests.counting import StatementCount
from tests.databases import SharedDatabase, fresh_mysql_database
from tests.seeds import FRESH
from tests.servers.mysql import MySQLServer
from tests.servers.mysql import mysql_server as start_mysql_server
from tests.ways import WAYS
from threadlog import Checkpointer


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


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Give the URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/threadlog.db"


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
