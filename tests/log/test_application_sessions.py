"""Sessions of an application that are shared, routed to several engines, or in use already."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import (
    AsyncAdaptedQueuePool,
    Engine,
    Insert,
    MetaData,
    Pool,
    QueuePool,
    StaticPool,
    Update,
    create_engine,
    create_mock_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from tests.support.commits import kill_connection, number_of
from tests.support.databases import create_schema, engine_for, on_connection
from tests.support.factories import UserFactory
from tests.support.ways import (
    ensure_schema,
    host_engine,
    open_engine,
    open_sync_engine,
    sync_host_engine,
)
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.errors import (
    ConfigurationError,
    ConnectionLostError,
    SessionInUseError,
    StorageError,
    TransactionFailedError,
)
from threadlog.langgraph import Saver
from threadlog.models import (
    PARTS,
    Base,
    GraphBase,
    Message,
    SchemaPart,
    Thread,
    cubepi_metadata,
)
from threadlog.persistence import MetadataStore


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Open an application's asynchronous engine."""
    async with open_engine(database_url) as opened:
        yield opened


@pytest.fixture
async def sync_engine(database_url: str) -> AsyncIterator[Engine]:
    """Open an application's synchronous engine."""
    async with open_sync_engine(database_url) as opened:
        yield opened


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Engine]:
    """Open an engine of another database, which has none of threadlog's tables."""
    opened = create_engine(f"sqlite:///{tmp_path}/elsewhere.db")
    yield opened
    opened.dispose()


# --- Scoped sessions ---------------------------------------------------------------


def test_factory_that_returns_the_applications_session_is_refused(sync_engine: Engine) -> None:
    scoped = scoped_session(sessionmaker(sync_engine))
    with pytest.raises(ConfigurationError, match=r"Pass its attribute session_factory.*bind\(\)"):
        SyncCheckpointer(session_factory=scoped)
    with pytest.raises(ConfigurationError, match=r"same session twice.*bind\(\)"):
        SyncCheckpointer(session_factory=scoped.__call__)
    with SyncCheckpointer(session_factory=scoped.session_factory) as log:
        log.append("t", [UserFactory()])
    scoped.remove()


async def test_async_factory_that_returns_the_applications_session_is_refused(
    engine: AsyncEngine,
) -> None:
    scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
    with pytest.raises(ConfigurationError, match=r"Pass its attribute session_factory.*bind\(\)"):
        Checkpointer(session_factory=scoped)
    with pytest.raises(ConfigurationError, match=r"same session twice.*bind\(\)"):
        Checkpointer(session_factory=scoped.__call__)
    await scoped.remove()


def test_bind_of_a_scoped_session_joins_its_current_session(sync_engine: Engine) -> None:
    scoped = scoped_session(sessionmaker(sync_engine))
    with SyncCheckpointer(engine=sync_engine) as log:
        log.bind(scoped).append("t", [UserFactory()])
        assert len(log.bind(scoped()).read("t")) == 1
        scoped.rollback()
        assert log.read("t") == []
    scoped.remove()


async def test_bind_of_an_async_scoped_session_joins_its_current_session(
    engine: AsyncEngine,
) -> None:
    scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
    async with Checkpointer(engine=engine) as log:
        await log.bind(scoped).append("t", [UserFactory()])
        assert len(await log.bind(scoped()).read("t")) == 1
        await scoped.rollback()
        assert await log.read("t") == []
    await scoped.remove()


# --- Sessions of several engines ---------------------------------------------------


@pytest.mark.parametrize("key", [Base, Thread, Thread.__table__])
@pytest.mark.parametrize("has_default", [False, True])
def test_session_with_binds_uses_the_engine_of_the_tables(
    sync_engine: Engine, elsewhere: Engine, key: Any, *, has_default: bool
) -> None:
    default = elsewhere if has_default else None
    factory = sessionmaker(default, binds={key: sync_engine, GraphBase: elsewhere})
    with SyncCheckpointer(session_factory=factory) as log:
        log.append("t", [UserFactory()])
        with factory.begin() as session:
            log.bind(session).append("t", [UserFactory()])
        assert len(log.read("t")) == 2


def test_session_without_an_engine_for_the_tables_is_refused(elsewhere: Engine) -> None:
    factory = sessionmaker(binds={GraphBase: elsewhere})
    with pytest.raises(ConfigurationError, match=r"no engine for threadlog's tables.*Base: engine"):
        SyncCheckpointer(session_factory=factory)


