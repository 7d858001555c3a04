"""Bad input: one family of errors, and nothing written."""

import asyncio
import random
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest

from tests.support.factories import HitlRequestFactory, UserFactory
from threadlog import Checkpointer, SyncCheckpointer, ThreadlogError
from threadlog.databases.base import DatabaseFacts
from threadlog.encoding.statement_size import STATEMENT_OVERHEAD
from threadlog.errors import (
    InvalidIdError,
    InvalidInputError,
    InvalidJsonError,
    InvalidMessageError,
    TooLargeError,
)
from threadlog.messages import TextContent, ToolCall, UserMessage

# Refused before a database is asked.
pytestmark = [pytest.mark.every_way, pytest.mark.one_database]

BAD_IDS = {
    "empty": "",
    "too long": "x" * 256,
    "ends in a space": "a ",
    "NUL": "a\0b",
    "lone surrogate": "a\ud800",
    "no string": 17,
    "bytes": b"a",
}


def nested(levels: int) -> Any:
    """Return a value of so many levels."""
    value: Any = 1
    for _ in range(levels - 1):
        value = [value]
    return value


BAD_JSON: dict[str, Any] = {
    "NaN": {"a": float("nan")},
    "infinity": {"a": [float("inf")]},
    "int above 64 bits": {"a": 2**64},
    "int below 64 bits": {"a": -(2**63) - 1},
    "too deep": {"a": nested(32)},
    "lone surrogate": {"a": "\udfff"},
    "lone surrogate in a key": {"\udfff": 1},
    "NUL": {"a": ["\0"]},
    "NUL in a key": {"a\0": 1},
    "key of too many bytes": {"é" * 32_768: 1},
}
GOOD_JSON: dict[str, Any] = {
    "\ufffd": "\ufffd",
    "a": [2**64 - 1, -(2**63), 1.5, -0.0, 1e300, True, None, ""],
    "deep": nested(31),
    "\x1a and '\\\"": "'\\\"\r\n\x1a",
    "": {},
    "🙂": "é",
}


async def assert_nothing_stored(checkpointer: Checkpointer) -> None:
    """Assert that the database is as empty as it was."""
    assert await checkpointer.list_threads() == []
    assert await checkpointer.read("t") == []


@pytest.mark.parametrize("bad", BAD_IDS.values(), ids=BAD_IDS)
async def test_ids_that_could_collide_or_break_are_refused(
    checkpointer: Checkpointer, bad: Any
) -> None:
    verbs: list[Callable[[], Any]] = [
        lambda: checkpointer.load(bad),
        lambda: checkpointer.append(bad, [UserFactory()]),
        lambda: checkpointer.save_extra(bad, {}),
        lambda: checkpointer.read(bad),
        lambda: checkpointer.delete_thread(bad),
        lambda: checkpointer.claim_run(bad, "r"),
        lambda: checkpointer.mark_run_complete(bad, "r"),
        lambda: checkpointer.release_run(bad, "r"),
        lambda: checkpointer.runs(bad),
        lambda: checkpointer.snapshot(bad, after_run_id="r"),
        lambda: checkpointer.save_pending_request(bad, HitlRequestFactory()),
        lambda: checkpointer.save_pending_request(bad, None),
        lambda: checkpointer.load_pending(bad),
        lambda: checkpointer.clear_pending_request_if_matches(bad, question_id="q", run_id="r"),
        lambda: checkpointer.save_hitl_answer(bad, "q", 1),
        lambda: checkpointer.load_hitl_answer(bad, "q"),
        lambda: checkpointer.clear_hitl_answers(bad),
    ]
    for verb in verbs:
        with pytest.raises(InvalidIdError, match="thread_id") as caught:
            await verb()
        assert caught.value.name == "thread_id"
        assert isinstance(caught.value, ThreadlogError | ValueError)
    await assert_nothing_stored(checkpointer)


