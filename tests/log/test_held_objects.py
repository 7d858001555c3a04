"""Mapped objects that the application's session holds while threadlog writes to their rows."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Engine, inspect, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from tests.support.factories import UserFactory
from tests.support.ways import open_engine, open_sync_engine
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.models import Message, Run, Thread


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


def test_held_thread_has_the_new_values(sync_engine: Engine) -> None:
    with (
        SyncCheckpointer(engine=sync_engine) as log,
        Session(sync_engine, expire_on_commit=False) as session,
    ):
        log.save_extra("t", {"step": 1})
        thread = session.get_one(Thread, "t")
        log.bind(session).save_extra("t", {"step": 2})
        assert thread.extra == {"step": 2}
        session.commit()
        assert thread.extra == {"step": 2}
        log.bind(session).delete_thread("t")
        assert session.get(Thread, "t") is None
        session.rollback()
        assert thread.extra == {"step": 2}


async def test_held_objects_are_read_again_in_asyncio(engine: AsyncEngine) -> None:
    """An expired attribute would raise where it is used."""
    async with (
        Checkpointer(engine=engine) as log,
        AsyncSession(engine, expire_on_commit=False) as session,
    ):
        for thread_id in ("t", "u"):
            await log.save_extra(thread_id, {"step": 1})
        await log.claim_run("t", "r")
        threads = {each.thread_id: each for each in await session.scalars(select(Thread))}
        run = await session.get_one(Run, ("t", "r"))
        bound = log.bind(session)
        await bound.save_extra("t", {"step": 2})
        await bound.append("t", [UserFactory()])
        await bound.mark_run_complete("t", "r")
        assert run.completed_at is not None
        assert [threads[name].extra for name in "tu"] == [{"step": 2}, {"step": 1}]
        await session.commit()
        assert threads["t"].extra == {"step": 2}


async def test_changes_of_the_application_stay(engine: AsyncEngine) -> None:
    """They are flushed by the application, over what threadlog wrote."""
    async with Checkpointer(engine=engine) as log, AsyncSession(engine) as session:
        await log.save_extra("t", {"step": 1})
        thread = await session.get_one(Thread, "t")
        thread.extra = {"step": "mine"}
        await log.bind(session).save_extra("t", {"step": 2})
        assert thread.extra == {"step": "mine"}
        assert inspect(thread).modified
        await session.commit()
        assert (await session.get_one(Thread, "t", populate_existing=True)).extra == {
            "step": "mine"
        }


@pytest.mark.parametrize("flushed", [False, True])
def test_rolling_back_to_a_savepoint_restores_a_held_thread(
    sync_engine: Engine, *, flushed: bool
) -> None:
    if sync_engine.dialect.name == "sqlite":
        pytest.skip("the driver begins no transaction before a savepoint")
    with SyncCheckpointer(engine=sync_engine) as log, Session(sync_engine) as session:
        log.save_extra("t", {"step": 1})
        thread = session.get_one(Thread, "t")
        savepoint = session.begin_nested()
        log.bind(session).save_extra("t", {"step": 2})
        assert thread.extra == {"step": 2}
        if flushed:
            session.flush()
        savepoint.rollback()
        assert thread.extra == {"step": 1}


def test_session_that_deletes_a_thread_deletes_its_rows(sync_engine: Engine) -> None:
    with SyncCheckpointer(engine=sync_engine) as log:
        log.claim_run("t", "r")
        for thread_id in ("t", "u"):
            log.append(thread_id, [UserFactory(), UserFactory()])
        with Session(sync_engine) as session:
            session.delete(session.get_one(Thread, "t"))
            session.commit()
            assert session.scalars(select(Run)).all() == []
            assert {*session.scalars(select(Message.thread_id))} == {"u"}