def test_session_that_separates_readers_uses_the_engine_that_writes(
    sync_engine: Engine, elsewhere: Engine
) -> None:
    class Routing(Session):
        """The session of SQLAlchemy's page on horizontal routing."""

        def get_bind(self, mapper: Any = None, clause: Any = None, **_: Any) -> Engine:
            writes = self._flushing or isinstance(clause, Insert | Update)
            return sync_engine if writes else elsewhere

    factory = sessionmaker(class_=Routing)
    with SyncCheckpointer(session_factory=factory) as log, factory.begin() as session:
        log.bind(session).append("t", [UserFactory()])
        assert len(log.bind(session).read("t")) == 1


# --- Options of engines and sessions -------------------------------------------------


@pytest.mark.parametrize("option", [{"stream_results": True}, {"yield_per": 3}])
async def test_engine_that_streams_its_results_counts_changed_rows(
    server_url: str, option: dict[str, Any]
) -> None:
    """A server-side cursor knows no count: a run that is free would seem to be claimed."""
    messages = UserFactory.build_batch(3)
    async with open_engine(server_url) as plain:
        engine = plain.execution_options(**option)
        async with Checkpointer(engine=engine) as checkpointer:
            await checkpointer.claim_run("t", "r")
            assert await checkpointer.append("t", messages) == [1, 2, 3]
            async with AsyncSession(engine) as session, session.begin():
                bound = checkpointer.bind(session)
                await bound.claim_run("t", "s")
                assert await bound.append("t", messages) == [4, 5, 6]
                await bound.mark_run_complete("t", "s")
            await checkpointer.mark_run_complete("t", "r")
    async with open_sync_engine(server_url) as plain_engine:
        with SyncCheckpointer(engine=plain_engine.execution_options(**option)) as synchronous:
            synchronous.claim_run("t", "q")
            assert synchronous.append("t", messages) == [7, 8, 9]
            synchronous.mark_run_complete("t", "q")


@pytest.mark.one_database
@pytest.mark.parametrize("option", ["autobegin", "close_resets_only"])
def test_factory_whose_sessions_are_begun_or_closed_once_can_be_used(
    sync_engine: Engine, option: str
) -> None:
    options: dict[str, Any] = {option: False}
    factory = sessionmaker(sync_engine, **options)
    with SyncCheckpointer(session_factory=factory) as checkpointer:
        checkpointer.append("t", [UserFactory()])
        assert len(list(checkpointer.export(threads=["t"]))) == 4
        assert checkpointer.delete_thread("t")


@pytest.mark.one_database
def test_refused_prepare_of_two_phases_is_the_cause(server_url: str) -> None:
    async def run() -> None:
        async with open_sync_engine(server_url) as engine:
            refuse = event.listens_for(engine, "prepare_twophase")
            refuse(lambda connection, xid: connection.exec_driver_sql("SELECT nothing"))
            factory = sessionmaker(engine, twophase=True)
            with SyncCheckpointer(session_factory=factory) as checkpointer:
                with pytest.raises(StorageError, match="nothing") as caught:
                    checkpointer.append("t", [UserFactory()])
                assert isinstance(caught.value.__cause__, DBAPIError)
                assert checkpointer.load("t") is None

    asyncio.run(run())


async def test_two_phases_that_postgresql_does_not_allow_are_refused_at_once(
    postgres_url: str,
) -> None:
    """It allows none by default. SQLAlchemy does not wrap asyncpg's error of a stream."""
    engine = host_engine(postgres_url, execution_options={"stream_results": True})
    factory = async_sessionmaker(engine, twophase=True)
    async with Checkpointer(session_factory=factory, retry_seconds=1) as log:
        with pytest.raises(StorageError, match=r"^prepared transactions are disabled\.") as caught:
            await log.append("t", [UserFactory()])
        assert not caught.value.retryable
    await engine.dispose()


# --- One session, two calls at once ------------------------------------------------


