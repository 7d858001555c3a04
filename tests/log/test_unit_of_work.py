"""Owned and joined units of work, on real sessions."""

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast
from weakref import ref

import pytest
from sqlalchemy import AsyncAdaptedQueuePool, Dialect, QueuePool, create_engine, func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from tests.support.databases import engine_for, engines_of, lasting_snapshots, on_connection
from tests.support.factories import UserFactory
from tests.support.patience import until
from threadlog import Checkpointer
from threadlog.encoding.statement_size import in_batches
from threadlog.log.append import AppendRequest, AppendTransaction
from threadlog.log.message_codec import MESSAGE_CODEC
from threadlog.models import Message, Thread
from threadlog.repositories import JoinedUnitOfWork, OwnedUnitOfWork, UnitOfWork

T = TypeVar("T")


@pytest.fixture(params=["READ COMMITTED", "REPEATABLE READ"])
def level(request: pytest.FixtureRequest) -> str:
    """Return an isolation level of an application's engine."""
    return str(request.param)


async def in_session(engine: AsyncEngine, work: Callable[[Session], T]) -> T:
    """Run synchronous work in an application's asynchronous session."""
    async with AsyncSession(engine) as session:
        return await session.run_sync(work)


def host_engine(url: str, level: str | None = None) -> AsyncEngine:
    """Create an engine as an application would."""
    options: dict[str, Any] = {"isolation_level": level} if level else {}
    return engine_for(url, poolclass=AsyncAdaptedQueuePool, **options)


def append(uow: UnitOfWork, thread_id: str, count: int = 1) -> None:
    """Append messages in a unit of work."""
    rows = MESSAGE_CODEC.encode(UserFactory.build_batch(count))
    new = AppendRequest(thread_id, rows, in_batches(rows, 1_000_000))
    (seqs,) = AppendTransaction([new], 1_000_000)(uow)
    assert isinstance(seqs, range)
    assert len(seqs) == count


async def length(url: str, thread_id: str) -> int:
    """Count a thread's messages as another transaction sees them."""
    async with Checkpointer(url) as checkpointer:
        return len(await checkpointer.read(thread_id))


async def test_owned_commits_on_leaving(database_url: str) -> None:
    """The block ends its transaction, and the session can be used again."""
    await length(database_url, "t")
    engine = host_engine(database_url)

    def work(session: Session) -> bool:
        for _ in range(2):
            with OwnedUnitOfWork(session) as uow:
                append(uow, "t")
        return session.in_transaction()

    assert await in_session(engine, work) is False
    assert cast("QueuePool", engine.pool).checkedout() == 0
    await engine.dispose()
    assert await length(database_url, "t") == 2


async def test_owned_rolls_back_on_error(database_url: str) -> None:
    """An exception leaves nothing and comes out as it is."""
    await length(database_url, "t")
    engine = host_engine(database_url)

    def work(session: Session) -> None:
        with OwnedUnitOfWork(session) as uow:
            append(uow, "t")
            raise LookupError("on purpose")

    with pytest.raises(LookupError, match="on purpose"):
        await in_session(engine, work)
    assert cast("QueuePool", engine.pool).checkedout() == 0
    await engine.dispose()
    assert await length(database_url, "t") == 0


async def test_an_owned_unit_that_reads_commits_nothing(database_url: str) -> None:
    await length(database_url, "t")
    engine = host_engine(database_url)

    def work(session: Session) -> None:
        with OwnedUnitOfWork(session, writes=False) as uow:
            append(uow, "t")

    await in_session(engine, work)
    await engine.dispose()
    assert await length(database_url, "t") == 0


async def test_joined_never_ends_the_hosts_transaction(database_url: str) -> None:
    """Only the application commits or rolls back, and its pending objects stay pending."""
    await length(database_url, "t")
    engine = host_engine(database_url)

    def work(session: Session) -> tuple[bool, bool]:
        session.add(Thread(thread_id="pending"))
        with JoinedUnitOfWork(session) as uow:
            append(uow, "t", 2)
        open_still = session.in_transaction()
        pending = len(session.new) == 1
        session.rollback()
        with JoinedUnitOfWork(session) as uow:
            append(uow, "t", 3)
        session.commit()
        return open_still, pending

    assert await in_session(engine, work) == (True, True)
    await engine.dispose()
    assert await length(database_url, "t") == 3


