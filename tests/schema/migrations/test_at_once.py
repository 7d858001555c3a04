"""Several migrations of processes at once."""

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, event, func, select

from tests.schema.migrations.running import fail, is_mysql, prepare
from tests.support.databases import engine_for
from tests.support.matrix import on_each
from tests.support.processes import COMMAND_LINE, PythonProcess
from tests.support.schemas import differences, opens, tables, version_rows
from threadlog import migrating
from threadlog.databases.mysql import database as mysql
from threadlog.databases.sqlite import SQLiteBackend
from threadlog.errors import CheckpointerLockTimeoutError
from threadlog.models import GRAPH, PARTS, SchemaPart
from threadlog.repositories import UnitOfWork
from threadlog.schema import migrate

_SET_UP = """
import asyncio, sys
from threadlog.graph.client import GraphClient

async def main():
    client = GraphClient(sys.argv[1])
    await client.open()
    await client.setup()
    await client.read(lambda store: None)
    await client.close()

asyncio.run(main())
"""

_SET_UP_ON_A_HOSTS_ENGINE = """
import sys
from sqlalchemy import create_engine, event
from threadlog.graph.client import SyncGraphClient

engine = create_engine(sys.argv[1])
if sys.argv[2] == "BEGIN":  # as SQLAlchemy advises for SQLite
    event.listen(engine, "connect", lambda c, record: setattr(c, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
client = SyncGraphClient(engine=engine)
client.open()
client.setup()
client.read(lambda store: None)
client.close()
engine.dispose()
"""


_IMPORTS = (*COMMAND_LINE, "threadlog.graph.client", "alembic.command", "pymysql", "psycopg")


def _at_once(count: int, *command: str) -> list[tuple[int, str, str]]:
    """Run Python in processes that start together; return each one's status and output."""
    started = [
        PythonProcess(*command, imports=_IMPORTS, environment={"PYTHONWARNINGS": "default"})
        for _ in range(count)
    ]
    outputs = [process.communicate() for process in started]
    return [(p.wait(), *output) for p, output in zip(started, outputs, strict=True)]


@pytest.mark.processes
async def test_processes_may_migrate_at_once(empty_url: str) -> None:
    """Replicas that start together all succeed, and one of them does the work."""
    results = await asyncio.to_thread(_at_once, 4, "-m", "threadlog", "migrate", empty_url)
    assert [(status, error) for status, _, error in results] == [(0, "")] * 4
    for line in (0, 1):
        said = [output.splitlines()[line].split()[0] for _, output, _ in results]
        assert sorted(said) == ["Created", *["Nothing"] * 3]
    for part in PARTS:
        assert await version_rows(empty_url, part) == [part.version]
        assert await differences(empty_url, part) == []
        await opens(empty_url, part)


@pytest.mark.processes
async def test_processes_may_set_up_the_graph_state_at_once(empty_url: str) -> None:
    began = time.perf_counter()
    results = await asyncio.to_thread(_at_once, 4, "-c", _SET_UP, empty_url)
    print(f"four set-ups of the graph state: {time.perf_counter() - began:.1f} s")
    assert results == [(0, "", "")] * 4
    assert await version_rows(empty_url, GRAPH) == [GRAPH.version]
    assert await differences(empty_url, GRAPH) == []
    # Opening a file of a URL makes its tables, which needs no Alembic.
    bookkeeping = set() if empty_url.startswith("sqlite") else {GRAPH.revision_table}
    assert await tables(empty_url) == GRAPH.tables | bookkeeping


@pytest.mark.processes
async def test_processes_may_set_up_on_hosts_engines_at_once(empty_url: str) -> None:
    url = empty_url.replace("postgresql://", "postgresql+psycopg://")
    if is_mysql(empty_url):
        url = f"{empty_url.replace('://', '+pymysql://')}?charset=utf8mb4"
    await _set_up_at_once(empty_url, url, "of the driver")


@pytest.fixture(params=on_each(["sqlite", "postgres"]))
def url_with_ddl_in_transactions(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database of those whose DDL is rolled back."""
    return str(request.getfixturevalue(f"{request.param}_database"))


@pytest.mark.processes
async def test_processes_may_set_up_in_transactions_of_hosts_at_once(
    url_with_ddl_in_transactions: str,
) -> None:
    url = url_with_ddl_in_transactions.replace("postgresql://", "postgresql+psycopg://")
    await _set_up_at_once(url_with_ddl_in_transactions, url, "BEGIN")


async def _set_up_at_once(empty_url: str, url: str, transactions: str) -> None:
    began = time.perf_counter()
    results = await asyncio.to_thread(
        _at_once, 4, "-c", _SET_UP_ON_A_HOSTS_ENGINE, url, transactions
    )
    print(f"four set-ups on hosts' engines: {time.perf_counter() - began:.1f} s")
    assert results == [(0, "", "")] * 4
    assert await version_rows(empty_url, GRAPH) == [GRAPH.version]
    assert await differences(empty_url, GRAPH) == []


@pytest.mark.parametrize("transactions", ["of the driver", "BEGIN"])
def test_a_migration_holds_a_host_s_file_before_it_looks(tmp_path: Path, transactions: str) -> None:
    """The file cannot change after it is inspected, although SQLite would begin by reading."""
    refused: list[str] = []

    class Watched(SQLiteBackend):
        def verify_server(self, uow: UnitOfWork) -> str:
            other = sqlite3.connect(tmp_path / "threads.db", timeout=0)
            with pytest.raises(sqlite3.OperationalError, match="locked") as caught:
                other.execute("BEGIN IMMEDIATE")
            refused.append(str(caught.value))
            other.close()
            return super().verify_server(uow)

    engine = create_engine(f"sqlite:///{tmp_path}/threads.db")
    if transactions == "BEGIN":
        event.listen(engine, "connect", lambda c, record: setattr(c, "isolation_level", None))
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with engine.connect() as connection:
        assert migrate.upgrade_on(connection, Watched(), GRAPH, time.sleep) == "created"
    engine.dispose()
    assert refused == ["database is locked"]


async def test_a_migration_waits_for_another_only_so_long(
    innodb_database: str, monkeypatch: pytest.MonkeyPatch, part: SchemaPart
) -> None:
    await prepare(innodb_database, part)
    monkeypatch.setattr(mysql, "_MIGRATION_SECONDS", 1)
    engine = engine_for(innodb_database)
    async with engine.connect() as other:
        held = await other.scalar(select(func.get_lock(mysql._lock_name(engine.url), 0)))
        with pytest.raises(CheckpointerLockTimeoutError, match="Another migration"):
            await migrating.upgrade(innodb_database, part=part.name)
    await engine.dispose()
    assert held == 1
    assert await tables(innodb_database, part) == set()
    done = await migrating.upgrade(innodb_database, part=part.name)
    assert done == {part.name: "created"}


async def test_the_lock_is_given_back(innodb_database: str) -> None:
    engine = engine_for(innodb_database)
    lock = mysql.MySQLBackend().migration_lock

    def work(connection: Connection) -> None:
        with lock(connection):
            assert _is_held(connection)
            assert not connection.in_transaction()
        with pytest.raises(RuntimeError, match="broke off"), lock(connection):
            fail()
        assert not _is_held(connection)

    async with engine.connect() as connection:
        await connection.run_sync(work)
    await engine.dispose()


def _is_held(connection: Connection) -> bool:
    """Return True if a connection holds the lock of its database's migrations."""
    name = mysql._lock_name(connection.engine.url)
    holds = select(func.is_used_lock(name) == func.connection_id())
    held = connection.scalar(holds)
    connection.rollback()
    return bool(held)
