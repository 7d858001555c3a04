"""Relationships of the models, and an application's foreign key to a thread."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData, String, event, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

from tests.support.factories import UserFactory
from tests.support.ways import open_engine
from threadlog import Checkpointer
from threadlog.errors import ThreadReferencedError
from threadlog.models import HitlAnswer, Message, Run, Thread


class Base(DeclarativeBase):
    """The application's tables."""

    metadata = MetaData()


class Ticket(Base):
    """A row that refers to a thread; docs/querying.md has the other direction."""

    __tablename__ = "test_tickets"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(100))
    thread_id: Mapped[str] = mapped_column(ForeignKey(Thread.thread_id))
    thread: Mapped[Thread] = relationship(lazy="raise")


OF_THREAD: Any = (Message, Run, HitlAnswer)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Yield an application's engine on a database with a table of its own."""
    async with open_engine(database_url) as opened:
        if opened.dialect.name == "sqlite":
            event.listen(
                opened.sync_engine, "connect", lambda c, _: c.execute("PRAGMA foreign_keys = ON")
            )
        async with opened.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        try:
            yield opened
        finally:
            async with opened.begin() as connection:
                await connection.run_sync(Base.metadata.drop_all)


async def test_a_row_leads_to_its_thread(engine: AsyncEngine) -> None:
    async with Checkpointer(engine=engine) as checkpointer, AsyncSession(engine) as session:
        await checkpointer.bind(session).append("t", [UserFactory()])
        session.add(Ticket(id=1, title="a", thread_id="t"))
        await session.commit()
        found = select(Ticket).options(selectinload(Ticket.thread))
        ticket = (await session.scalars(found)).one()
        assert ticket.thread.thread_id == "t"


async def test_a_key_that_blocks_a_deletion_is_named(engine: AsyncEngine) -> None:
    async with Checkpointer(engine=engine) as checkpointer, AsyncSession(engine) as session:
        await checkpointer.append("t", [UserFactory()])
        session.add(Ticket(id=1, title="a", thread_id="t"))
        await session.commit()
        with pytest.raises(ThreadReferencedError, match="foreign key") as caught:
            await checkpointer.delete_thread("t")
        assert (caught.value.thread_id, caught.value.table) == ("t", "test_tickets")
        assert caught.value.__cause__ is not None
        with pytest.raises(ThreadReferencedError):
            await checkpointer.bind(session).delete_thread("t")
        await session.rollback()
        assert len(await checkpointer.read("t")) == 1
        await session.delete(await session.get_one(Ticket, 1))
        await session.commit()
        assert await checkpointer.delete_thread("t")


async def test_a_key_names_its_table_on_threadlogs_own_engine(
    engine: AsyncEngine, database_url: str
) -> None:
    async with Checkpointer(database_url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        async with AsyncSession(engine) as session:
            session.add(Ticket(id=1, title="a", thread_id="t"))
            await session.commit()
        with pytest.raises(ThreadReferencedError, match="test_tickets"):
            await checkpointer.delete_thread("t")
        assert len(await checkpointer.read("t")) == 1


@pytest.mark.one_database
async def test_the_models_lead_to_each_other_on_request(engine: AsyncEngine) -> None:
    async with Checkpointer(engine=engine) as checkpointer, AsyncSession(engine) as session:
        await checkpointer.claim_run("t", "r")
        await checkpointer.append("t", [UserFactory(run_id="r")])
        await checkpointer.save_hitl_answer("t", "q", "yes")
        whole = select(Thread).options(selectinload(Thread.runs), selectinload(Thread.answers))
        thread = (await session.scalars(whole)).one()
        assert [run.run_id for run in thread.runs] == ["r"]
        assert [answer.question_id for answer in thread.answers] == ["q"]
        for model in OF_THREAD:
            loaded = select(model).options(selectinload(model.thread))
            assert (await session.scalars(loaded)).one().thread is thread
        session.expunge_all()
        for model in OF_THREAD:
            row = (await session.scalars(select(model))).one()
            with pytest.raises(InvalidRequestError, match="lazy='raise'"):
                _ = row.thread
