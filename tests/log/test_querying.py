"""An application's queries through the ORM: typed, and never reading a whole thread by accident."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from tests.support.factories import AssistantFactory, UserFactory
from tests.support.ways import ensure_schema, host_engine
from threadlog import MESSAGE_CODEC, Checkpointer
from threadlog.messages import Message as Said
from threadlog.models import Message, Run, Thread


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[AsyncSession]:
    """Yield an application's session on a log of three threads, one of them a fork."""
    await ensure_schema(database_url)
    engine = host_engine(database_url)
    async with Checkpointer(engine=engine) as checkpointer:
        await checkpointer.claim_run("a", "r")
        await checkpointer.append("a", [UserFactory(metadata={"user": "u1"}, run_id="r")])
        await checkpointer.append("a", [AssistantFactory(metadata={"user": "u2", "n": 5})])
        await checkpointer.mark_run_complete("a", "r")
        await checkpointer.fork("a", "a/fork", after_run_id="r")
        await checkpointer.append("b", UserFactory.build_batch(3, metadata={"user": "u1"}))
        await checkpointer.save_extra("b", {"customer": {"id": "c1"}})
    async with AsyncSession(engine) as opened:
        yield opened
    await engine.dispose()


async def keys(session: AsyncSession, *conditions: object) -> list[tuple[str, int]]:
    """Return the keys of the messages that match the conditions."""
    query = select(Message).where(*conditions).order_by(Message.thread_id, Message.seq)  # type: ignore[arg-type]  # conditions
    rows: Sequence[Message] = (await session.scalars(query)).all()
    return [(row.thread_id, row.seq) for row in rows]


async def test_messages_by_what_they_are(session: AsyncSession) -> None:
    assert await keys(session, Message.metadata_["user"].as_string() == "u2") == [
        ("a", 2),
        ("a/fork", 2),
    ]
    assert await keys(session, Message.metadata_["n"].as_integer() > 4) == [("a", 2), ("a/fork", 2)]
    assert await keys(session, Message.role == "assistant") == [("a", 2), ("a/fork", 2)]
    assert await keys(session, Message.thread_id == "a", Message.run_id == "r") == [("a", 1)]
    long_ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=2)
    assert await keys(session, Message.created_at < long_ago) == []
    assert len(await keys(session, Message.created_at > long_ago)) == 7


async def test_threads_by_what_they_hold(session: AsyncSession) -> None:
    by_extra = select(Thread).where(Thread.extra["customer", "id"].as_string() == "c1")
    found: Thread = (await session.scalars(by_extra)).one()
    assert found.thread_id == "b"
    busy = (
        select(Thread.thread_id, func.count())
        .join(Thread.messages)
        .group_by(Thread.thread_id)
        .having(func.count() > 2)
    )
    assert [tuple(row) for row in await session.execute(busy)] == [("b", 3)]
    forked = select(Thread.thread_id).where(Thread.forks.any())
    assert (await session.scalars(forked)).all() == ["a"]
    completed = select(Thread.thread_id).join(Run, Run.thread_id == Thread.thread_id)
    assert sorted((await session.scalars(completed)).all()) == ["a", "a/fork"]


async def test_a_thread_is_not_read_by_touching_an_attribute(session: AsyncSession) -> None:
    thread = (await session.scalars(select(Thread).where(Thread.thread_id == "b"))).one()
    for touch in (lambda: thread.messages, lambda: thread.forks):
        with pytest.raises(InvalidRequestError, match="raise"):
            touch()
    loaded = select(Thread).options(selectinload(Thread.messages), selectinload(Thread.forks))
    session.expunge_all()
    threads = (await session.scalars(loaded.order_by(Thread.thread_id))).all()
    assert [[message.seq for message in each.messages] for each in threads] == [
        [1, 2],
        [1, 2],
        [1, 2, 3],
    ]
    assert [[fork.thread_id for fork in each.forks] for each in threads] == [["a/fork"], [], []]


async def test_rows_become_messages(session: AsyncSession) -> None:
    """A message has the metadata that an application wrote to the column."""
    row = (await session.scalars(select(Message).where(Message.thread_id == "b"))).first()
    assert row is not None
    row.metadata_ = {"user": "u9"}
    await session.commit()
    await session.refresh(row)
    said: Said = MESSAGE_CODEC.from_row(row)
    assert said.role == "user"
    assert said.metadata == {"user": "u9"}
