"""Tests of PostgreSQL's own snapshots, locks, JSONB, options, errors and servers."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, event, make_url, text, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from tests.support.databases import engine_for, engines_of, execute, on_connection
from tests.support.factories import UserFactory
from tests.support.patience import patience
from tests.support.plans import recorded
from tests.support.servers.product import HOST
from tests.support.ways import host_engine, sync_host_engine
from threadlog import Checkpointer, MessageLog, PostgresCheckpointer, SyncCheckpointer
from threadlog.databases.base import PoolSize
from threadlog.databases.postgres.database import PostgresBackend
from threadlog.databases.postgres.errors import ends_session
from threadlog.databases.urls import parse_url
from threadlog.errors import (
    CheckpointerLockTimeoutError,
    ColumnTooShortError,
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    DeadlockError,
    NoPrimaryError,
    NotWritableError,
    ServerUnreachableError,
    StatementTimeoutError,
    StorageError,
    TooManyConnectionsError,
    UnsupportedServerError,
)
from threadlog.models import GRAPH, MESSAGES, Message, Thread
from threadlog.models.dialects.locking import lock_thread
from threadlog.runtime.client import EngineClient
from threadlog.runtime.sync_client import SyncEngineClient

BOTH = pytest.mark.parametrize("client", ["asyncio", "plain"])


def with_options(url: str, **options: str) -> str:
    """Add options to a URL."""
    changed = make_url(url).update_query_dict(options)
    return changed.render_as_string(hide_password=False)


async def opens(url: str, client: str) -> None:
    """Open a checkpointer on a URL and use it; raises what that raises."""
    if client == "asyncio":
        async with Checkpointer(url) as checkpointer:
            await checkpointer.append("t", [UserFactory()])
            assert await checkpointer.load("t") is not None
        return

    def use() -> None:
        with SyncCheckpointer(url) as checkpointer:
            checkpointer.append("t", [UserFactory()])
            assert checkpointer.load("t") is not None

    await asyncio.to_thread(use)


async def seqs(url: str) -> list[int]:
    """Return the seqs of the thread."""
    async with Checkpointer(url) as checkpointer:
        return [stored.seq for stored in await checkpointer.read("t")]


# --- Snapshots ---------------------------------------------------------------------


async def test_one_statement_would_read_a_snapshot_older_than_its_lock(postgres_url: str) -> None:
    one = text(
        "SELECT (SELECT MAX(seq) FROM cubepi_messages m WHERE m.thread_id = 't') "
        "FROM cubepi_threads WHERE thread_id = 't' FOR UPDATE"
    )
    async with Checkpointer(postgres_url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        engine = host_engine(postgres_url)
        async with AsyncSession(engine) as session, engine.connect() as waiting:
            await checkpointer.bind(session).append("t", [UserFactory()])
            reading = asyncio.create_task(waiting.scalar(one))
            await until_somebody_waits(postgres_url)
            await session.commit()
            assert await reading == 1
        await engine.dispose()
    assert await seqs(postgres_url) == [1, 2]


@pytest.mark.parametrize("count", [1, 2])
async def test_an_append_that_waited_sees_what_was_appended(postgres_url: str, count: int) -> None:
    engine = host_engine(postgres_url)
    async with Checkpointer(postgres_url) as checkpointer, AsyncSession(engine) as session:
        await checkpointer.append("t", [UserFactory()])
        await checkpointer.bind(session).append("t", UserFactory.build_batch(2))
        waiting = asyncio.create_task(checkpointer.append("t", UserFactory.build_batch(count)))
        await until_somebody_waits(postgres_url)
        await session.commit()
        await waiting
    await engine.dispose()
    assert await seqs(postgres_url) == list(range(1, 4 + count))


async def test_an_append_of_several_messages_tries_the_lock_once(postgres_url: str) -> None:
    """A lock that is released between two tries would let a part of the messages in."""
    async with Checkpointer(postgres_url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        with recorded(engines_of(checkpointer)) as sent:
            await checkpointer.append("t", UserFactory.build_batch(3))
    statement, parameters = next(one for one in sent if "INSERT" in one[0])
    explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
    plan = str(
        await on_connection(
            postgres_url, lambda c: c.exec_driver_sql(explained, parameters).scalar_one()
        )
    )
    tries = re.findall(r"'Subplan Name': 'CTE first', .*?'Actual Loops': (\d+)", plan)
    assert tries == ["1"]
    assert plan.count("pg_try_advisory_xact_lock") == 1


async def until_somebody_waits(url: str) -> None:
    """Wait until a session of the database waits for a lock."""
    query = text(
        "SELECT COUNT(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with patience():
        while not await on_connection(url, lambda c: c.scalar(query)):  # noqa: ASYNC110 - another's
            await asyncio.sleep(0.02)


@pytest.fixture(params=["REPEATABLE READ", "SERIALIZABLE"])
async def snapshots(
    request: pytest.FixtureRequest, postgres_url: str
) -> AsyncIterator[AsyncEngine]:
    """Yield an application's engine whose transactions each have one snapshot."""
    engine = host_engine(postgres_url, isolation_level=request.param)
    yield engine
    await engine.dispose()


