"""PostgreSQL behind a real PgBouncer, which has few sessions and gives them to clients in turn."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from psycopg import connect
from sqlalchemy import Connection, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from tests.databases.test_postgres import opens
from tests.databases.test_session_settings import POSTGRES_DEFAULTS, defaults
from tests.support.commits import kill_connection, lost_commits
from tests.support.databases import engine_for, engines_of
from tests.support.factories import UserFactory
from tests.support.servers.pgbouncer import pgbouncer_command
from tests.support.servers.supervisor import supervised
from threadlog import Checkpointer, SyncCheckpointer, migrating
from threadlog.errors import ConnectionFailedError, ConnectionLostError
from threadlog.langgraph import Saver
from threadlog.persistence import PersistenceSettings, open_persistence

MODES: Final = ("session", "transaction")
SESSIONS: Final = 3

# Processes, because those of one process wait for each other. Written for both drivers.
_SET_UP: Final = """
import asyncio, sys
from threadlog.langgraph import Saver

async def main():
    async with Saver(sys.argv[1]) as saver:
        await saver.setup()

if sys.argv[2] == "plain":
    with Saver(sys.argv[1]) as saver:
        saver.setup()
else:
    asyncio.run(main())
"""


@pytest.fixture(scope="module")
def poolers(postgres_server_url: str) -> Iterator[dict[str, str]]:
    """Yield the URL of a PgBouncer of each mode, without a database."""
    with ExitStack() as stack:
        command = pgbouncer_command()
        urls = {}
        for mode in MODES:
            # A client's next transaction is in another session.
            settings = {"pool_mode": mode, "server_round_robin": "1", "max_client_conn": "200"}
            settings["default_pool_size"] = str(SESSIONS if mode == "transaction" else 60)
            started = supervised(
                "pgbouncer", command=command, server=postgres_server_url, settings=settings
            )
            urls[mode] = stack.enter_context(started)["url"]
        yield urls


@pytest.fixture(params=MODES)
def through(request: pytest.FixtureRequest, poolers: dict[str, str]) -> Callable[[str], str]:
    """Return a function that leads a URL through a pooler of each mode."""
    return lambda url: _through(poolers[request.param], url)


@pytest.fixture
def shared(poolers: dict[str, str]) -> Callable[[str], str]:
    """Return a function that leads a URL through the pooler that changes sessions."""
    return lambda url: _through(poolers["transaction"], url)


def _through(pooler: str, url: str) -> str:
    changed = make_url(pooler).set(database=make_url(url).database)
    return changed.render_as_string(hide_password=False)


def _fill(url: str) -> None:
    """Make a pooler open all of its sessions."""
    with ExitStack() as stack:
        for _ in range(SESSIONS):
            stack.enter_context(connect(url, prepare_threshold=None)).execute("SELECT 1")


def _ask(url: str, query: str) -> set[Any]:
    """Run a query as another client, in each of a pooler's sessions; return all rows."""
    with connect(url, autocommit=True, prepare_threshold=None) as other:
        return {row for _ in range(4 * SESSIONS) for row in other.execute(query)}


async def test_a_log_works_through_a_pooler(
    postgres_url: str, through: Callable[[str], str]
) -> None:
    url = through(postgres_url)
    _fill(url)
    with defaults(postgres_url, POSTGRES_DEFAULTS):
        async with Checkpointer(url) as log:
            said = UserFactory.build_batch(8, run_id=None)
            for message in said:
                await log.append("t", [message])
                assert await log.load("u") is None
            await asyncio.gather(*(log.append(f"t{n}", said) for n in range(20)))
            loaded = await asyncio.gather(*(log.read(f"t{n}") for n in range(20)))
            for stored in (await log.read("t"), *loaded):
                assert [each.message for each in stored] == said
            await log.claim_run("t", "r")
            assert [run.run_id for run in await log.runs("t")] == ["r"]
            await log.save_extra("t", {"a": 1.5})
            page = await log.list_threads(order="recent", limit=15)
            rest = await log.list_threads(order="recent", limit=15, after=page[-1])
            assert len({thread.thread_id for thread in [*page, *rest]}) == 21


def test_a_synchronous_log_works_through_a_pooler(
    postgres_url: str, through: Callable[[str], str]
) -> None:
    url = through(postgres_url)
    _fill(url)
    with defaults(postgres_url, POSTGRES_DEFAULTS), SyncCheckpointer(url) as log:
        said = UserFactory.build_batch(8, run_id=None)
        for message in said:  # psycopg prepares what it sees the sixth time
            log.append("t", [message])
            assert log.load("u") is None
        assert [stored.message for stored in log.read("t")] == said


async def test_migrations_at_once_leave_no_lock_in_a_pooler(
    postgres_database: str, through: Callable[[str], str]
) -> None:
    url = through(postgres_database)
    command = [sys.executable, "-W", "ignore", "-c", _SET_UP, url]
    started = [
        await asyncio.create_subprocess_exec(*command, way, stderr=subprocess.PIPE)
        for way in ("plain", "asyncio")
    ]
    await migrating.upgrade(url)
    for process in started:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    locks = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    assert _ask(url, locks) == {(0,)}
    async with Saver(url) as saver:
        for number in range(8):
            config: Any = {"configurable": {"thread_id": f"t{number}", "checkpoint_ns": ""}}
            await saver.aput(config, empty_checkpoint(), {}, {})
            assert await saver.aget_tuple(config) is not None
        assert len([each async for each in saver.alist(None)]) == 8
    await migrating.downgrade(url)


