"""The recipes of docs/editing.md, on every database: an edited question, another answer."""

import asyncio
import random

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from tests.support.factories import AssistantFactory, UserFactory
from tests.support.ways import open_engine
from threadlog import Checkpointer
from threadlog.errors import DeadlockError, ThreadChangedError, ThreadInUseError
from threadlog.messages import Message


async def messages(checkpointer: Checkpointer, thread_id: str = "t") -> list[Message]:
    """Return the messages of a thread."""
    data = await checkpointer.load(thread_id)
    assert data is not None
    return data.messages


async def test_an_edit_in_one_transaction_is_whole_or_nothing(database_url: str) -> None:
    old: list[Message] = [UserFactory(), AssistantFactory(), UserFactory()]
    new: Message = UserFactory()
    async with (
        open_engine(database_url) as engine,
        Checkpointer(engine=engine) as own,
        Checkpointer(database_url) as reader,
    ):
        await reader.append("t", old)
        async with AsyncSession(engine) as session:
            bound = own.bind(session)
            await bound.truncate("t", after_seq=2)
            assert await bound.append("t", [new]) == [4]
            await session.rollback()
        assert await messages(reader) == old
        assert await reader.truncations("t") == []
        async with AsyncSession(engine) as session:
            bound = own.bind(session)
            removed = await bound.truncate("t", after_seq=2, run_id="edit")
            assert removed is not None
            assert removed.last_seq == 3
            assert await bound.append("t", [new], key="edit") == [4]
            assert await messages(reader) == old, "not committed yet"
            await session.commit()
        assert await messages(reader) == [*old[:2], new]
        assert await reader.truncations("t") == [removed]


async def test_edits_of_several_people_at_once_leave_one_whole_conversation(
    database_url: str,
) -> None:
    """Each edit replaces what it found, and every reader sees a first question and an answer."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    edits, looks = 0, 0
    async with (
        open_engine(database_url) as engine,
        Checkpointer(engine=engine) as own,
        Checkpointer(database_url) as reader,
    ):
        await reader.append("t", [UserFactory(run_id="0"), AssistantFactory(run_id="0")])

        async def edit(person: int) -> None:
            nonlocal edits
            number = 0
            while number < 5:
                run_id = f"{person} {number}"
                try:
                    async with AsyncSession(engine) as session, session.begin():
                        bound = own.bind(session)
                        await bound.truncate("t", after_seq=0, run_id=run_id)
                        await bound.append("t", [UserFactory(run_id=run_id)])
                        await bound.append("t", [AssistantFactory(run_id=run_id)])
                except DeadlockError:
                    continue
                number += 1
                edits += 1
                await asyncio.sleep(dice.random() * 0.003)

        async def watch() -> None:
            nonlocal looks
            while edits < 15:
                found = await messages(reader)
                assert [type(m).__name__ for m in found] == ["UserMessage", "AssistantMessage"]
                assert len({m.run_id for m in found}) == 1
                looks += 1
                await asyncio.sleep(0)

        await asyncio.gather(edit(1), edit(2), edit(3), watch())
        traces = await reader.truncations("t")
        print(f"seed {seed}: {edits} edits, {looks} looks")
        assert [t.message_count for t in traces] == [2] * 15
        assert [t.last_seq for t in traces] == list(range(2, 32, 2))
        assert [s.seq for s in await reader.read("t")] == [31, 32]


async def regenerate(checkpointer: Checkpointer, run_id: str) -> list[int]:
    """Replace the answer, as a worker does."""
    await checkpointer.claim_run("t", run_id)
    read = await checkpointer.read("t")
    question = max(s.seq for s in read if s.message.role == "user")
    await checkpointer.truncate("t", after_seq=question, run_id=run_id)
    seqs = await checkpointer.append("t", [AssistantFactory(run_id=run_id)], if_last_seq=question)
    await checkpointer.mark_run_complete("t", run_id)
    return seqs


@pytest.mark.every_way
async def test_an_answer_is_regenerated(checkpointer: Checkpointer) -> None:
    await checkpointer.append("t", [UserFactory()])
    assert await regenerate(checkpointer, "a") == [2]
    assert await regenerate(checkpointer, "b") == [3]
    await checkpointer.claim_run("t", "other")
    with pytest.raises(ThreadInUseError):
        await regenerate(checkpointer, "c")
    await checkpointer.mark_run_complete("t", "other")
    await checkpointer.append("t", [UserFactory()])
    with pytest.raises(ThreadChangedError):
        await checkpointer.append("t", [AssistantFactory()], if_last_seq=3)
    assert [s.seq for s in await checkpointer.read("t")] == [1, 3, 4]
    assert [t.run_id for t in await checkpointer.truncations("t")] == ["b"]