Verb = Callable[[MessageLog], Awaitable[Any]]

# What others commit after the snapshot was taken, and what must not be done by it.
NEEDS_TOUCH: dict[str, tuple[Verb, Verb]] = {
    "an append": (
        lambda c: c.append("t", [UserFactory()]),
        lambda c: c.append("t", [UserFactory()]),
    ),
    "a first append": (
        lambda c: c.append("new", [UserFactory()]),
        lambda c: c.append("new", [UserFactory()]),
    ),
    "an append to a completed run": (
        lambda c: c.mark_run_complete("t", "a"),
        lambda c: c.append("t", [UserFactory(run_id="a")]),
    ),
    "a claim": (lambda c: c.claim_run("t", "r"), lambda c: c.claim_run("t", "r")),
    "a completion": (
        lambda c: c.mark_run_complete("t", "a"),
        lambda c: c.mark_run_complete("t", "b"),
    ),
    "a fork": (
        lambda c: c.mark_run_complete("t", "a"),
        lambda c: c.fork("t", "f", after_run_id="done"),
    ),
    "extra": (lambda c: c.save_extra("t", {"a": 1}), lambda c: c.save_extra("t", {"b": 1})),
    "a deletion": (lambda c: c.delete_thread("t"), lambda c: c.append("t", [UserFactory()])),
}


@pytest.mark.parametrize(("others", "ours"), NEEDS_TOUCH.values(), ids=NEEDS_TOUCH)
async def test_an_old_snapshot_is_refused_and_never_believed(
    postgres_url: str, snapshots: AsyncEngine, others: Verb, ours: Verb
) -> None:
    async with Checkpointer(postgres_url) as other, Checkpointer(engine=snapshots) as checkpointer:
        await other.append("t", [UserFactory()])
        for run_id in ("done", "a", "b"):
            await other.claim_run("t", run_id)
        await other.mark_run_complete("t", "done")
        async with AsyncSession(snapshots) as session:
            await session.execute(text("SELECT COUNT(*) FROM cubepi_threads"))
            await others(other)
            with pytest.raises(DeadlockError) as caught:
                await ours(checkpointer.bind(session))
            assert caught.value.retryable
            await session.rollback()
            try:
                await ours(checkpointer.bind(session))
            except StorageError:
                raise
            except Exception:  # noqa: BLE001 - such as that the run is claimed: it is seen now
                await session.rollback()
            await session.commit()
        places = [run.completion_seq for run in await other.runs("t") if run.completion_seq]
        assert sorted(places) == list(range(1, len(places) + 1))
        read = [stored.seq for stored in await other.read("t")]
        assert read == list(range(1, len(read) + 1))


# --- Tables ------------------------------------------------------------------------


async def explained(url: str, statement: str) -> str:
    """Return the plan of a statement, without sequential scans if they can be avoided."""

    def explain(connection: Connection) -> str:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        rows = connection.exec_driver_sql(f"EXPLAIN {statement}")
        return "\n".join(row[0] for row in rows)

    return await on_connection(url, explain)


async def test_a_thread_is_in_one_partition(postgres_url: str) -> None:
    where = "FROM cubepi_messages WHERE thread_id = CAST('t' AS VARCHAR)"
    for columns in ("payload", "MAX(seq)"):
        plan = await explained(postgres_url, f"SELECT {columns} {where}")
        assert len(set(re.findall(r"cubepi_messages_p\d\d", plan))) == 1
        assert "Seq Scan" not in plan


