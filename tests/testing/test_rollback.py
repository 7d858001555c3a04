"""One outer transaction for the transactions of a test, which is rolled back."""

import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest
from langgraph.store.base import BaseStore
from sqlalchemy import create_engine, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, sessionmaker

from tests.support.ways import host_engine, sync_host_engine
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.errors import (
    MissingExtraError,
    PoolTimeoutError,
    RunAlreadyClaimedError,
    ThreadReferencedError,
)
from threadlog.langgraph import Saver, Store
from threadlog.models import PARTS, Message, Thread
from threadlog.testing import (
    age_rows,
    create_all,
    create_all_async,
    rolled_back_engine,
    sync_rolled_back_engine,
)
from threadlog.testing.factories import ThreadFactory, UserMessageFactory

EMPTY = {
    "channel_values": {},
    "channel_versions": {},
    "versions_seen": {},
    "v": 1,
    "ts": "2026-01-01T00:00:00+00:00",
    "id": "1",
}
CONFIG = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


@pytest.fixture
def threadlog_url(empty_url: str) -> Iterator[str]:
    """Yield a database with the tables, which has no row after the test."""
    engine = sync_host_engine(empty_url)
    create_all(engine)
    yield empty_url
    with engine.connect() as connection:
        for part in PARTS:
            for table in part.metadata.sorted_tables:
                rows = connection.scalar(select(func.count()).select_from(table))
                assert rows == (1 if table is part.version_table else 0), table.name
    engine.dispose()


async def test_fixtures_share_a_transaction_that_is_rolled_back(
    threadlog_engine: AsyncEngine,
    threadlog_checkpointer: Checkpointer,
    threadlog_saver: Saver,
    threadlog_store: Store,
) -> None:
    async with AsyncSession(threadlog_engine) as session:
        session.add(ThreadFactory.build(thread_id="t"))
        await session.flush()
        await threadlog_checkpointer.bind(session).append("t", UserMessageFactory.build_batch(2))
        await session.commit()
    await threadlog_checkpointer.append("t", [UserMessageFactory()])
    await threadlog_saver.aput(CONFIG, EMPTY, {}, {})  # type: ignore[arg-type]  # plain dicts
    await threadlog_store.aput(("a",), "k", {"x": 1})
    assert [stored.seq for stored in await threadlog_checkpointer.read("t")] == [1, 2, 3]
    assert await threadlog_saver.aget_tuple(CONFIG) is not None  # type: ignore[arg-type]  # a dict
    assert await threadlog_store.aget(("a",), "k") is not None


def test_synchronous_fixtures_share_a_transaction_that_is_rolled_back(
    threadlog_sync_checkpointer: SyncCheckpointer,
    threadlog_sync_saver: Saver,
    threadlog_sync_store: BaseStore,
) -> None:
    threadlog_sync_checkpointer.append("t", [UserMessageFactory()])
    threadlog_sync_saver.put(CONFIG, EMPTY, {}, {})  # type: ignore[arg-type]  # plain dicts
    threadlog_sync_store.put(("a",), "k", {"x": 1})
    assert [stored.seq for stored in threadlog_sync_checkpointer.read("t")] == [1]
    assert threadlog_sync_saver.get_tuple(CONFIG) is not None  # type: ignore[arg-type]  # a dict
    assert threadlog_sync_store.get(("a",), "k") is not None


async def test_a_session_that_rolls_back_undoes_its_own_rows_only(
    threadlog_engine: AsyncEngine, threadlog_checkpointer: Checkpointer
) -> None:
    await threadlog_checkpointer.append("t", [UserMessageFactory()])
    async with AsyncSession(threadlog_engine) as session:
        await threadlog_checkpointer.bind(session).append("t", [UserMessageFactory()])
        assert await session.scalar(select(func.count()).select_from(Message)) == 2
        await session.rollback()
        assert await session.scalar(select(func.count()).select_from(Message)) == 1
    await threadlog_checkpointer.claim_run("t", "r")
    with pytest.raises(RunAlreadyClaimedError):
        await threadlog_checkpointer.claim_run("t", "r")
    await threadlog_checkpointer.append("t", [UserMessageFactory(run_id="r")])
    assert [stored.seq for stored in await threadlog_checkpointer.read("t")] == [1, 2]


def test_a_synchronous_session_that_rolls_back_undoes_its_own_rows_only(threadlog_url: str) -> None:
    with sync_rolled_back_engine(threadlog_url) as engine:
        with Session(engine) as session:
            session.add(ThreadFactory.build(thread_id="kept"))
            session.commit()
            session.add(ThreadFactory.build(thread_id="undone"))
            session.flush()
        with Session(engine) as session:
            assert session.scalars(select(Thread.thread_id)).all() == ["kept"]


