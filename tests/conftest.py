"""Fixtures that every test may use."""

import gc
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.counting import StatementCount, statement_count
from tests.support.databases import DATABASES, INNODB, NAMED, SERVERS, fresh_database
from tests.support.ends import PAIRS, RING, Ends
from tests.support.fixtures import mongodb_fixtures, product_fixtures, redis_fixtures
from tests.support.matrix import FULL, MARKS, SHORT, is_left_out, mark_databases, on_each, ways
from tests.support.seeds import FRESH
from tests.support.servers.process import folder_in_memory
from tests.support.servers.products import EVERY_PRODUCT, MYSQL, PRODUCTS
from tests.support.surroundings import CHOSEN, SURROUNDINGS, VARIABLE
from tests.support.templates import create_file
from tests.support.ways import WAYS
from threadlog import Checkpointer
from threadlog.models import CONTROL, GRAPH, MESSAGES, STORE, PartName


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks, and refuse unknown names of databases."""
    for mark, meaning in MARKS.items():
        config.addinivalue_line("markers", f"{mark}: {meaning}")
    unknown = set(NAMED) - {"sqlite", *EVERY_PRODUCT}
    if unknown:
        raise pytest.UsageError(
            f"THREADLOG_TEST_DATABASES has {', '.join(sorted(unknown))}. "
            f"Use sqlite, {', '.join(EVERY_PRODUCT)}, with commas between them."
        )
    if CHOSEN and CHOSEN not in SURROUNDINGS:
        raise pytest.UsageError(f"{VARIABLE} is {CHOSEN}. Use one of {', '.join(SURROUNDINGS)}.")


def pytest_report_header() -> str:
    """Return the settings that repeat the run."""
    full = " THREADLOG_TEST_FULL=1" if FULL else " THREADLOG_TEST_SHORT=1" if SHORT else ""
    odd = f" {VARIABLE}={CHOSEN}" if CHOSEN else ""
    return f"THREADLOG_SEED={FRESH} THREADLOG_TEST_DATABASES={','.join(NAMED)}{full}{odd}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests, before -m selects, and leave out what is not of this run's matrix."""
    for item in items:
        mark_databases(item)
    left_out = {item for item in items if is_left_out(item)}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector what stays until the end: modules and thousands of tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        gc.set_threshold(10_000)


for _product in PRODUCTS.values():
    globals().update(product_fixtures(_product))
globals().update(mongodb_fixtures())
globals().update(redis_fixtures())


@pytest.fixture(params=on_each(DATABASES))
def database_name(request: pytest.FixtureRequest) -> str:
    """Return the name of each kind of database of the run."""
    return str(request.param)


@pytest.fixture(scope="module", params=on_each(DATABASES))
def module_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Yield the URL of an empty database of each kind, for all tests of a module."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('module')}/threadlog.db"
        return
    with fresh_database(request.getfixturevalue(f"{request.param}_server_url")) as url:
        yield url


@pytest.fixture
def database_url(database_name: str, request: pytest.FixtureRequest) -> str:
    """Return the URL of a database with the schema."""
    url = str(request.getfixturevalue(f"{database_name}_url"))
    # A new SQLite file of threadlog's own has both parts.
    return create_file(url, MESSAGES, CONTROL) if database_name == "sqlite" else url


@pytest.fixture
def graph_url(database_name: str, request: pytest.FixtureRequest) -> str:
    """Return the same with the graph's tables."""
    url = str(request.getfixturevalue(f"{database_name}_graph_url"))
    return create_file(url, GRAPH) if database_name == "sqlite" else url


@pytest.fixture
def store_url(database_name: str, request: pytest.FixtureRequest) -> str:
    """Return the same with the memory store's tables."""
    url = str(request.getfixturevalue(f"{database_name}_store_url"))
    return create_file(url, STORE) if database_name == "sqlite" else url


@pytest.fixture
def empty_url(database_name: str, request: pytest.FixtureRequest) -> str:
    """Return the URL of a database without tables."""
    return str(request.getfixturevalue(f"{database_name}_database"))


@pytest.fixture(params=on_each(SERVERS))
def server_name(request: pytest.FixtureRequest) -> str:
    """Return the name of each kind of server of the run."""
    return str(request.param)


@pytest.fixture
def server_url(server_name: str, request: pytest.FixtureRequest) -> str:
    """Return what `database_url` does, on servers alone."""
    return str(request.getfixturevalue(f"{server_name}_url"))


@pytest.fixture
def server_graph_url(server_name: str, request: pytest.FixtureRequest) -> str:
    """Return what `graph_url` does, on servers alone."""
    return str(request.getfixturevalue(f"{server_name}_graph_url"))


@pytest.fixture
def server_store_url(server_name: str, request: pytest.FixtureRequest) -> str:
    """Return what `store_url` does, on servers alone."""
    return str(request.getfixturevalue(f"{server_name}_store_url"))


@pytest.fixture
def server_database(server_name: str, request: pytest.FixtureRequest) -> str:
    """Return what `empty_url` does, on servers alone."""
    return str(request.getfixturevalue(f"{server_name}_database"))