async def test_second_call_on_a_session_in_use_sends_nothing(engine: AsyncEngine) -> None:
    async with Checkpointer(engine=engine) as log:
        async with AsyncSession(engine) as session:
            await session.connection()
            first, second = log.bind(session), log.bind(session)
            results = await asyncio.gather(
                first.append("t", [UserFactory()]),
                second.append("u", [UserFactory()]),
                return_exceptions=True,
            )
            assert results[0] == [1]
            assert isinstance(results[1], SessionInUseError)
            assert not isinstance(results[1], StorageError)  # nothing to retry
            await second.append("u", [UserFactory()])
            await session.commit()
        assert [len(await log.read(thread)) for thread in "tu"] == [1, 1]


def test_second_thread_on_a_session_in_use_sends_nothing(sync_engine: Engine) -> None:
    errors: list[BaseException] = []

    def read(log: SyncCheckpointer[Any, Any, Any], session: Session) -> None:
        try:
            log.bind(session).read("t")
        except SessionInUseError as error:
            errors.append(error)

    with SyncCheckpointer(engine=sync_engine) as log, Session(sync_engine) as session:

        @event.listens_for(session, "do_orm_execute")
        def interrupt(_: Any) -> None:
            thread = threading.Thread(target=read, args=(log, session))
            thread.start()
            thread.join()

        log.bind(session).append("t", [UserFactory()])
        event.remove(session, "do_orm_execute", interrupt)
        assert errors
        count = select(func.count()).select_from(Message)
        assert session.scalar(count) == 1
        session.rollback()


# --- Transactions that have failed -------------------------------------------------


async def test_call_after_a_lost_connection_asks_for_a_rollback(
    server_url: str, other: AsyncConnection
) -> None:
    async with (
        open_engine(server_url) as engine,
        Checkpointer(engine=engine) as log,
        AsyncSession(engine) as session,
    ):
        bound = log.bind(session)
        number = await (await session.connection()).run_sync(number_of)
        await kill_connection(other, number)
        with pytest.raises(ConnectionLostError):
            await bound.append("t", [UserFactory()])
        for call in (bound.append("t", [UserFactory()]), bound.read("t")):
            with pytest.raises(TransactionFailedError, match="Roll back the session"):
                await call
        await session.rollback()
        await bound.append("t", [UserFactory()])
        await session.commit()
        assert len(await log.read("t")) == 1


async def test_call_without_asyncio_after_a_lost_connection_asks_for_a_rollback(
    server_url: str, other: AsyncConnection
) -> None:
    async with open_sync_engine(server_url) as engine:
        with SyncCheckpointer(engine=engine) as log, Session(engine) as session:
            await kill_connection(other, number_of(session.connection()))
            with pytest.raises(ConnectionLostError):
                log.bind(session).append("t", [UserFactory()])
            with pytest.raises(TransactionFailedError, match="Roll back the session"):
                log.bind(session).read("t")
            session.rollback()
            assert log.bind(session).read("t") == []


async def test_call_after_a_failed_statement_on_postgres_asks_for_a_rollback(
    postgres_url: str,
) -> None:
    async with (
        open_engine(postgres_url) as engine,
        Checkpointer(engine=engine) as log,
        AsyncSession(engine) as session,
    ):
        with pytest.raises(DBAPIError):
            await session.execute(text("SELECT 1/0"))
        with pytest.raises(TransactionFailedError, match="Roll back the session"):
            await log.bind(session).read("t")


@pytest.fixture
async def other(server_url: str) -> AsyncIterator[AsyncConnection]:
    """Yield a connection that kills others."""
    killing = engine_for(server_url, isolation_level="AUTOCOMMIT")
    async with killing.connect() as connection:
        yield connection
    await killing.dispose()


# --- Connections that sessions share -----------------------------------------------


@pytest.mark.parametrize("poolclass", [None, StaticPool])
async def test_engine_whose_sessions_share_a_connection_is_refused(
    poolclass: type[Pool] | None,
) -> None:
    options: dict[str, Any] = {"poolclass": poolclass} if poolclass else {}
    engine = create_async_engine("sqlite+aiosqlite://", **options)
    factory = async_sessionmaker(engine)
    for opened in (
        Checkpointer(engine=engine),
        Checkpointer(session_factory=factory),
        Saver(engine=engine),
        MetadataStore(engine=engine),
    ):
        with pytest.raises(ConfigurationError, match="AsyncAdaptedQueuePool, pool_size=1"):
            await opened.__aenter__()
    await engine.dispose()
    plain = create_engine("sqlite://", **options)
    for closed in (SyncCheckpointer(engine=plain), Saver(engine=plain)):
        with pytest.raises(ConfigurationError, match="=QueuePool, pool_size=1"):
            closed.__enter__()
    plain.dispose()