async def test_an_export_reads_the_transaction_and_does_not_end_it(threadlog_url: str) -> None:
    """Else MySQL would commit it, and PostgreSQL's driver roll it back."""
    async with rolled_back_engine(threadlog_url) as engine, Checkpointer(engine=engine) as log:
        for length in (1, 2):
            await log.append("t", [UserMessageFactory()])
            lines = [line async for line in log.export(threads=["t"])]
            assert sum(b'"type":"message"' in line for line in lines) == length


def test_an_export_reads_the_transaction_of_a_connection(threadlog_url: str) -> None:
    """SQLAlchemy's recipe for tests: sessions that join a transaction which is rolled back."""
    engine = sync_host_engine(threadlog_url)
    with engine.connect() as connection, connection.begin() as transaction:
        factory = sessionmaker(connection, join_transaction_mode="create_savepoint")
        with SyncCheckpointer(session_factory=factory) as log:
            log.append("t", [UserMessageFactory()])
            assert sum(b'"type":"message"' in line for line in log.export()) == 1
        transaction.rollback()
    engine.dispose()


@pytest.mark.one_database
async def test_a_second_transaction_waits_for_the_first_and_fails(threadlog_url: str) -> None:
    async with (
        rolled_back_engine(threadlog_url, pool_timeout=0.1) as engine,
        Checkpointer(engine=engine, retry_seconds=0) as checkpointer,
        AsyncSession(engine) as session,
    ):
        session.add(ThreadFactory.build())
        await session.flush()
        with pytest.raises(PoolTimeoutError):
            await checkpointer.append("t", [UserMessageFactory()])


async def test_aged_runs_are_stale_and_aged_items_expire(
    threadlog_engine: AsyncEngine, threadlog_checkpointer: Checkpointer, threadlog_store: Store
) -> None:
    await threadlog_checkpointer.claim_run("t", "r")
    await threadlog_checkpointer.append("t", UserMessageFactory.build_batch(2))
    await threadlog_store.aput(("a",), "short", {}, ttl=60)
    await threadlog_store.aput(("a",), "long", {}, ttl=180)
    before = (await threadlog_checkpointer.read("t"))[0].created_at
    assert await threadlog_checkpointer.stale_runs(timedelta(hours=1)) == []
    async with threadlog_engine.begin() as connection:
        await connection.run_sync(age_rows, timedelta(hours=2))
    assert [run.run_id for run in await threadlog_checkpointer.stale_runs(timedelta(hours=1))] == [
        "r"
    ]
    assert await threadlog_checkpointer.stale_runs(timedelta(hours=3)) == []
    found = await threadlog_store.asearch(("a",))
    assert [item.key for item in found] == ["long"]
    after = (await threadlog_checkpointer.read("t"))[0].created_at
    assert before - after == timedelta(hours=2)


@pytest.mark.one_database
async def test_create_all_creates_the_named_parts(empty_url: str) -> None:
    engine = host_engine(empty_url)
    await create_all_async(engine, "graph")
    async with Saver(engine=engine) as saver:
        assert await saver.aget_tuple(CONFIG) is None  # type: ignore[arg-type]  # a plain dict
    async with engine.begin() as connection:
        await create_all_async(connection)
    async with Checkpointer(engine=engine) as checkpointer:
        await checkpointer.ping()
    await engine.dispose()


def test_create_all_in_memory_creates_every_part() -> None:
    engine = create_engine("sqlite://")
    create_all(engine)
    with engine.connect() as connection:
        for part in PARTS:
            version = connection.scalar(select(part.version_table.c.version))
            assert version == part.version
    engine.dispose()


def test_a_missing_driver_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with (
        pytest.raises(MissingExtraError, match=r"pip install 'threadlog\[mysql-sync\]'"),
        sync_rolled_back_engine("mysql://root@127.0.0.1/test"),
    ):
        raise AssertionError


def test_foreign_keys_are_enforced_on_sqlite() -> None:
    with sync_rolled_back_engine("sqlite://") as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE tickets (thread_id TEXT REFERENCES cubepi_threads (thread_id))"
            )
        with SyncCheckpointer(engine=engine) as checkpointer:
            checkpointer.append("t", [UserMessageFactory()])
            with engine.begin() as connection:
                connection.exec_driver_sql("INSERT INTO tickets VALUES ('t')")
            with pytest.raises(ThreadReferencedError, match="tickets"):
                checkpointer.delete_thread("t")
