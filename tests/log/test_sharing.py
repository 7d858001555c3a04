"""Sharing an application's engine, session factory and session."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import ForeignKey, event, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from tests.support.databases import lasting_snapshots
from tests.support.factories import UserFactory
from tests.support.ways import ensure_schema, host_engine, sync_host_engine
from threadlog import Checkpointer, MessageLog, MySQLCheckpointer, SyncCheckpointer
from threadlog.errors import (
    CheckpointerLockTimeoutError,
    ConfigurationError,
    CubepiSchemaUninitialized,
    DeadlockError,
    InvalidMessageError,
    NotOpenError,
    RunAlreadyClaimedError,
)
from threadlog.messages import TextContent
from threadlog.models import Run
from threadlog.models import Thread as ThreadRow
from threadlog.runtime.sync_client import SyncEngineClient

NO_ESCAPES = "STRICT_TRANS_TABLES,NO_BACKSLASH_ESCAPES"


class Base(DeclarativeBase):
    """The application's own tables."""


class Order(Base):
    """A row that the application stores beside the conversation."""

    __tablename__ = "test_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    thread_id: Mapped[str | None] = mapped_column(ForeignKey(ThreadRow.thread_id))


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Yield the application's engine and table; check that all connections were returned."""
    await ensure_schema(database_url)
    hosts = host_engine(database_url)
    async with hosts.begin() as connection:
        await connection.run_sync(Base.metadata.tables["test_orders"].create)
    yield hosts
    async with hosts.begin() as connection:
        await connection.run_sync(Base.metadata.tables["test_orders"].drop)
    assert "Current Checked out connections: 0" in hosts.pool.status()
    await hosts.dispose()


@pytest.fixture
async def checkpointer(engine: AsyncEngine) -> AsyncIterator[Checkpointer]:
    """Yield a checkpointer on the application's engine."""
    async with Checkpointer(engine=engine) as opened:
        yield opened


async def counts(engine: AsyncEngine) -> tuple[int, int]:
    """Count orders and messages as a new transaction sees them."""
    async with engine.connect() as connection:
        tables = ("test_orders", "cubepi_messages")
        found = [
            (await connection.execute(text(f"SELECT COUNT(*) FROM {table}"))).scalar_one()
            for table in tables
        ]
    return found[0], found[1]


# --- One transaction ---------------------------------------------------------------


@pytest.mark.parametrize("expire_on_commit", [True, False])
@pytest.mark.parametrize("autoflush", [True, False])
async def test_order_and_message_are_kept_or_neither(
    engine: AsyncEngine,
    checkpointer: Checkpointer,
    autoflush: bool,  # noqa: FBT001 - an option of the host's session
    expire_on_commit: bool,  # noqa: FBT001 - likewise
) -> None:
    """The application's commit or rollback decides, with any options of its session."""
    factory = async_sessionmaker(engine, autoflush=autoflush, expire_on_commit=expire_on_commit)
    async with factory() as session:
        session.add(Order(id=1))
        await checkpointer.bind(session).append("t", UserFactory.build_batch(2))
        await session.flush()
        await session.rollback()
    assert await counts(engine) == (0, 0)
    async with factory() as session:
        order = Order(id=1)
        session.add(order)
        await checkpointer.bind(session).append("t", UserFactory.build_batch(2))
        assert order in session.new, "the host's object was flushed"
        assert await counts(engine) == (0, 0)
        order.thread_id = "t"
        await session.commit()
    assert await counts(engine) == (1, 2)


async def test_a_savepoint_of_the_hosts_takes_back_what_came_after_it(
    engine: AsyncEngine, checkpointer: Checkpointer
) -> None:
    async with AsyncSession(engine) as session:
        bound = checkpointer.bind(session)
        await bound.append("t", [UserFactory()])
        savepoint = await session.begin_nested()
        await bound.append("t", UserFactory.build_batch(3))
        await bound.claim_run("t", "r")
        await savepoint.rollback()
        async with session.begin_nested():
            await bound.append("t", UserFactory.build_batch(2))
        await session.commit()
    assert [s.seq for s in await checkpointer.read("t")] == [1, 2, 3]
    assert await checkpointer.runs("t") == []


