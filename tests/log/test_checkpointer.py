"""The facade's verbs, on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from tests.support.databases import engines_of, pools_of
from tests.support.factories import AssistantFactory, ToolResultFactory, UserFactory
from threadlog import (
    CheckpointData,
    Checkpointer,
    FrameworkTypes,
    HitlRequest,
    MessageCodec,
    SyncCheckpointer,
)
from threadlog.errors import InvalidInputError, NotOpenError
from threadlog.messages import AssistantMessage, Message, ToolResultMessage, UserMessage

pytestmark = pytest.mark.every_way


def conversation(turns: int = 1) -> list[Message]:
    """Create a conversation of a person, a model and a tool."""
    factories = (UserFactory, AssistantFactory, ToolResultFactory)
    return [factory() for _ in range(turns) for factory in factories]


async def test_what_was_appended_comes_back_equal(checkpointer: Checkpointer) -> None:
    said = conversation(3)
    await checkpointer.append("t", said[:4])
    await checkpointer.append("t", said[4:])
    data = await checkpointer.load("t")
    assert data is not None
    assert data.messages == said
    assert [type(m) for m in data.messages] == [type(m) for m in said]
    assert (data.extra, data.parent_thread_id) == ({}, None)


async def test_an_unknown_thread_is_none(checkpointer: Checkpointer) -> None:
    """Loading and reading create nothing."""
    assert await checkpointer.load("nobody") is None
    assert await checkpointer.load("nobody", last=3) is None
    assert await checkpointer.read("nobody") == []
    assert await checkpointer.list_threads() == []


async def test_appending_nothing_touches_no_connection(database_url: str) -> None:
    async with Checkpointer(database_url) as checkpointer:
        taken: list[object] = []
        for engine in engines_of(checkpointer):
            event.listen(engine, "checkout", lambda *given: taken.append(given))
        await checkpointer.append("t", [])
        assert taken == []
        assert await checkpointer.load("t") is None
        assert len(taken) == 1


async def test_last_gives_the_newest_in_order(checkpointer: Checkpointer) -> None:
    said = conversation(3)
    await checkpointer.append("t", said)
    await checkpointer.save_extra("t", {"k": 1})
    for last in (1, 4, 9, 50):
        data = await checkpointer.load("t", last=last)
        assert data is not None
        assert data.messages == said[-last:]
        assert data.extra == {"k": 1}


@pytest.mark.parametrize("last", [0, -1, 1.5, True])
async def test_last_must_be_a_positive_int(checkpointer: Checkpointer, last: int) -> None:
    """A wrong count is refused, not guessed at."""
    with pytest.raises(InvalidInputError, match="last"):
        await checkpointer.load("t", last=last)


async def test_save_extra_merges_at_the_top_only(checkpointer: Checkpointer) -> None:
    await checkpointer.save_extra("t", {"a": 1, "nested": {"x": 1, "y": 2}})
    await checkpointer.save_extra("t", {"b": None, "nested": {"z": 3}})
    data = await checkpointer.load("t")
    assert data is not None
    assert data.extra == {"a": 1, "b": None, "nested": {"z": 3}}
    assert data.messages == []


@pytest.mark.whole_matrix
async def test_concurrent_save_extra_loses_no_key(checkpointer: Checkpointer) -> None:
    await asyncio.gather(*(checkpointer.save_extra("t", {f"k{n}": n}) for n in range(20)))
    data = await checkpointer.load("t")
    assert data is not None
    assert data.extra == {f"k{n}": n for n in range(20)}


@pytest.mark.whole_matrix
async def test_load_of_whole_turns_begins_at_a_user_message(checkpointer: Checkpointer) -> None:
    """A tool result without its call is refused by the providers of models."""
    said: list[Message] = [
        *(AssistantFactory(), UserFactory(), AssistantFactory(), ToolResultFactory()),
        *(AssistantFactory(), UserFactory(), AssistantFactory()),
    ]
    await checkpointer.append("t", said)
    for last, first in ((1, 5), (2, 5), (3, 1), (4, 1), (6, 1), (7, 0), (99, 0)):
        data = await checkpointer.load("t", last=last, whole_turns=True)
        assert data is not None
        assert data.messages == said[first:]
    data = await checkpointer.load("t", whole_turns=True)
    assert data is not None
    assert data.messages == said
    assert await checkpointer.load("nobody", last=1, whole_turns=True) is None
    await checkpointer.save_extra("empty", {"a": 1})
    data = await checkpointer.load("empty", last=1, whole_turns=True)
    assert data is not None
    assert (data.messages, data.extra) == ([], {"a": 1})


async def test_read_pages_with_seq_and_time(checkpointer: Checkpointer) -> None:
    said = conversation(2)
    before = datetime.now(UTC).replace(microsecond=0)
    await checkpointer.append("t", said)
    page = await checkpointer.read("t", after_seq=1, limit=3)
    assert [stored.seq for stored in page] == [2, 3, 4]
    assert [stored.message for stored in page] == said[1:4]
    assert page[0].created_at.tzinfo is UTC
    assert before <= page[0].created_at <= datetime.now(UTC) + timedelta(seconds=1)
    assert await checkpointer.read("t", after_seq=6) == []
    with pytest.raises(AttributeError):
        page[0].seq = 7  # type: ignore[misc]  # frozen: that is the test


async def test_stream_gives_every_message_once(checkpointer: Checkpointer) -> None:
    said = conversation(5)
    await checkpointer.append("t", said)
    streamed = [stored async for stored in checkpointer.stream("t", batch_size=4)]
    assert [stored.seq for stored in streamed] == list(range(1, 16))
    assert [stored.message for stored in streamed] == said
    with pytest.raises(InvalidInputError, match="batch_size"):
        await anext(checkpointer.stream("t", batch_size=0))
    tail = [stored.seq async for stored in checkpointer.stream("t", after_seq=12)]
    assert tail == [13, 14, 15]


async def test_stream_holds_no_connection_between_batches(database_url: str) -> None:
    """A slow consumer blocks nobody."""
    async with Checkpointer(database_url) as checkpointer:
        await checkpointer.append("t", conversation(2))
        async for _ in checkpointer.stream("t", batch_size=2):
            assert not any(pool.checkedout() for pool in pools_of(checkpointer))


async def test_a_batch_larger_than_the_drivers_statement(checkpointer: Checkpointer) -> None:
    """Many large messages are stored whole and in order."""
    said: list[Message] = [
        UserMessage(content=[], metadata={"n": n, "pad": "'\\\x1a\n" * 20_000}) for n in range(30)
    ]
    await checkpointer.append("t", said)
    data = await checkpointer.load("t")
    assert data is not None
    assert data.messages == said


async def test_ids_are_compared_byte_by_byte(checkpointer: Checkpointer) -> None:
    """Case, accents and normal forms make different threads."""
    ids = ["R1", "r1", "re", "ré", "re\u0301", "ß", "ss", "a" * 255, "日本", "🙂"]
    for number, thread_id in enumerate(ids):
        await checkpointer.append(thread_id, [UserMessage(content=[], metadata={"n": number})])
    for number, thread_id in enumerate(ids):
        data = await checkpointer.load(thread_id)
        assert data is not None
        assert [message.metadata for message in data.messages] == [{"n": number}]


async def test_an_in_memory_database_lives_as_long_as_its_block() -> None:
    async with Checkpointer("sqlite://") as one, Checkpointer("sqlite:///:memory:") as two:
        await asyncio.gather(*(one.append("t", conversation()) for _ in range(20)))
        stored = await one.read("t")
        assert [message.seq for message in stored] == list(range(1, 61))
        assert await two.load("t") is None
    async with one:
        assert await one.load("t") is None


async def test_outside_its_block_it_says_so(database_url: str) -> None:
    checkpointer = Checkpointer(database_url)
    with pytest.raises(NotOpenError, match="async with"):
        await checkpointer.load("t")
    # As in the framework, an empty append does nothing.
    await checkpointer.append("t", [])
    SyncCheckpointer(database_url).append("t", [])
    async with checkpointer:
        await checkpointer.append("t", conversation())
    with pytest.raises(NotOpenError, match="async with"):
        await checkpointer.append("t", conversation())
    async with checkpointer:
        assert len(await checkpointer.read("t")) == 3


class HostUser(UserMessage):
    """An application's own class for a person's message."""

    mood: str = "calm"


HostMessage = HostUser | AssistantMessage | ToolResultMessage


class HostCheckpointer(Checkpointer[HostMessage]):
    """A checkpointer of the application's own message classes."""

    vocabulary = FrameworkTypes(
        MessageCodec[HostMessage](HostUser, AssistantMessage, ToolResultMessage),
        HitlRequest,
        CheckpointData[HostMessage],
    )


async def test_a_vocabulary_of_other_classes(database_url: str) -> None:
    """An application's own Pydantic classes can be used instead of threadlog's."""
    async with HostCheckpointer(database_url) as checkpointer:
        await checkpointer.append("t", [HostUser(content=[], mood="glad")])
        data = await checkpointer.load("t")
    assert data is not None
    assert data.messages == [HostUser(content=[], mood="glad")]
    async with Checkpointer(database_url) as plain:
        data_of_ours = await plain.load("t")
    assert data_of_ours is not None
    assert data_of_ours.messages[0].model_extra == {"mood": "glad"}