def test_joined_without_a_connection_leaves_autoflush_on(tmp_path: Path) -> None:
    """The session flushes as before after a block that could not begin."""
    with Session(create_engine(f"sqlite:///{tmp_path}/missing/x.db")) as session:
        uow = JoinedUnitOfWork(session)
        with pytest.raises(OperationalError, match="unable to open"), uow:
            pass
        assert session.autoflush


async def test_joined_leaves_an_error_to_the_host(database_url: str) -> None:
    """An exception passes through and ends nothing."""
    await length(database_url, "t")
    engine = host_engine(database_url)

    def work(session: Session) -> None:
        try:
            with JoinedUnitOfWork(session) as uow:
                append(uow, "t")
                raise LookupError  # noqa: TRY301 - the test is what becomes of it
        except LookupError:
            session.commit()

    await in_session(engine, work)
    await engine.dispose()
    assert await length(database_url, "t") == 1


async def test_seq_is_read_behind_an_old_snapshot(innodb_url: str, level: str) -> None:
    engine = engine_for(innodb_url, isolation_level=level, **lasting_snapshots(innodb_url))
    async with Checkpointer(innodb_url) as other, AsyncSession(engine) as session:
        await other.append("t", [UserFactory()])
        count = select(func.count()).select_from(Message)
        assert (await session.execute(count)).scalar_one() == 1
        await other.append("t", UserFactory.build_batch(4))

        def work(sync_session: Session) -> None:
            with JoinedUnitOfWork(sync_session) as uow:
                append(uow, "t", 2)

        await session.run_sync(work)
        await session.commit()
        assert [s.seq for s in await other.read("t")] == list(range(1, 8))
    await engine.dispose()


async def test_two_hosts_commit_in_either_order(innodb_url: str, level: str) -> None:
    """The second writer waits for the first one's commit, on a new thread too."""
    engine = host_engine(innodb_url, level)
    locked = asyncio.Event()

    async def host(*, first: bool) -> None:
        async with AsyncSession(engine) as session:
            if not first:
                await locked.wait()

            def work(sync_session: Session) -> None:
                with JoinedUnitOfWork(sync_session) as uow:
                    append(uow, "t", 2)

            await session.run_sync(work)
            locked.set()
            await asyncio.sleep(0.2)
            await session.commit()

    await asyncio.gather(host(first=True), host(first=False))
    await engine.dispose()
    async with Checkpointer(innodb_url) as checkpointer:
        assert [s.seq for s in await checkpointer.read("t")] == [1, 2, 3, 4]


async def test_rows_stay_locked_until_the_host_commits(innodb_url: str) -> None:
    await length(innodb_url, "t")
    engine = host_engine(innodb_url)
    async with AsyncSession(engine) as session:

        def work(sync_session: Session) -> None:
            with JoinedUnitOfWork(sync_session) as uow:
                append(uow, "t")

        await session.run_sync(work)
        await session.flush()
        attempt = text("SELECT 1 FROM cubepi_threads WHERE thread_id = 't' FOR UPDATE SKIP LOCKED")
        seen = await on_connection(innodb_url, lambda c: c.execute(attempt).all())
        assert seen == []
        await session.commit()
    seen = await on_connection(innodb_url, lambda c: c.execute(attempt).all())
    assert len(seen) == 1
    await engine.dispose()


async def test_nothing_is_kept_of_a_closed_engine(sqlite_url: str) -> None:
    async def dialects_of_a_closed_one() -> list[ref[Dialect]]:
        async with Checkpointer(sqlite_url) as checkpointer:
            await checkpointer.append("t", UserFactory.build_batch(2))
            await checkpointer.load("t")
            return [ref(engine.dialect) for engine in engines_of(checkpointer)]

    dialects = await dialects_of_a_closed_one()

    async def are_gone() -> bool:  # its thread ends a moment later
        gc.collect()
        return not any(dialect() for dialect in dialects)

    await until(are_gone)