async def test_a_bound_checkpointer_sees_what_its_transaction_wrote(
    engine: AsyncEngine, checkpointer: Checkpointer
) -> None:
    async with AsyncSession(engine) as session:
        bound = checkpointer.bind(session)
        await bound.claim_run("t", "r")
        await bound.append("t", [UserFactory(run_id="r")])
        await bound.save_extra("t", {"a": 1})
        await bound.save_hitl_answer("t", "q", "yes")
        await bound.mark_run_complete("t", "r")
        await bound.fork("t", "f", after_run_id="r")
        assert len(await bound.read("f")) == 1
        assert [s.seq async for s in bound.stream("t")] == [1]
        assert [thread.thread_id for thread in await bound.list_threads()] == ["f", "t"]
        assert await bound.load_hitl_answer("t", "q") == "yes"
        assert await counts(engine) == (0, 0)
        await session.commit()
    assert len(await checkpointer.read("f")) == 1


async def test_refused_input_leaves_the_hosts_transaction_as_it_was(
    engine: AsyncEngine, checkpointer: Checkpointer
) -> None:
    """An error that is not the database's does not end the application's transaction."""
    spoilt = UserFactory(content=[TextContent(text="\ud800")])
    async with AsyncSession(engine) as session:
        bound = checkpointer.bind(session)
        await bound.claim_run("t", "r")
        with pytest.raises(InvalidMessageError):
            await bound.append("t", [UserFactory(), spoilt])
        with pytest.raises(RunAlreadyClaimedError):
            await bound.claim_run("t", "r")
        await bound.append("t", [UserFactory()])
        await session.commit()
    assert [s.seq for s in await checkpointer.read("t")] == [1]


# --- MySQL's locks and levels ------------------------------------------------------


@pytest.fixture(params=["REPEATABLE READ", "READ COMMITTED"])
async def levelled(request: pytest.FixtureRequest, innodb_url: str) -> AsyncIterator[AsyncEngine]:
    """Yield an application's engine on MySQL, or on MariaDB as before 11.6, at one level."""
    hosts = host_engine(innodb_url, isolation_level=request.param, **lasting_snapshots(innodb_url))
    yield hosts
    await hosts.dispose()