@pytest.mark.parametrize("bad", BAD_IDS.values(), ids=BAD_IDS)
async def test_ids_of_runs_questions_and_forks_are_refused(
    checkpointer: Checkpointer, bad: Any
) -> None:
    request = HitlRequestFactory()
    clear = checkpointer.clear_pending_request_if_matches
    verbs: dict[str, list[Callable[[], Any]]] = {
        "run_id": [
            lambda: checkpointer.claim_run("t", bad),
            lambda: checkpointer.mark_run_complete("t", bad),
            lambda: checkpointer.release_run("t", bad),
            lambda: checkpointer.save_pending_request("t", request, run_id=bad),
            lambda: clear("t", question_id="q", run_id=bad),
            lambda: checkpointer.save_hitl_answer("t", "q", 1, run_id=bad),
            lambda: checkpointer.load_hitl_answer("t", "q", run_id=bad),
            lambda: checkpointer.clear_hitl_answers("t", run_id=bad),
        ],
        "question_id": [
            lambda: clear("t", question_id=bad, run_id="r"),
            lambda: checkpointer.save_hitl_answer("t", bad, 1),
            lambda: checkpointer.load_hitl_answer("t", bad),
        ],
        "after_run_id": [
            lambda: checkpointer.snapshot("t", after_run_id=bad),
            lambda: checkpointer.fork("t", "f", after_run_id=bad),
        ],
        "src_thread_id": [lambda: checkpointer.fork(bad, "f", after_run_id="r")],
        "new_thread_id": [lambda: checkpointer.fork("t", bad, after_run_id="r")],
    }
    for name, calls in verbs.items():
        for call in calls:
            with pytest.raises(InvalidIdError) as caught:
                await call()
            assert caught.value.name == name
    await assert_nothing_stored(checkpointer)


@pytest.mark.whole_matrix
async def test_ids_of_an_answer_or_question_that_are_too_long_together_are_refused(
    checkpointer: Checkpointer,
) -> None:
    """The largest key of an index of PostgreSQL, in characters that it cannot compress."""
    dice = random.Random(1)
    one, other, longest = (
        "".join(chr(dice.randrange(0x20000, 0x2A6D7)) for _ in range(length))
        for length in (255, 255, 140)
    )
    await checkpointer.save_hitl_answer(one, longest, "yes", run_id=other)
    assert await checkpointer.load_hitl_answer(one, longest, run_id=other) == "yes"
    with pytest.raises(InvalidIdError, match="2,604") as caught:
        await checkpointer.save_hitl_answer(one, f"{longest}𠀀", "yes", run_id=other)
    assert caught.value.name == "question_id"
    assert await checkpointer.load_hitl_answer(one, f"{longest}𠀀", run_id=other) is None
    # Nor a question that could not be answered.
    question = HitlRequestFactory(question_id=f"{longest}𠀀")
    with pytest.raises(InvalidIdError, match="2,604") as caught:
        await checkpointer.save_pending_request(one, question, run_id=other)
    assert caught.value.name == "question_id"
    assert await checkpointer.load_pending(one) is None
    question = HitlRequestFactory(question_id=longest)
    await checkpointer.save_pending_request(one, question, run_id=other)
    assert await checkpointer.load_pending(one) == (question, other)


@pytest.mark.parametrize("bad", BAD_JSON.values(), ids=BAD_JSON)
async def test_json_that_would_come_back_changed_is_refused(
    checkpointer: Checkpointer, bad: dict[str, Any]
) -> None:
    with pytest.raises(InvalidJsonError, match="extra"):
        await checkpointer.save_extra("t", bad)
    spoilt = UserFactory()
    spoilt.metadata = bad
    with pytest.raises(InvalidMessageError) as caught:
        await checkpointer.append("t", [UserFactory(), spoilt, UserFactory()])
    assert caught.value.index == 1
    await assert_nothing_stored(checkpointer)


@pytest.mark.parametrize("bad", [[1], "x", None, {1: 2}, {"a": {1, 2}}, {"a": b"x"}])
async def test_extra_must_be_a_json_object(checkpointer: Checkpointer, bad: Any) -> None:
    with pytest.raises(InvalidJsonError):
        await checkpointer.save_extra("t", bad)
    await assert_nothing_stored(checkpointer)