async def test_an_agent_server_works_through_a_pooler(
    postgres_database: str, through: Callable[[str], str]
) -> None:
    settings = PersistenceSettings(
        checkpointer_scheme="postgresql", checkpointer_uri=through(postgres_database)
    )
    async with open_persistence(settings) as persistence:
        store = persistence.metadata_store
        for _ in range(8):
            name = str(uuid4())
            await store.create_thread(name, metadata={}, config={}, ttl=None, if_exists="raise")
            assert await store.fetch_thread_row(name) is not None


@pytest.mark.parametrize("options", ["", "?prepared_statement_cache_size=0"])
async def test_nothing_of_a_client_stays_in_the_sessions_of_others(
    postgres_url: str, shared: Callable[[str], str], options: str
) -> None:
    url = shared(postgres_url)
    _fill(url)
    names = ("lock_timeout", "plan_cache_mode", "TimeZone", "extra_float_digits", "search_path")
    query = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
    before = _ask(url, query)
    assert len(before) == 1

    def use_plain() -> None:
        with SyncCheckpointer(f"{url}{options}") as log:
            for _ in range(8):
                log.append("u", [UserFactory()])
                log.load("u")

    async with Checkpointer(f"{url}{options}") as log:
        for _ in range(8):
            await log.append("t", [UserFactory()])
            await log.load("t")
        await asyncio.to_thread(use_plain)
        assert _ask(url, query) == before
        assert _ask(url, "SELECT name FROM pg_prepared_statements") == set()


@pytest.mark.parametrize("client", ["asyncio", "plain"])
async def test_each_transaction_has_the_settings(
    postgres_url: str, shared: Callable[[str], str], client: str
) -> None:
    options = r"""-c lock_timeout=7s --search-path=public,"a\\'\ b" """
    url = f"{shared(postgres_url)}?options={quote(options)}"
    names = ("lock_timeout", "TimeZone", "plan_cache_mode", "transaction_isolation", "search_path")
    query = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)

    def ask(connection: Connection) -> set[Any]:
        found = set()
        for _ in range(2 * SESSIONS):
            found.add(tuple(connection.exec_driver_sql(query).one()))
            connection.rollback()
        return found

    def ask_plain() -> set[Any]:
        with SyncCheckpointer(url) as log:
            engines: Any = log.client
            with engines.engine.connect() as one, engines.reading_engine.connect() as two:
                return ask(one) | ask(two)

    if client == "plain":
        found = await asyncio.to_thread(ask_plain)
    else:
        found = set()
        async with Checkpointer(url) as log:
            for engine in engines_of(log):
                async with AsyncEngine(engine).connect() as connection:
                    found |= await connection.run_sync(ask)
    assert found == {("7s", "UTC", "force_custom_plan", "read committed", 'public,"a\\\' b"')}


async def test_a_server_is_not_taken_for_a_pooler(postgres_url: str) -> None:
    """Its sessions keep the settings, prepared statements, and reads without a BEGIN."""

    def look(connection: Connection) -> tuple[bool, int]:
        raw: Any = connection.connection.dbapi_connection
        for _ in range(2):
            connection.exec_driver_sql("SELECT 1")
        prepared = "SELECT COUNT(*) FROM pg_prepared_statements WHERE statement = 'SELECT 1'"
        return raw.autocommit, connection.exec_driver_sql(prepared).scalar_one()

    async with Checkpointer(postgres_url) as log:
        found = []
        for engine in engines_of(log):
            async with AsyncEngine(engine).connect() as connection:
                found.append(await connection.run_sync(look))
        assert found == [(False, 1), (True, 1)]


async def test_a_session_that_ends_behind_a_pooler_loses_no_append(
    postgres_url: str, shared: Callable[[str], str]
) -> None:
    engine = engine_for(postgres_url, isolation_level="AUTOCOMMIT")
    async with Checkpointer(shared(postgres_url)) as log, engine.connect() as other:
        await log.append("t", [UserFactory()])
        writing = engines_of(log)[0]
        for arrives in (False, True):
            with lost_commits(writing, other, arrives=arrives) as killed:
                await log.append("t", [UserFactory()])
            assert len(killed) == 1
        left = [True]

        def kill(uow: Any) -> int:
            pid = uow.connection.scalar(text("SELECT pg_backend_pid()"))
            if left:
                left.clear()
                await_only(kill_connection(other, pid))
            return int(uow.connection.scalar(text("SELECT 1")))

        assert await log.client.read(lambda runner: runner.read(kill)) == 1
        assert [stored.seq for stored in await log.read("t")] == [1, 2, 3]
    await engine.dispose()


@pytest.mark.parametrize(("client", "seconds"), [("asyncio", "0.2"), ("plain", "2")])
async def test_a_pooler_without_a_free_session_is_not_waited_for_without_end(
    postgres_url: str,
    shared: Callable[[str], str],
    client: str,
    seconds: str,
) -> None:
    url = shared(postgres_url)
    with ExitStack() as stack:
        for _ in range(SESSIONS):
            stack.enter_context(connect(url, prepare_threshold=None)).execute("SELECT 1")
        with pytest.raises(ConnectionLostError, match=f"within {seconds} s .connect_timeout"):
            await opens(f"{url}?connect_timeout={seconds}&retry_seconds=0", client)


async def test_a_pooler_that_refuses_a_parameter_is_not_asked_again(
    postgres_url: str, shared: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=4MB")
    with pytest.raises(ConnectionFailedError, match="unsupported startup parameter"):
        SyncCheckpointer(shared(postgres_url)).__enter__()