async def test_an_old_snapshot_hides_nothing_from_an_append(levelled: AsyncEngine) -> None:
    async with Checkpointer(engine=levelled) as checkpointer, AsyncSession(levelled) as session:
        await checkpointer.append("t", [UserFactory()])
        assert (await session.execute(select(func.count()).select_from(Run))).scalar_one() == 0
        await checkpointer.append("t", UserFactory.build_batch(2))
        bound = checkpointer.bind(session)
        await bound.append("t", UserFactory.build_batch(2))
        await bound.append("new", [UserFactory()])
        await session.commit()
        assert [s.seq for s in await checkpointer.read("t")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("first_commits_first", [True, False])
async def test_two_hosts_append_to_one_thread(
    levelled: AsyncEngine,
    first_commits_first: bool,  # noqa: FBT001 - the order is what is varied
) -> None:
    """The second waits for the first's commit, or goes on after its rollback."""
    async with Checkpointer(engine=levelled) as checkpointer:
        async with AsyncSession(levelled) as first, AsyncSession(levelled) as second:
            await checkpointer.bind(first).append("t", UserFactory.build_batch(2))
            waiting = asyncio.create_task(
                checkpointer.bind(second).append("t", UserFactory.build_batch(3))
            )
            await asyncio.sleep(0.2)
            assert not waiting.done()
            await (first.commit() if first_commits_first else first.rollback())
            await waiting
            await second.commit()
        length = 5 if first_commits_first else 3
        assert [s.seq for s in await checkpointer.read("t")] == list(range(1, length + 1))


async def test_a_deadlock_says_that_the_whole_transaction_is_to_be_run_again(
    levelled: AsyncEngine,
) -> None:
    async with Checkpointer(engine=levelled) as checkpointer:
        await checkpointer.append("a", [UserFactory()])
        await checkpointer.append("b", [UserFactory()])

        async def host(first: str, second: str, turn: asyncio.Barrier) -> bool:
            async with AsyncSession(levelled) as session:
                bound = checkpointer.bind(session)
                await bound.append(first, [UserFactory()])
                await turn.wait()
                try:
                    await bound.append(second, [UserFactory()])
                except DeadlockError as error:
                    advice.append(str(error))
                    await session.rollback()
                    return error.retryable is False
                await session.commit()
                return True

        advice: list[str] = []
        turn = asyncio.Barrier(2)
        outcomes = await asyncio.gather(host("a", "b", turn), host("b", "a", turn))
        assert sorted(outcomes) == [False, True]
        assert "Roll back and run the whole transaction again" in advice[0]
        assert await host("a", "b", asyncio.Barrier(1))
        assert [len(await checkpointer.read(t)) for t in "ab"] == [3, 3]


async def test_a_lock_timeout_is_typed_and_not_run_again(levelled: AsyncEngine) -> None:
    async with Checkpointer(engine=levelled) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        async with AsyncSession(levelled) as holder, AsyncSession(levelled) as session:
            await checkpointer.bind(holder).append("t", [UserFactory()])
            await session.execute(text("SET SESSION innodb_lock_wait_timeout = 1"))
            with pytest.raises(CheckpointerLockTimeoutError, match="Roll back"):
                await checkpointer.bind(session).append("t", [UserFactory()])
            await session.rollback()
            await session.execute(text("SET SESSION innodb_lock_wait_timeout = 50"))
            await holder.commit()
        assert len(await checkpointer.read("t")) == 2


async def test_first_writers_of_a_thread_do_not_deadlock(innodb_url: str) -> None:
    """A new thread's row is made before it is read: reading would lock the gap."""
    hosts = host_engine(innodb_url, isolation_level="REPEATABLE READ", pool_size=8)
    faults: list[object] = []
    event.listen(hosts.sync_engine, "handle_error", faults.append)
    async with Checkpointer(engine=hosts) as checkpointer:
        for number in range(30):
            appends = [checkpointer.append(f"t{number}", [UserFactory()]) for _ in range(8)]
            await asyncio.gather(*appends)
    assert faults == []
    await hosts.dispose()


async def test_first_writers_on_a_hosts_engine(innodb_url: str) -> None:
    """Owned units on an engine at MySQL's own level are run again by themselves."""
    hosts = host_engine(innodb_url, isolation_level="REPEATABLE READ", pool_size=16)
    async with Checkpointer(engine=hosts) as checkpointer:
        names = [f"t{number // 4}" for number in range(64)]
        await asyncio.gather(*(checkpointer.append(name, [UserFactory()]) for name in names))
        for name in set(names):
            assert [s.seq for s in await checkpointer.read(name)] == [1, 2, 3, 4]
    assert "Current Checked out connections: 0" in hosts.pool.status()
    await hosts.dispose()


# --- SQLite ------------------------------------------------------------------------


def test_threads_of_a_plain_host_on_sqlite(sqlite_url: str) -> None:
    asyncio.run(ensure_schema(sqlite_url))
    # On a busy machine the lock is waited for longer than the five seconds of the default.
    hosts = sync_host_engine(sqlite_url, pool_size=8, connect_args={"timeout": 180})
    faults: list[BaseException] = []

    def work(checkpointer: SyncCheckpointer, number: int) -> None:
        try:
            for _ in range(10):
                checkpointer.append("t", [UserFactory()])
                checkpointer.claim_run("t", f"r{number}")
                with Session(hosts) as session, session.begin():
                    checkpointer.bind(session).mark_run_complete("t", f"r{number}")
                checkpointer.append(f"own{number}", [UserFactory()])
                number += 100
        except BaseException as error:  # noqa: BLE001 - it is what the test looks at
            faults.append(error)

    with SyncCheckpointer(engine=hosts) as checkpointer:
        workers = [threading.Thread(target=work, args=(checkpointer, n)) for n in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert faults == []
        assert [s.seq for s in checkpointer.read("t")] == list(range(1, 61))
        places = [run.completion_seq or 0 for run in checkpointer.runs("t")]
        assert sorted(places) == list(range(1, 61))
    hosts.dispose()


async def test_a_hosts_sqlite_file_is_not_given_tables(sqlite_url: str) -> None:
    """An application's schema is its own."""
    hosts = host_engine(sqlite_url)
    with pytest.raises(CubepiSchemaUninitialized):
        await Checkpointer(engine=hosts).__aenter__()
    async with hosts.connect() as connection:
        tables = await connection.execute(text("SELECT COUNT(*) FROM sqlite_master"))
        assert tables.scalar_one() == 0
    await hosts.dispose()


# --- What is refused ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"isolation_level": "AUTOCOMMIT"}, "AUTOCOMMIT"),
        ({"connect_args": {"charset": "latin1"}}, "latin1"),
        (
            {"connect_args": {"init_command": f"SET sql_mode = '{NO_ESCAPES}'"}},
            "NO_BACKSLASH_ESCAPES",
        ),
        ({"connect_args": {"init_command": "SET sql_mode = 'ANSI'"}}, "strict mode"),
    ],
)
async def test_an_engine_that_would_lose_something_is_refused(
    innodb_url: str, options: dict[str, Any], match: str
) -> None:
    hosts = host_engine(innodb_url, **options)
    with pytest.raises(ConfigurationError, match=match):
        await Checkpointer(engine=hosts).__aenter__()
    assert "Current Checked out connections: 0" in hosts.pool.status()
    await hosts.dispose()


