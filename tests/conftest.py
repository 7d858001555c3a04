"""Fixtures that every test may use."""

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.counting import StatementCount, statement_count
from tests.support.databases import DATABASES, INNODB, SERVERS, SharedDatabases, fresh_database
from tests.support.ends import PAIRS, RING, Ends
from tests.support.seeds import FRESH
from tests.support.servers.products import MARIADB, MYSQL, POSTGRES, PRODUCTS
from tests.support.servers.server import Server, running_server
from tests.support.ways import WAYS
from threadlog import Checkpointer
from threadlog.models import PartName


def pytest_configure() -> None:
    """Refuse names of databases that there are not."""
    unknown = set(DATABASES) - {"sqlite", *PRODUCTS}
    if unknown:
        raise pytest.UsageError(
            f"THREADLOG_TEST_DATABASES has {', '.join(sorted(unknown))}; "
            f"there are sqlite, {', '.join(PRODUCTS)}, with commas between them"
        )


def pytest_report_header() -> str:
    """Tell how to have the same random again, and what the tests run on."""
    return f"THREADLOG_SEED={FRESH} THREADLOG_TEST_DATABASES={','.join(DATABASES)}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of one server's own that the run is not about."""
    others = {f"{name}_server" for name in PRODUCTS if name not in DATABASES}
    left_out = {item for item in items if others.intersection(getattr(item, "fixturenames", ()))}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[Server]:
    """Run the MySQL server of the whole test run; without one the run fails."""
    with running_server(MYSQL) as server:
        yield server


@pytest.fixture(scope="session")
def mysql_server_url(mysql_server: Server) -> str:
    """Give the server's URL, without a database."""
    return mysql_server.url


@pytest.fixture(scope="session")
def mysql_shared(mysql_server_url: str) -> Iterator[SharedDatabases]:
    """Keep the MySQL databases that tests use in turn."""
    with closing(SharedDatabases(mysql_server_url)) as shared:
        yield shared


@pytest.fixture(scope="session")
def second_mysql_shared(mysql_server_url: str) -> Iterator[SharedDatabases]:
    """Keep second MySQL databases, for tests that need two."""
    with closing(SharedDatabases(mysql_server_url)) as shared:
        yield shared


@pytest.fixture
def mysql_database(mysql_server_url: str) -> Iterator[str]:
    """Give the URL of an empty MySQL database of the test's own."""
    with fresh_database(mysql_server_url) as url:
        yield url


@pytest.fixture
def mysql_url(mysql_shared: SharedDatabases) -> str:
    """Give the URL of a MySQL database with the schema, and nothing else, in it."""
    return mysql_shared.messages.empty()


@pytest.fixture
def mysql_graph_url(mysql_shared: SharedDatabases) -> str:
    """Give the URL of a MySQL database with the graph's tables, and nothing in them."""
    return mysql_shared.graph.empty()


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Server]:
    """Run the MariaDB server of the whole test run; without one the run fails."""
    with running_server(MARIADB) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server_url(mariadb_server: Server) -> str:
    """Give the server's URL, without a database."""
    return mariadb_server.url


@pytest.fixture(scope="session")
def mariadb_shared(mariadb_server_url: str) -> Iterator[SharedDatabases]:
    """Keep the MariaDB databases that tests use in turn."""
    with closing(SharedDatabases(mariadb_server_url)) as shared:
        yield shared


@pytest.fixture(scope="session")
def second_mariadb_shared(mariadb_server_url: str) -> Iterator[SharedDatabases]:
    """Keep second MariaDB databases, for tests that need two."""
    with closing(SharedDatabases(mariadb_server_url)) as shared:
        yield shared


@pytest.fixture
def mariadb_database(mariadb_server_url: str) -> Iterator[str]:
    """Give the URL of an empty MariaDB database of the test's own."""
    with fresh_database(mariadb_server_url) as url:
        yield url


@pytest.fixture
def mariadb_url(mariadb_shared: SharedDatabases) -> str:
    """Give the URL of a MariaDB database with the schema, and nothing else, in it."""
    return mariadb_shared.messages.empty()


@pytest.fixture
def mariadb_graph_url(mariadb_shared: SharedDatabases) -> str:
    """Give the URL of a MariaDB database with the graph's tables, and nothing in them."""
    return mariadb_shared.graph.empty()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """Run the PostgreSQL server of the whole test run; without one the run fails."""
    with running_server(POSTGRES) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server_url(postgres_server: Server) -> str:
    """Give the server's URL, without a database."""
    return postgres_server.url


@pytest.fixture(scope="session")
def postgres_shared(postgres_server_url: str) -> Iterator[SharedDatabases]:
    """Keep the PostgreSQL databases that tests use in turn."""
    with closing(SharedDatabases(postgres_server_url)) as shared:
        yield shared


@pytest.fixture(scope="session")
def second_postgres_shared(postgres_server_url: str) -> Iterator[SharedDatabases]:
    """Keep second PostgreSQL databases, for tests that need two."""
    with closing(SharedDatabases(postgres_server_url)) as shared:
        yield shared


@pytest.fixture
def postgres_database(postgres_server_url: str) -> Iterator[str]:
    """Give the URL of an empty PostgreSQL database of the test's own."""
    with fresh_database(postgres_server_url) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_shared: SharedDatabases) -> str:
    """Give the URL of a PostgreSQL database with the schema, and nothing else, in it."""
    return postgres_shared.messages.empty()


@pytest.fixture
def postgres_graph_url(postgres_shared: SharedDatabases) -> str:
    """Give the URL of a PostgreSQL database with the graph's tables, and nothing in them."""
    return postgres_shared.graph.empty()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Give the URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/threadlog.db"