@pytest.mark.whole_matrix
async def test_json_at_the_limits_is_kept(checkpointer: Checkpointer) -> None:
    """The limits are not tighter than the databases'."""
    await checkpointer.save_extra("t", GOOD_JSON)
    await checkpointer.append("t", [UserMessage(content=[], metadata=GOOD_JSON)])
    data = await checkpointer.load("t")
    assert data is not None
    assert data.extra == GOOD_JSON
    assert data.messages[0].metadata == GOOD_JSON


class Stranger(TextContent):
    """A Pydantic model that is no message."""


@pytest.mark.parametrize("bad", [Stranger(), {"role": "user"}, "hi", None])
async def test_only_the_three_classes_are_messages(checkpointer: Checkpointer, bad: Any) -> None:
    """Nothing of a batch with a stranger in it is stored."""
    with pytest.raises(InvalidMessageError, match="not one of"):
        await checkpointer.append("t", [UserFactory(), bad])
    await assert_nothing_stored(checkpointer)


@pytest.mark.parametrize("bad", [UserFactory.build(), "hi", {"role": "user"}, None, 5, ""])
async def test_a_message_without_its_list_is_refused(checkpointer: Checkpointer, bad: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"write \[message\]"):
        await checkpointer.append("t", bad)
    await assert_nothing_stored(checkpointer)


def spoilt_messages() -> dict[str, UserMessage]:
    """Create messages that were valid once and were changed since."""
    wrong_type = UserFactory()
    wrong_type.content[0].text = 17
    surrogate = UserMessage(content=[TextContent(text="\ud800")])
    too_big = UserFactory()
    too_big.content.append(ToolCall(id="1", name="x", arguments={"n": 2**70}))
    too_deep = UserFactory()
    too_deep.metadata = {"a": nested(2000)}
    other_role = UserFactory()
    other_role.role = "assistant"
    no_content = UserFactory()
    del no_content.content
    bad_key = UserFactory()
    bad_key.content.append(ToolCall(id="1", name="x", arguments={"\udfff": 1}))
    return {
        "other role": other_role,
        "deleted field": no_content,
        "constructed without a field": UserMessage.model_construct(metadata={}, run_id=None),
        "surrogate in a key": bad_key,
        "wrong type": wrong_type,
        "surrogate": surrogate,
        "int": too_big,
        "deep": too_deep,
    }


@pytest.mark.parametrize("kind", spoilt_messages())
async def test_what_could_not_be_read_back_is_refused(
    checkpointer: Checkpointer, kind: str
) -> None:
    """Nothing is written that loading would call corrupt; no content in the text."""
    with pytest.raises(InvalidMessageError) as caught:
        await checkpointer.append("t", [UserFactory(), spoilt_messages()[kind]])
    assert caught.value.index == 1
    assert "17" not in str(caught.value)
    await assert_nothing_stored(checkpointer)


@pytest.mark.parametrize("bad", ["", "x" * 256, "r ", "r\0"])
async def test_a_messages_run_id_is_checked_too(checkpointer: Checkpointer, bad: str) -> None:
    with pytest.raises(InvalidMessageError, match="run_id"):
        await checkpointer.append("t", [UserFactory(run_id=bad)])
    await assert_nothing_stored(checkpointer)