def test_pymysql_heeds_the_servers_mode(innodb_url: str) -> None:
    """Text is text there, and the engine is not refused."""
    mode = f"SET sql_mode = '{NO_ESCAPES}'"
    hosts = sync_host_engine(innodb_url, connect_args={"init_command": mode})
    said = "\\'); DROP TABLE cubepi_threads; -- \\"
    with SyncCheckpointer(engine=hosts) as checkpointer:
        checkpointer.save_extra("t", {said: said})
        checkpointer.append(
            "t", [UserFactory(content=[TextContent(text=said)], metadata={"a": said})]
        )
        data = checkpointer.load("t")
        assert data is not None
        assert (data.extra, data.messages[0].metadata) == ({said: said}, {"a": said})
        assert data.messages[0].content == [TextContent(text=said)]
    hosts.dispose()


async def test_one_source_of_sessions(sqlite_url: str) -> None:
    hosts, plain = host_engine(sqlite_url), sync_host_engine(sqlite_url)
    wrong: list[Callable[[], object]] = [
        Checkpointer,
        lambda: Checkpointer(sqlite_url, engine=hosts),
        lambda: Checkpointer(engine=hosts, session_factory=async_sessionmaker(hosts)),
        lambda: Checkpointer(engine=plain),  # type: ignore[arg-type]  # on purpose
        lambda: Checkpointer(session_factory=sessionmaker(plain)),  # type: ignore[arg-type]  # so too
        lambda: Checkpointer(session_factory=async_sessionmaker()),
        lambda: MySQLCheckpointer(engine=hosts),
        SyncCheckpointer,
        lambda: SyncCheckpointer(engine=hosts),  # type: ignore[arg-type]  # likewise
        lambda: SyncCheckpointer(session_factory=async_sessionmaker(hosts)),  # type: ignore[arg-type]  # and this
    ]
    for make in wrong:
        with pytest.raises(ConfigurationError):
            make()
    await hosts.dispose()
    plain.dispose()


async def test_what_can_be_bound(engine: AsyncEngine, innodb_url: str, tmp_path: Any) -> None:
    """The checkpointer is open, and the session of its kind and database."""
    other_url = f"sqlite:///{tmp_path}/o.db" if engine.dialect.name != "sqlite" else innodb_url
    other = host_engine(other_url)
    checkpointer = Checkpointer(engine=engine)
    async with AsyncSession(engine) as session, AsyncSession(other) as strange:
        with pytest.raises(NotOpenError):
            checkpointer.bind(session)
        async with checkpointer:
            for wrong in (session.sync_session, engine, None):
                with pytest.raises(ConfigurationError, match="AsyncSession"):
                    checkpointer.bind(wrong)  # type: ignore[arg-type]  # on purpose
            with pytest.raises(ConfigurationError, match="database"):
                checkpointer.bind(strange)
            bound = checkpointer.bind(session)
            assert isinstance(bound, MessageLog)
            assert not hasattr(bound, "__aenter__")
            assert not hasattr(bound, "bind")
            assert "BoundCheckpointer" in repr(bound)
    await other.dispose()