async def test_a_table_of_the_frameworks_is_searched_by_its_index(postgres_database: str) -> None:
    """Our parameters bring no collation that the framework's columns have not."""
    await execute(
        postgres_database,
        "CREATE TABLE cubepi_threads (thread_id TEXT PRIMARY KEY, updated_at TIMESTAMPTZ)",
    )
    engine = engine_for(postgres_database)
    sent: list[str] = []
    event.listen(
        engine.sync_engine, "before_cursor_execute", lambda c, cur, sql, *rest: sent.append(sql)
    )

    def look(connection: Connection) -> None:
        key = Thread.thread_id.type
        lock = lock_thread(
            Thread.metadata.tables["cubepi_threads"], bindparam("t", type_=key), "postgresql"
        )
        connection.execute(lock, {"t": "t"})

    async with engine.begin() as connection:
        await connection.run_sync(look)
    await engine.dispose()
    assert "COLLATE" not in sent[-1]
    plan = await explained(postgres_database, sent[-1].replace("$1", "'t'"))
    assert "Index Scan using cubepi_threads_pkey" in plan


async def test_metadata_are_found_by_their_index(postgres_url: str) -> None:
    async with Checkpointer(postgres_url) as checkpointer:
        for number in range(3):
            await checkpointer.append("t", [UserFactory(metadata={"user": f"u{number}"})])
    wanted = type_coerce(Message.metadata_, JSONB).contains({"user": "u1"})

    def query(connection: Connection) -> list[int]:
        with Session(connection) as session:
            return [message.seq for message in session.query(Message).where(wanted)]

    assert await on_connection(postgres_url, query) == [2]
    plan = await explained(
        postgres_url, """SELECT seq FROM cubepi_messages WHERE metadata @> '{"user": "u1"}'"""
    )
    assert "Bitmap Index Scan" in plan
    assert "Seq Scan" not in plan