@pytest.fixture
def sqlite_graph_url(sqlite_url: str) -> str:
    """Give the same: whoever opens the file creates the tables."""
    return sqlite_url


@pytest.fixture
def sqlite_database(sqlite_url: str) -> str:
    """Give the same."""
    return sqlite_url


@pytest.fixture(params=DATABASES)
def database_name(request: pytest.FixtureRequest) -> str:
    """Name one kind of database after the other."""
    return str(request.param)


@pytest.fixture
def database_url(database_name: str, request: pytest.FixtureRequest) -> str:
    """Give the URL of a fresh database, one kind after the other."""
    return str(request.getfixturevalue(f"{database_name}_url"))


@pytest.fixture
def graph_url(database_name: str, request: pytest.FixtureRequest) -> str:
    """Give the URL of a fresh database for graphs, one kind after the other."""
    return str(request.getfixturevalue(f"{database_name}_graph_url"))


@pytest.fixture
def empty_url(database_name: str, request: pytest.FixtureRequest) -> str:
    """Give the URL of a database without tables, one kind after the other."""
    return str(request.getfixturevalue(f"{database_name}_database"))


@pytest.fixture(params=SERVERS)
def server_name(request: pytest.FixtureRequest) -> str:
    """Name one kind of server after the other."""
    return str(request.param)


@pytest.fixture
def server_url(server_name: str, request: pytest.FixtureRequest) -> str:
    """Give the URL of a fresh database, one kind of server after the other."""
    return str(request.getfixturevalue(f"{server_name}_url"))


@pytest.fixture
def server_graph_url(server_name: str, request: pytest.FixtureRequest) -> str:
    """Give the URL of a fresh database for graphs, one kind of server after the other."""
    return str(request.getfixturevalue(f"{server_name}_graph_url"))


@pytest.fixture
def server_database(server_name: str, request: pytest.FixtureRequest) -> str:
    """Give the URL of a database without tables, one kind of server after the other."""
    return str(request.getfixturevalue(f"{server_name}_database"))


@pytest.fixture(params=INNODB)
def innodb_name(request: pytest.FixtureRequest) -> str:
    """Name MySQL, then MariaDB, so far as the tests run on them."""
    return str(request.param)


@pytest.fixture
def innodb_server_url(innodb_name: str, request: pytest.FixtureRequest) -> str:
    """Give the server's URL, without a database."""
    return str(request.getfixturevalue(f"{innodb_name}_server_url"))


@pytest.fixture
def innodb_url(innodb_name: str, request: pytest.FixtureRequest) -> str:
    """Give the URL of a fresh database, one of the two after the other."""
    return str(request.getfixturevalue(f"{innodb_name}_url"))


@pytest.fixture
def innodb_graph_url(innodb_name: str, request: pytest.FixtureRequest) -> str:
    """Give the URL of a fresh database for graphs, one of the two after the other."""
    return str(request.getfixturevalue(f"{innodb_name}_graph_url"))


@pytest.fixture
def innodb_database(innodb_name: str, request: pytest.FixtureRequest) -> str:
    """Give the URL of a database without tables, one of the two after the other."""
    return str(request.getfixturevalue(f"{innodb_name}_database"))


@pytest.fixture
def second_sqlite_url(tmp_path: Path) -> str:
    """Give the URL of a second SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/second.db"


@pytest.fixture
def second_mysql_url(second_mysql_shared: SharedDatabases) -> str:
    """Give the URL of a second MySQL database with the schema, and nothing else, in it."""
    return second_mysql_shared.messages.empty()


@pytest.fixture(params=RING, ids="-to-".join)
def ends(request: pytest.FixtureRequest) -> Ends:
    """Give two empty databases: each kind once as the source, once as the target."""
    return _ends(request, "messages")


@pytest.fixture(params=PAIRS, ids="-to-".join)
def every_ends(request: pytest.FixtureRequest) -> Ends:
    """Give two empty databases of each pair of kinds in turn."""
    return _ends(request, "messages")


@pytest.fixture(params=RING, ids="-to-".join)
def graph_ends(request: pytest.FixtureRequest) -> Ends:
    """Give two databases for the state of graphs, as `ends` does."""
    return _ends(request, "graph")


@pytest.fixture(params=PAIRS, ids="-to-".join)
def every_graph_ends(request: pytest.FixtureRequest) -> Ends:
    """Give two databases for the state of graphs, as `every_ends` does."""
    return _ends(request, "graph")


def _ends(request: pytest.FixtureRequest, part: PartName) -> Ends:
    source, target = request.param
    url = {"messages": f"{source}_url", "graph": f"{source}_graph_url"}[part]
    if target == "sqlite":
        second = request.getfixturevalue("second_sqlite_url")
    else:
        shared = request.getfixturevalue(f"second_{target}_shared")
        second = getattr(shared, part).empty()
    return Ends(request.getfixturevalue(url), second)


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


@pytest.fixture
def counted_server_url(request: pytest.FixtureRequest) -> str:
    """Give the server that the test is on: that of a fixture that names one, or else MySQL."""
    named = [name for name in ("server_name", "innodb_name") if name in request.fixturenames]
    name = request.getfixturevalue(named[0]) if named else MYSQL.name
    return str(request.getfixturevalue(f"{name}_server_url"))


@pytest.fixture
async def count(counted_server_url: str) -> AsyncIterator[StatementCount]:
    """Give a count of what the server gets."""
    async with statement_count(counted_server_url) as counting:
        yield counting