async def test_closing_leaves_the_hosts_engine_open(engine: AsyncEngine) -> None:
    """The checkpointer can be used and entered again, and is closed in between."""
    checkpointer = Checkpointer(engine=engine)
    for length in (1, 2):
        async with checkpointer:
            await checkpointer.append("t", [UserFactory()])
            assert len(await checkpointer.read("t")) == length
        with pytest.raises(NotOpenError):
            await checkpointer.read("t")
    assert await counts(engine) == (0, 2)


def test_a_synchronous_checkpointer_outside_its_block(sqlite_url: str) -> None:
    asyncio.run(ensure_schema(sqlite_url))
    hosts = sync_host_engine(sqlite_url)
    for checkpointer in (SyncCheckpointer(sqlite_url), SyncCheckpointer(engine=hosts)):
        for _ in range(2):
            with pytest.raises(NotOpenError, match="'with'"):
                checkpointer.load("t")
            with checkpointer:
                assert checkpointer.load("t") is None
                with pytest.raises(ConfigurationError, match="entered already"):
                    checkpointer.__enter__()
    hosts.dispose()


def test_a_synchronous_read_finds_a_connection_where_those_for_reading_are_busy(
    innodb_url: str,
) -> None:
    """The call uses another connection instead of waiting."""
    with SyncCheckpointer(innodb_url, max_pool_size=3) as checkpointer:
        sessions = checkpointer.client
        assert isinstance(sessions, SyncEngineClient)
        assert sessions.reading_engine is not None
        checkpointer.append("t", [UserFactory()])
        found: list[object] = []
        with sessions.reading_engine.connect():
            reader = threading.Thread(target=lambda: found.append(checkpointer.load("t")))
            reader.start()
            reader.join(10)
            assert len(found) == 1
        reader.join()


async def test_no_password_is_shown(innodb_url: str) -> None:
    hosts = host_engine(innodb_url.replace("root@", "root:geheim@"))
    checkpointer = Checkpointer(engine=hosts)
    with pytest.raises(NotOpenError) as caught:
        await checkpointer.load("t")
    for shown in (repr(checkpointer), str(caught.value)):
        assert "geheim" not in shown
        assert "root:***@" in shown
    await hosts.dispose()


# --- Both clients --------------------------------------------------------------------


def surface(client: type) -> dict[str, str]:
    """Return the signatures of a class's public methods, with the differing classes made equal."""
    found = {}
    for name, method in inspect.getmembers(client, callable):
        if name == "__init__" or not name.startswith("_"):
            found[name] = str(inspect.signature(method))
            found[name] = found[name].replace("async_scoped", "scoped")
            for module in (
                "ext.asyncio.scoping",
                "orm.scoping",
                "ext.asyncio.engine",
                "ext.asyncio.session",
                "engine.base",
                "orm.session",
            ):
                found[name] = found[name].replace(f"sqlalchemy.{module}.", "")
            found[name] = found[name].replace("threadlog.runtime.sync_client.Sync", "")
            found[name] = found[name].replace("threadlog.runtime.client.", "")
            found[name] = found[name].replace("~SeqsT", "list[int]").replace(", SeqsT]", "]")
            found[name] = (
                found[name]
                .replace("Async", "")
                .replace("SyncBound", "Bound")
                .replace("SyncScoped", "Scoped")
            )
    return found


def test_both_checkpointers_have_the_same_methods() -> None:
    asynchronous = surface(Checkpointer)
    assert len(asynchronous) > 20
    assert asynchronous == surface(SyncCheckpointer)