async def test_what_belongs_to_a_thread_goes_with_it(postgres_url: str) -> None:
    async with Checkpointer(postgres_url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        await checkpointer.claim_run("t", "r")
        await checkpointer.save_hitl_answer("t", "q", 1)
        await execute(postgres_url, "DELETE FROM cubepi_threads")
        assert await checkpointer.read("t") == []
        assert await checkpointer.runs("t") == []
        assert await checkpointer.load_hitl_answer("t", "q") is None
        with pytest.raises(DBAPIError, match="foreign key"):
            await execute(postgres_url, "INSERT INTO cubepi_runs VALUES ('nobody', 'r')")


async def test_floats_stay_floats(postgres_url: str) -> None:
    floats = [1e16, 1e22, 1e23, 1.7976931348623157e308, 5e-324, -1e300, 0.1, 1.0]
    extra = {"f": floats, "nested": [{"e+": 1e23}], "text": "1e+23", "int": 10**18}
    async with Checkpointer(postgres_url) as checkpointer:
        await checkpointer.save_extra("t", {**extra, "zero": -0.0})
        data = await checkpointer.load("t")
        assert data is not None
        stored = data.extra
        assert repr(stored.pop("zero")) == "0.0"
        assert stored == extra
        assert [type(value) for value in stored["f"]] == [float] * len(floats)


# --- URLs --------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
async def test_both_names_of_the_scheme(postgres_url: str, scheme: str, client: str) -> None:
    await opens(f"{scheme}:{postgres_url.partition(':')[2]}", client)


async def test_only_statements_on_partitions_are_planned_each_time(postgres_url: str) -> None:
    """A generic plan of a partitioned table locks all partitions; planning costs 0.25 ms."""
    query = text("SELECT current_setting('plan_cache_mode')")
    expected = ((MESSAGES, "force_custom_plan"), (GRAPH, "auto"))
    for part, mode in expected:
        client = EngineClient(parse_url(postgres_url), PoolSize(1, 3), part)
        plain = SyncEngineClient(parse_url(postgres_url), PoolSize(1, 3), part)
        await client.open()
        plain.open()
        for engine in (client.engine, client.reading_engine):
            assert engine is not None
            async with AsyncEngine(engine).connect() as connection:
                assert await connection.scalar(query) == mode
        for engine in (plain.engine, plain.reading_engine):
            assert engine is not None
            with engine.connect() as opened:
                assert opened.scalar(query) == mode
        plain.close()
        await client.close()


@BOTH
async def test_options_of_the_session(postgres_url: str, client: str) -> None:
    url = with_options(postgres_url, options="-c lock_timeout=7s", application_name="here")
    query = text(
        "SELECT current_setting('lock_timeout'), current_setting('TimeZone'), "
        "current_setting('application_name')"
    )
    if client == "asyncio":
        async with Checkpointer(url) as checkpointer, AsyncExitStack() as stack:
            opened = await stack.enter_async_context(
                AsyncEngine(engines_of(checkpointer)[0]).connect()
            )
            found = (await opened.execute(query)).one()
    else:
        with SyncCheckpointer(url) as plain, ExitStack() as plain_stack:
            sessions: Any = plain.client
            found = plain_stack.enter_context(sessions.engine.connect()).execute(query).one()
    assert tuple(found) == ("7s", "UTC", "here")


@BOTH
async def test_without_prepared_statements(postgres_url: str, client: str) -> None:
    """None stays behind on the server, for poolers that change sessions."""
    url = with_options(postgres_url, prepared_statement_cache_size="0")
    for _ in range(7):  # psycopg prepares what it sees the sixth time
        await opens(url, client)
    async with Checkpointer(url) as checkpointer:
        for _ in range(7):
            await checkpointer.append("t", [UserFactory()])
        async with AsyncEngine(engines_of(checkpointer)[0]).connect() as connection:
            count = text(
                "SELECT COUNT(*) FROM pg_prepared_statements WHERE statement LIKE 'INSERT%'"
            )
            await connection.execute(text("SELECT 1"))
            assert await connection.scalar(count) == 0


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:secret@h", "names no database"),
        ("postgresql://u:secret@h/d?charset=utf8", "charset"),
        ("postgresql://u:secret@h/d?sslmode=maybe", "sslmode"),
        ("postgresql://u:secret@h/d?sslrootcert=nowhere.pem", "sslrootcert"),
        ("postgresql://u:secret@h/d?options=lock_timeout=1s", "-c name=value"),
        ("postgresql+nosql://u:secret@h/d", "'nosql' is not supported in URLs"),
        ("postgresql://u:secret@h1,h 2/d", "hosts"),
    ],
)
async def test_urls_that_cannot_be_used(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Checkpointer(url)
    assert "secret" not in str(caught.value)


async def test_a_checkpointer_of_postgresql_alone(postgres_url: str) -> None:
    async with PostgresCheckpointer(postgres_url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
    with pytest.raises(ConfigurationError, match="PostgresCheckpointer takes postgresql://"):
        PostgresCheckpointer("mysql://u@h/d")


# --- Servers -----------------------------------------------------------------------


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Yield a port without a listener."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        yield taken.getsockname()[1]


def of_hosts(url: str, *ports: int | None) -> str:
    """Return a URL of several hosts."""
    parsed = make_url(url)
    hosts = ",".join(f"{HOST}:{port}" for port in ports)
    user = f"{parsed.username}:{parsed.password}" if parsed.password else parsed.username
    return f"postgresql://{user}@{hosts}/{parsed.database}"


@BOTH
async def test_the_one_of_several_hosts_that_answers(
    postgres_url: str, closed_port: int, client: str
) -> None:
    """A host that is down is skipped."""
    await opens(of_hosts(postgres_url, closed_port, make_url(postgres_url).port), client)


@BOTH
async def test_hosts_that_take_no_writes(postgres_database: str, client: str) -> None:
    name = make_url(postgres_database).database
    setting = f"ALTER DATABASE {name} SET default_transaction_read_only = on"
    await execute(postgres_database, setting)
    port = make_url(postgres_database).port
    with pytest.raises(NoPrimaryError):
        await opens(f"{of_hosts(postgres_database, port, port)}?retry_seconds=0.2", client)


@asynccontextmanager
async def other_connection(url: str, level: str = "AUTOCOMMIT") -> AsyncIterator[AsyncConnection]:
    """Yield another application's connection."""
    engine = engine_for(url, isolation_level=level)
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


async def test_a_server_that_becomes_read_only_is_given_up(postgres_url: str) -> None:
    """Its connections are not used again, and the next one is."""
    async with Checkpointer(postgres_url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        left = [2]

        def demote(connection: Connection) -> None:
            if left[0]:
                left[0] -= 1
                connection.exec_driver_sql("SET TRANSACTION READ ONLY")

        engine = engines_of(checkpointer)[0]
        faults: list[BaseException] = []
        event.listen(engine, "begin", demote)
        event.listen(engine, "handle_error", lambda c: faults.append(c.original_exception))
        await checkpointer.append("t", [UserFactory()])
        assert len(faults) == 2
        assert [stored.seq for stored in await checkpointer.read("t")] == [1, 2]


async def test_killed_connections_are_replaced(postgres_url: str) -> None:
    """The next calls work without a restart, and a call under way is run again."""
    kill = text(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE :what"
    )
    async with Checkpointer(postgres_url) as checkpointer, other_connection(postgres_url) as other:
        await asyncio.gather(*(checkpointer.append(f"t{n}", [UserFactory()]) for n in range(9)))
        await other.execute(kill, {"what": "%"})
        await asyncio.gather(*(checkpointer.append("t", [UserFactory()]) for _ in range(9)))
        async with other_connection(postgres_url, "READ COMMITTED") as lock:
            await lock.execute(text("SELECT 1 FROM cubepi_threads FOR UPDATE"))
            append = asyncio.create_task(checkpointer.append("t", UserFactory.build_batch(2)))
            await until_somebody_waits(postgres_url)
            await other.execute(kill, {"what": "SELECT cubepi_threads.thread_id%FOR UPDATE%"})
            await until_somebody_waits(postgres_url)
            await lock.rollback()
        await append
        assert [stored.seq for stored in await checkpointer.read("t")] == list(range(1, 12))


async def test_a_lock_timeout_is_run_again(postgres_url: str) -> None:
    url = with_options(postgres_url, options="-c lock_timeout=100ms")
    async with (
        Checkpointer(url) as checkpointer,
        other_connection(postgres_url, "READ COMMITTED") as lock,
    ):
        await checkpointer.append("t", [UserFactory()])
        seen = asyncio.Event()
        faults: list[Any] = []

        def note(context: Any) -> None:
            faults.append(context.original_exception)
            seen.set()

        event.listen(engines_of(checkpointer)[0], "handle_error", note)
        await lock.execute(text("SELECT 1 FROM cubepi_threads FOR UPDATE"))
        append = asyncio.create_task(checkpointer.append("t", [UserFactory()]))
        await asyncio.wait_for(seen.wait(), 10)
        await lock.rollback()
        await append
        assert faults[0].sqlstate == "55P03"
        assert len(await checkpointer.read("t")) == 2


async def test_a_deadlock_is_run_again(postgres_url: str) -> None:
    async with Checkpointer(postgres_url) as checkpointer, other_connection(postgres_url) as other:
        await checkpointer.append("parent", [UserFactory()])
        await other.execute(
            text("INSERT INTO cubepi_threads (thread_id, parent_thread_id) VALUES ('f', 'parent')")
        )
        lock = "SELECT 1 FROM cubepi_threads WHERE thread_id = '{}' FOR UPDATE"
        async with other_connection(postgres_url, "READ COMMITTED") as heavy:
            # The one that waits longest looks for a deadlock first, and gives way.
            await heavy.execute(text("SET deadlock_timeout = '60s'"))
            await heavy.execute(text(lock.format("f")))
            delete = asyncio.create_task(checkpointer.delete_thread("parent", detach_forks=True))
            await until_somebody_waits(postgres_url)
            await heavy.execute(text(lock.format("parent")))
            await heavy.rollback()
        assert await delete is True
        assert [t.parent_thread_id for t in await checkpointer.list_threads()] == [None]


class DriverError(Exception):
    """An error as a driver raises it."""

    def __init__(self, words: str, sqlstate: str | None = None) -> None:
        super().__init__(words)
        self.sqlstate = sqlstate


def wrapped(
    words: str, code: str | None = None, *, lost: bool = False, statement: str = "statement"
) -> OperationalError:
    """Wrap a driver's error as SQLAlchemy does."""
    error = DriverError(words, code)
    return OperationalError(statement, {}, error, connection_invalidated=lost)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (wrapped("serialize", "40001"), DeadlockError),
        (wrapped("deadlock", "40P01"), DeadlockError),
        (wrapped("duplicate", "23505"), StorageError),
        (wrapped("duplicate", "23505", statement="INSERT INTO cubepi_messages (x"), DeadlockError),
        (wrapped("duplicate", "23505", statement="INSERT INTO cubepi_messages2"), StorageError),
        (wrapped("lock timeout", "55P03"), CheckpointerLockTimeoutError),
        (wrapped("statement timeout", "57014"), StatementTimeoutError),
        (wrapped("no answer within 1 s (read_timeout)", "08003"), StatementTimeoutError),
        (wrapped("read-only", "25006", lost=True), NotWritableError),
        (wrapped("administrator", "57P01", lost=True), ConnectionLostError),
        (wrapped("crash", "57P02"), ConnectionLostError),
        (wrapped("starting up", "57P03"), ConnectionLostError),
        (wrapped("too many", "53300"), TooManyConnectionsError),
        (wrapped("closed", "08006"), ConnectionLostError),
        (wrapped("server conn crashed?", "08P01", lost=True), ConnectionLostError),
        (wrapped("no such database: x", "08P01", lost=True), ConnectionFailedError),
        (wrapped("connection refused"), ConnectionLostError),
        (wrapped("password authentication failed"), ConnectionFailedError),
        (wrapped('database "x" does not exist'), ConnectionFailedError),
        (wrapped("password", "28P01"), ConnectionFailedError),
        (wrapped("no database", "3D000"), ConnectionFailedError),
        (wrapped("too long", "22001"), ColumnTooShortError),
        (wrapped("index row", "54000"), StorageError),
        (wrapped("privilege", "42501"), StorageError),
    ],
)
def test_errors_are_distinguished(error: OperationalError, kind: type[StorageError]) -> None:
    assert PostgresBackend().error_type(error) is kind


def test_an_error_of_a_pooler_ends_the_connection() -> None:
    """Else a COMMIT whose session was lost behind it would count as refused by the server."""
    assert ends_session(DriverError("server conn crashed?", "08P01"))
    assert not ends_session(DriverError("deadlock", "40P01"))


@BOTH
@pytest.mark.parametrize("wrong", ["database", "port"])
async def test_a_server_that_lets_nobody_in(
    postgres_url: str, closed_port: int, wrong: str, client: str
) -> None:
    url = make_url(postgres_url).update_query_dict({"retry_seconds": "0.2"})
    url = url.set(database="nowhere") if wrong == "database" else url.set(port=closed_port)
    kind = ConnectionFailedError if wrong == "database" else ServerUnreachableError
    with pytest.raises(kind):
        await opens(url.render_as_string(hide_password=False), client)


async def test_errors_contain_no_values_of_a_row(postgres_url: str) -> None:
    """PostgreSQL's details quote the row."""
    await execute(postgres_url, "ALTER TABLE cubepi_messages ADD CHECK (seq > 1)")

    def use() -> None:
        with SyncCheckpointer(postgres_url) as plain:
            plain.append("t", [UserFactory(metadata={"secret": "what was said"})])

    async with Checkpointer(postgres_url) as checkpointer:
        for work in (
            checkpointer.append("t", [UserFactory(metadata={"secret": "what was said"})]),
            asyncio.to_thread(use),
        ):
            with pytest.raises(StorageError, match="check constraint") as caught:
                await work
            assert "what was said" not in str(caught.value)


# --- What is refused ---------------------------------------------------------------


async def test_a_hosts_engine_that_commits_by_itself_is_refused(postgres_url: str) -> None:
    """The server's answer alone decides, with every driver."""
    engine = host_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
        async with Checkpointer(engine=engine):
            pass
    await engine.dispose()


def test_a_hosts_engine_of_another_encoding_is_refused(postgres_url: str) -> None:
    engine = sync_host_engine(postgres_url, connect_args={"client_encoding": "latin1"})
    with pytest.raises(ConfigurationError, match="LATIN1"), SyncCheckpointer(engine=engine):
        pass
    engine.dispose()


async def test_a_database_of_another_encoding_is_refused(postgres_database: str) -> None:
    """Not every message could be kept in it."""
    name = f"{make_url(postgres_database).database}_latin1"
    async with other_connection(postgres_database) as other:
        await other.execute(
            text(
                f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' "
                "TEMPLATE template0"
            )
        )
        try:
            url = make_url(postgres_database).set(database=name)
            with pytest.raises(UnsupportedServerError, match="LATIN1"):
                await opens(url.render_as_string(hide_password=False), "asyncio")
        finally:
            await other.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


async def test_migrations_keep_out_of_each_others_way(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threadlog.databases.postgres.database._MIGRATION_SECONDS", 1)
    engine = sync_host_engine(postgres_url)
    backend = PostgresBackend()

    def migrate() -> None:
        with engine.connect() as one, engine.connect() as two:
            with one.begin():
                backend.begin_migration(one)
                with pytest.raises(CheckpointerLockTimeoutError), two.begin():
                    backend.begin_migration(two)
            with two.begin():
                backend.begin_migration(two)

    await asyncio.to_thread(migrate)
    engine.dispose()
