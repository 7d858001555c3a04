"""Runs and forks inside an application's transaction, after its snapshot was taken."""

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from tests.support.databases import engine_for
from tests.support.factories import UserFactory
from threadlog import Checkpointer
from threadlog.encoding.statement_size import in_batches
from threadlog.errors import RunAlreadyCompletedError
from threadlog.log.append import AppendRequest, AppendTransaction
from threadlog.log.message_codec import MESSAGE_CODEC
from threadlog.models import Run
from threadlog.repositories import JoinedUnitOfWork, UnitOfWork

T = TypeVar("T")


@pytest.fixture
async def session(innodb_url: str) -> AsyncIterator[AsyncSession]:
    """Yield a session at MySQL's default level whose snapshot has an open run, ``r``, only."""
    engine = engine_for(innodb_url, isolation_level="REPEATABLE READ")
    async with Checkpointer(innodb_url) as other, AsyncSession(engine) as session:
        await other.claim_run("t", "r")
        await other.append("t", [UserFactory(run_id="r")])
        count = select(func.count()).select_from(Run)
        assert (await session.execute(count)).scalar_one() == 1
        yield session
        await session.rollback()
    await engine.dispose()


@pytest.fixture
async def other(innodb_url: str) -> AsyncIterator[Checkpointer]:
    """Yield another writer, whose commits the snapshot does not show."""
    async with Checkpointer(innodb_url) as checkpointer:
        yield checkpointer


async def joined(session: AsyncSession, work: Callable[[UnitOfWork], T]) -> T:
    """Run a block in the session's transaction."""

    def run(sync_session: Session) -> T:
        with JoinedUnitOfWork(sync_session) as uow:
            return work(uow)

    return await session.run_sync(run)


async def test_a_claim_is_seen_behind_the_snapshot(
    session: AsyncSession, other: Checkpointer
) -> None:
    await other.claim_run("t", "new")
    await other.mark_run_complete("t", "r")

    def work(uow: UnitOfWork) -> tuple[bool, bool, bool | None]:
        uow.threads.lock("t")
        return uow.runs.claim("t", "new"), uow.runs.claim("t", "mine"), uow.runs.completed("t", "r")

    assert await joined(session, work) == (False, True, True)


async def test_a_completion_is_seen_behind_the_snapshot(
    session: AsyncSession, other: Checkpointer
) -> None:
    for run_id in ("a", "b"):
        await other.claim_run("t", run_id)
        await other.mark_run_complete("t", run_id)
    found = await joined(session, lambda uow: uow.runs.lock_completion("t", "r"))
    assert found[:2] == (False, 2)
    found = await joined(session, lambda uow: uow.runs.lock_completion("t", "a"))
    assert found[:2] == (True, 2)


async def test_an_append_sees_a_completion_behind_the_snapshot(
    session: AsyncSession, other: Checkpointer
) -> None:
    await other.mark_run_complete("t", "r")
    rows = MESSAGE_CODEC.encode([UserFactory(run_id="r")])
    new = AppendRequest("t", rows, in_batches(rows, 10_000))
    (outcome,) = await joined(session, AppendTransaction([new], 10_000))
    assert isinstance(outcome, RunAlreadyCompletedError)


async def test_a_fork_sees_what_was_committed_behind_the_snapshot(
    session: AsyncSession, other: Checkpointer
) -> None:
    """Cut-off, last seq, messages and runs are of one, the latest, state."""
    await other.append("t", UserFactory.build_batch(3, run_id="r"))
    await other.mark_run_complete("t", "r")

    def work(uow: UnitOfWork) -> int | None:
        source = uow.forks.lock_source("t", "r", "f")
        assert source is not None
        assert source.cutoff is not None
        uow.forks.copy_finished("t", "f", source.cutoff, {})
        return source.cutoff

    assert await joined(session, work) == 1
    await session.commit()
    assert len(await other.read("f")) == 4
    (fork,) = (thread for thread in await other.list_threads() if thread.thread_id == "f")
    assert fork.forked_at_seq == 4
    assert [run.state for run in await other.runs("f")] == ["completed"]