async def test_appends_on_a_pool_of_one_connection_in_memory_are_all_stored() -> None:
    """The engine that the error advises."""
    engine = create_async_engine(
        "sqlite+aiosqlite://",
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1,
        max_overflow=0,
        connect_args={"check_same_thread": False},
    )
    async with engine.begin() as connection:
        await connection.run_sync(create_schema)
    async with Checkpointer(engine=engine) as log:
        await asyncio.gather(*(log.append(f"t{n % 4}", [UserFactory()]) for n in range(40)))
        assert [len(await log.read(f"t{n}")) for n in range(4)] == [10] * 4
    await engine.dispose()


def test_threads_on_a_pool_of_one_connection_in_memory_are_all_stored() -> None:
    engine = create_engine(
        "sqlite://",
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        connect_args={"check_same_thread": False},
    )
    with engine.begin() as connection:
        create_schema(connection)
    with SyncCheckpointer(engine=engine) as log, ThreadPoolExecutor(4) as workers:
        list(workers.map(lambda n: log.append(f"t{n % 4}", [UserFactory()]), range(40)))
        assert [len(log.read(f"t{n}")) for n in range(4)] == [10] * 4
    engine.dispose()


# --- AUTOCOMMIT --------------------------------------------------------------------


async def test_sqlite_engine_in_autocommit_is_refused(sqlite_url: str) -> None:
    await ensure_schema(sqlite_url)
    for options in ({"isolation_level": "AUTOCOMMIT"}, {"connect_args": {"isolation_level": None}}):
        engine = host_engine(sqlite_url, **options)
        for opened in (Checkpointer(engine=engine), MetadataStore(engine=engine)):
            with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
                await opened.__aenter__()
        await engine.dispose()
        plain = sync_host_engine(sqlite_url, **options)
        for closed in (SyncCheckpointer(engine=plain), Saver(engine=plain)):
            with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
                closed.__enter__()
        plain.dispose()


async def test_session_in_autocommit_is_refused_before_it_writes(engine: AsyncEngine) -> None:
    level = {"isolation_level": "AUTOCOMMIT"}
    async with Checkpointer(engine=engine) as log:
        async with AsyncSession(engine) as session:
            await session.connection(execution_options=level)
            with pytest.raises(ConfigurationError, match="session is in AUTOCOMMIT"):
                await log.bind(session).append("t", [UserFactory()])
        async with AsyncSession(engine.execution_options(**level)) as session:
            with pytest.raises(ConfigurationError, match="session is in AUTOCOMMIT"):
                await log.bind(session).append("t", [UserFactory()])
        assert await log.read("t") == []


# --- Tables that the models created ------------------------------------------------


@pytest.mark.parametrize("copied", [False, True])
async def test_tables_of_create_all_can_be_opened(empty_url: str, *, copied: bool) -> None:
    """As in an application's test fixture; the version belongs to the tables."""
    own = MetaData()
    for part in PARTS:
        metadata = part.metadata
        if copied:
            metadata = own  # one for all: foreign keys lead from one part to another
            for table in part.metadata.tables.values():
                table.to_metadata(metadata)
        await on_connection(empty_url, metadata.create_all)
        await on_connection(empty_url, metadata.create_all)  # finds them all
    engine = host_engine(empty_url)
    async with Checkpointer(engine=engine) as log, MetadataStore(engine=engine) as store:
        if not copied:  # PostgreSQL's partitions do not come with a copy
            await log.append("t", [UserFactory()])
        assert await store.fetch_thread_row(str(uuid4())) is None
    await engine.dispose()


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_create_all_that_fails_half_way_leaves_no_version(part: SchemaPart) -> None:
    """The version table is the last of its part."""
    assert part.metadata.sorted_tables[-1] is part.version_table


def test_script_of_a_mock_engine_has_the_version() -> None:
    executed: list[Any] = []
    mock = create_mock_engine("postgresql+psycopg://", lambda each, *_, **__: executed.append(each))
    cubepi_metadata.create_all(mock, checkfirst=False)
    script = [str(each.compile(dialect=mock.dialect)) for each in executed]
    assert "INSERT INTO cubepi_schema_version (version) VALUES (5)" in script