@pytest.mark.whole_matrix
async def test_a_message_above_the_servers_packet_limit(innodb_url: str) -> None:
    async with Checkpointer(innodb_url) as checkpointer:
        limit = checkpointer.client.facts.statement_limit
        assert limit >= 1_000_000
        fits = UserMessage(content=[TextContent(text="x" * (limit // 4 * 3 - 5_000))])
        await checkpointer.append("t", [UserFactory(), fits])
        large = UserMessage(content=[TextContent(text="x" * limit)])
        with pytest.raises(TooLargeError, match="max_allowed_packet") as caught:
            await checkpointer.append("t", [UserFactory(), large])
        assert caught.value.limit == limit < caught.value.size
        with pytest.raises(TooLargeError):
            await checkpointer.save_extra("t", {"a": "x" * limit})
        assert len(await checkpointer.read("t")) == 2


def largest_text(caught: TooLargeError, length: int) -> str:
    """Return the longest text that fits, from the refusal of one of `length` characters."""
    excess = caught.size - (caught.limit - STATEMENT_OVERHEAD)
    return "x" * (length - 3 * -(-excess // 4))


@pytest.mark.whole_matrix
async def test_message_at_the_packet_limit_is_stored_and_one_more_refused(innodb_url: str) -> None:
    """Bytes are sent in base64, four characters for three bytes."""

    def said(text: str) -> list[UserMessage]:
        return [UserMessage(content=[TextContent(text=text)])]

    def at_limit_without_asyncio() -> None:
        with SyncCheckpointer(innodb_url) as sync:
            limit = sync.client.facts.statement_limit
            with pytest.raises(TooLargeError) as caught:
                sync.append("s", said("x" * limit))
            fits = largest_text(caught.value, limit)
            assert limit // 4 * 3 - 5_000 < len(fits) < limit // 4 * 3
            sync.append("s", said(fits))
            with pytest.raises(TooLargeError):
                sync.append("s", said(fits + "xxx"))
            # Several, of which any two exceed a statement.
            sync.append("s", [*said("x" * (limit * 2 // 5)), *said("y" * (limit * 2 // 5))])
            assert len(sync.read("s")) == 3

    await asyncio.to_thread(at_limit_without_asyncio)
    async with Checkpointer(innodb_url) as checkpointer:
        limit = checkpointer.client.facts.statement_limit
        with pytest.raises(TooLargeError) as caught:
            await checkpointer.append("a", said("x" * limit))
        fits = largest_text(caught.value, limit)
        await checkpointer.append("a", said(fits))
        with pytest.raises(TooLargeError):
            await checkpointer.append("a", said(fits + "xxx"))
        assert len(await checkpointer.read("a")) == 1


@pytest.mark.parametrize("number", [2**63, 2**70, HTTPStatus.OK])
@pytest.mark.whole_matrix
async def test_numbers_beyond_the_databases(checkpointer: Checkpointer, number: int) -> None:
    """A number that cannot be a seq is refused before a driver gets it.

    PyMySQL sends the name of an IntEnum.
    """
    verbs: list[Callable[[], Any]] = [
        lambda: checkpointer.load("t", last=number),
        lambda: checkpointer.read("t", after_seq=number),
        lambda: checkpointer.read("t", limit=number),
        lambda: checkpointer.list_threads(limit=number),
    ]
    for verb in verbs:
        with pytest.raises(InvalidInputError):
            await verb()
    assert await checkpointer.read("t", after_seq=2**63 - 1, limit=2**63 - 1) == []
    with pytest.raises(InvalidInputError, match="surrogate"):
        await checkpointer.list_threads(after="\ud800")


@pytest.mark.whole_matrix
async def test_extra_that_grows_beyond_a_statement(database_url: str) -> None:
    """The merged object is measured, not the new part alone."""
    async with Checkpointer(database_url) as checkpointer:
        checkpointer.client.facts = DatabaseFacts(65_536)
        for number in range(3):
            await checkpointer.save_extra("t", {f"k{number}": "x" * 19_000})
        with pytest.raises(TooLargeError, match="extra"):
            await checkpointer.save_extra("t", {"k3": "x" * 19_000})
        data = await checkpointer.load("t")
        assert data is not None
        assert list(data.extra) == ["k0", "k1", "k2"]


async def test_pool_sizes_are_checked() -> None:
    """A pool of nothing is refused."""
    for sizes in ({"max_pool_size": 0}, {"min_pool_size": -1}, {"min_pool_size": 11}):
        with pytest.raises(ThreadlogError):
            Checkpointer("sqlite://", **sizes)  # type: ignore[arg-type]  # ints, as a dict
    assert issubclass(InvalidInputError, ThreadlogError)