@pytest.fixture(params=on_each(INNODB))
def innodb_name(request: pytest.FixtureRequest) -> str:
    """Return the name of MySQL, then of MariaDB, so far as they are in the run."""
    return str(request.param)


@pytest.fixture
def innodb_server_url(innodb_name: str, request: pytest.FixtureRequest) -> str:
    """Return the server's URL, without a database."""
    return str(request.getfixturevalue(f"{innodb_name}_server_url"))


@pytest.fixture
def innodb_url(innodb_name: str, request: pytest.FixtureRequest) -> str:
    """Return what `database_url` does, on these two alone."""
    return str(request.getfixturevalue(f"{innodb_name}_url"))


@pytest.fixture
def innodb_graph_url(innodb_name: str, request: pytest.FixtureRequest) -> str:
    """Return what `graph_url` does, on these two alone."""
    return str(request.getfixturevalue(f"{innodb_name}_graph_url"))


@pytest.fixture
def innodb_database(innodb_name: str, request: pytest.FixtureRequest) -> str:
    """Return what `empty_url` does, on these two alone."""
    return str(request.getfixturevalue(f"{innodb_name}_database"))


@pytest.fixture
def sqlite_folder() -> Iterator[Path]:
    """Return a folder for SQLite files, in memory if possible: a disk takes its time to commit."""
    with TemporaryDirectory(prefix="threadlog-sqlite-", dir=folder_in_memory()) as folder:
        yield Path(folder)


@pytest.fixture
def sqlite_url(sqlite_folder: Path) -> str:
    """Return the URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{sqlite_folder}/threadlog.db"


@pytest.fixture
def sqlite_graph_url(sqlite_url: str) -> str:
    """Return the same: the tables are created by the first to open the file."""
    return sqlite_url


@pytest.fixture
def sqlite_store_url(sqlite_url: str) -> str:
    """Return the same."""
    return sqlite_url


@pytest.fixture
def sqlite_database(sqlite_url: str) -> str:
    """Return the same."""
    return sqlite_url


@pytest.fixture
def second_sqlite_url(sqlite_folder: Path) -> str:
    """Return the URL of a second SQLite file that does not exist yet."""
    return f"sqlite:///{sqlite_folder}/second.db"


@pytest.fixture(params=on_each(RING))
def ends(request: pytest.FixtureRequest) -> Ends:
    """Return two empty databases: each kind once as the source, once as the target."""
    return _ends(request, "messages")


@pytest.fixture(params=on_each(PAIRS))
def every_ends(request: pytest.FixtureRequest) -> Ends:
    """Return two empty databases, for each pair of kinds."""
    return _ends(request, "messages")


@pytest.fixture(params=on_each(RING))
def graph_ends(request: pytest.FixtureRequest) -> Ends:
    """Return two databases for the state of graphs, as `ends` does."""
    return _ends(request, "graph")


@pytest.fixture(params=on_each(PAIRS))
def every_graph_ends(request: pytest.FixtureRequest) -> Ends:
    """Return two databases for the state of graphs, as `every_ends` does."""
    return _ends(request, "graph")


@pytest.fixture(params=on_each(RING))
def store_ends(request: pytest.FixtureRequest) -> Ends:
    """Return two databases for the memory store, as `ends` does."""
    return _ends(request, "store")


@pytest.fixture(params=on_each(PAIRS))
def every_store_ends(request: pytest.FixtureRequest) -> Ends:
    """Return two databases for the memory store, as `every_ends` does."""
    return _ends(request, "store")


def _ends(request: pytest.FixtureRequest, part: PartName) -> Ends:
    source, target = request.param
    url = f"{source}_url" if part == "messages" else f"{source}_{part}_url"
    if target == "sqlite":
        second = request.getfixturevalue("second_sqlite_url")
    else:
        shared = request.getfixturevalue(f"second_{target}_shared")
        second = getattr(shared, part).empty()
    return Ends(request.getfixturevalue(url), second)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that are marked ``every_way`` with each way to have a checkpointer."""
    if "checkpointer_way" in metafunc.fixturenames:
        marked = metafunc.definition.get_closest_marker("every_way") is not None
        metafunc.parametrize("checkpointer_way", ways(WAYS) if marked else ["own"])


@pytest.fixture
async def checkpointer(checkpointer_way: str, database_url: str) -> AsyncIterator[Checkpointer]:
    """Open a checkpointer; at the end no connection may be in use."""
    async with WAYS[checkpointer_way](database_url) as opened:
        yield opened


@pytest.fixture
def counted_server_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of the server that the test is on, MySQL's if no fixture names one."""
    named = [name for name in ("server_name", "innodb_name") if name in request.fixturenames]
    name = request.getfixturevalue(named[0]) if named else MYSQL.name
    return str(request.getfixturevalue(f"{name}_server_url"))


@pytest.fixture
async def count(counted_server_url: str) -> AsyncIterator[StatementCount]:
    """Return a count of the statements that the server gets."""
    async with statement_count(counted_server_url) as counting:
        yield counting
