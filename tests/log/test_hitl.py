"""Pending questions, and the ledger of answers."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from sqlalchemy import text

from tests.support.databases import execute, on_connection
from tests.support.factories import HitlRequestFactory, UserFactory
from tests.support.matrix import rounds
from threadlog import Checkpointer, HitlRequest
from threadlog.databases.base import DatabaseFacts
from threadlog.errors import (
    CheckpointCorruptionError,
    InvalidIdError,
    InvalidInputError,
    TooLargeError,
)

pytestmark = pytest.mark.every_way


class Choice(BaseModel):
    """An answer as a Pydantic model."""

    decision: str
    more: dict[str, Any]
    at: datetime = datetime(2026, 1, 2, tzinfo=UTC)


BAD_REQUESTS: dict[str, Any] = {
    "a dict": {"question_id": "q"},
    "another model": UserFactory(),
    "NaN": HitlRequestFactory(created_at=float("nan")),
    "JSON that is none": HitlRequest.model_construct(question_id="q", payload={"a": {1}}),
    "a field of a wrong type": HitlRequest.model_construct(question_id=5, payload={}),
    "an id that is no key": HitlRequestFactory(question_id="q "),
    "no id": HitlRequest.model_construct(payload={}),
    "half a character in a key": HitlRequest.model_construct(
        question_id="q", payload={"\ud800": 1}
    ),
}
BAD_ANSWERS: dict[str, Any] = {
    "NaN": float("nan"),
    "a set": {1},
    "bytes": b"yes",
    "an int above 64 bits": [2**64],
    "a key that is no string": {1: 2},
    "half a character": "\ud800",
    "half a character in a model's key": Choice(decision="", more={"\ud800": 1}),
    "NaN in a model": Choice(decision="", more={"a": float("nan")}),
    "a time that is in no model": datetime(2026, 1, 2, tzinfo=UTC),
    "a spoilt model": [HitlRequest.model_construct(question_id=5, payload={})],
}


async def test_a_question_is_kept_until_it_is_removed(checkpointer: Checkpointer) -> None:
    assert await checkpointer.load_pending("t") is None
    first = HitlRequestFactory(timeout_seconds=1.5, more={"a": [1]})
    second = HitlRequestFactory()
    await checkpointer.save_pending_request("t", first, run_id="r")
    assert await checkpointer.load_pending("t") == (first, "r")
    assert await checkpointer.load_pending_request("t") == first
    assert await checkpointer.load_pending_run_id("t") == "r"
    assert await checkpointer.load_pending_request("T") is None
    await checkpointer.save_pending_request("t", second)
    assert await checkpointer.load_pending("t") == (second, None)
    assert await checkpointer.load_pending_run_id("t") is None
    await checkpointer.save_pending_request("t", None, run_id="ignored")
    assert await checkpointer.load_pending("t") is None
    data = await checkpointer.load("t")
    assert data is not None


async def test_removing_a_question_creates_no_thread(checkpointer: Checkpointer) -> None:
    """There is nothing to see of it afterwards."""
    await checkpointer.save_pending_request("t", None)
    assert await checkpointer.load("t") is None


@pytest.mark.whole_matrix
async def test_a_question_is_removed_only_if_it_is_the_one(checkpointer: Checkpointer) -> None:
    request = HitlRequestFactory(question_id="q1")
    await checkpointer.save_pending_request("t", request, run_id="r1")
    await checkpointer.save_pending_request("other", request, run_id="r1")
    for question_id, run_id in [("Q1", "r1"), ("q1", "R1"), ("q1", "ŕ1"), ("x", "r1"), ("q1", "x")]:
        assert not await checkpointer.clear_pending_request_if_matches(
            "t", question_id=question_id, run_id=run_id
        )
    assert await checkpointer.load_pending("t") == (request, "r1")
    clear = checkpointer.clear_pending_request_if_matches
    assert await clear("t", question_id="q1", run_id="r1")
    assert not await clear("t", question_id="q1", run_id="r1")
    assert await checkpointer.load_pending("t") is None
    assert await checkpointer.load_pending("other") == (request, "r1")


async def test_a_question_without_a_run_does_not_match(checkpointer: Checkpointer) -> None:
    await checkpointer.save_pending_request("t", HitlRequestFactory(question_id="q"))
    clear = checkpointer.clear_pending_request_if_matches
    assert not await clear("t", question_id="q", run_id="r")
    assert not await clear("missing", question_id="q", run_id="r")
    assert await checkpointer.load_pending("t") is not None


async def test_a_space_at_the_end_makes_another_id(
    checkpointer: Checkpointer, database_url: str
) -> None:
    await checkpointer.save_pending_request("t", HitlRequestFactory(question_id="q"), run_id="r")
    await execute(database_url, "UPDATE cubepi_threads SET run_id = 'r '")
    clear = checkpointer.clear_pending_request_if_matches
    assert not await clear("t", question_id="q", run_id="r")


@pytest.mark.whole_matrix
async def test_one_of_many_clears_a_question(checkpointer: Checkpointer) -> None:
    """Of callers at once one is told that it was theirs."""
    await checkpointer.save_pending_request("t", HitlRequestFactory(question_id="q"), run_id="r")
    clear = checkpointer.clear_pending_request_if_matches
    told = await asyncio.gather(*(clear("t", question_id="q", run_id="r") for _ in range(16)))
    assert told.count(True) == 1


@pytest.mark.whole_matrix
async def test_first_questions_of_a_thread_at_once(checkpointer: Checkpointer) -> None:
    """A thread is created once and the last question stands."""
    requests = HitlRequestFactory.build_batch(12)
    for number in range(5):
        saves = [checkpointer.save_pending_request(f"t{number}", request) for request in requests]
        await asyncio.gather(*saves)
        assert await checkpointer.load_pending_request(f"t{number}") in requests


@pytest.mark.one_database
@pytest.mark.parametrize("bad", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
async def test_questions_that_cannot_be_kept_are_refused(
    checkpointer: Checkpointer, bad: Any
) -> None:
    with pytest.raises(InvalidInputError, match=r"request|question_id"):
        await checkpointer.save_pending_request("t", bad)
    assert await checkpointer.load("t") is None


@pytest.mark.parametrize("broken", ["[1]", '{"question_id": 5}', '{"payload": {}}'])
async def test_a_corrupt_question_is_named(
    checkpointer: Checkpointer, database_url: str, broken: str
) -> None:
    """An unreadable question is not treated as a missing one."""
    await checkpointer.save_pending_request("t", HitlRequestFactory())
    quoted = broken.replace(":", r"\:")
    await execute(database_url, f"UPDATE cubepi_threads SET pending_request = '{quoted}'")
    with pytest.raises(CheckpointCorruptionError, match="pending_request") as caught:
        await checkpointer.load_pending("t")
    assert (caught.value.table, caught.value.thread_id) == ("cubepi_threads", "t")


async def test_answers_are_kept_by_thread_run_and_question(checkpointer: Checkpointer) -> None:
    keys = [("t", "q", "r"), ("t", "q", "R"), ("t", "Q", "r"), ("T", "q", "r"), ("t", "q", None)]
    for number, (thread_id, question_id, run_id) in enumerate(keys * 2):
        await checkpointer.save_hitl_answer(thread_id, question_id, number, run_id=run_id)
    found = [await checkpointer.load_hitl_answer(t, q, run_id=r) for t, q, r in keys]
    assert found == [5, 6, 7, 8, 9]
    assert await checkpointer.load_hitl_answer("t", "q", run_id="other") is None
    assert await checkpointer.load_hitl_answer("t", "other", run_id="r") is None


@pytest.mark.whole_matrix
async def test_answer_of_none_is_distinguished_from_no_answer(checkpointer: Checkpointer) -> None:
    missing = object()
    await checkpointer.save_hitl_answer("t", "q", None)
    assert await checkpointer.load_hitl_answer("t", "q", default=missing) is None
    assert await checkpointer.load_hitl_answer("t", "other", default=missing) is missing
    assert await checkpointer.load_hitl_answer("t", "other") is None


async def test_clearing_answers(checkpointer: Checkpointer) -> None:
    for run_id in ("r", "R", None):
        for question_id in ("a", "b", "c", "A"):
            await checkpointer.save_hitl_answer("t", question_id, 1, run_id=run_id)

    async def left(run_id: str | None) -> str:
        kept = [q for q in "abcA" if await checkpointer.load_hitl_answer("t", q, run_id=run_id)]
        return "".join(kept)

    await checkpointer.clear_hitl_answers("t", [], run_id="r")
    assert await left("r") == "abcA"
    await checkpointer.clear_hitl_answers("t", iter(["a", "c", "a", "x"]), run_id="r")
    assert (await left("r"), await left("R"), await left(None)) == ("bA", "abcA", "abcA")
    await checkpointer.clear_hitl_answers("t", run_id="r")
    assert (await left("r"), await left("R"), await left(None)) == ("", "abcA", "abcA")
    await checkpointer.clear_hitl_answers("t")
    assert (await left("R"), await left(None)) == ("abcA", "")


async def test_clearing_nothing_touches_no_connection(sqlite_url: str) -> None:
    async with Checkpointer(sqlite_url) as checkpointer:
        await checkpointer.save_hitl_answer("t", "q", "yes")
        sent: list[str] = []
        await checkpointer.clear_hitl_answers("t", [])
        assert sent == []
        assert await checkpointer.load_hitl_answer("t", "q") == "yes"


async def test_models_in_answers_become_objects(checkpointer: Checkpointer) -> None:
    choice = Choice(decision="edit", more={"n": 2**64 - 1})
    await checkpointer.save_hitl_answer("t", "q", [choice, {"inner": choice}, (1, None)])
    plain = {"decision": "edit", "more": {"n": 2**64 - 1}, "at": "2026-01-02T00:00:00Z"}
    assert await checkpointer.load_hitl_answer("t", "q") == [plain, {"inner": plain}, [1, None]]


@pytest.mark.one_database
@pytest.mark.parametrize("bad", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_answers_that_cannot_be_kept_are_refused(
    checkpointer: Checkpointer, bad: Any
) -> None:
    with pytest.raises(InvalidInputError, match="answer"):
        await checkpointer.save_hitl_answer("t", "q", bad)
    assert await checkpointer.load("t") is None


async def test_a_corrupt_answer_is_named(sqlite_url: str) -> None:
    async with Checkpointer(sqlite_url) as checkpointer:
        await checkpointer.save_hitl_answer("t", "q", "yes", run_id="r")
        await execute(sqlite_url, "UPDATE cubepi_hitl_answers SET answer = 'yes'")
        with pytest.raises(CheckpointCorruptionError, match="question 'q'") as caught:
            await checkpointer.load_hitl_answer("t", "q", run_id="r")
        assert caught.value.table == "cubepi_hitl_answers"


async def test_what_does_not_fit_into_a_statement_is_refused(database_url: str) -> None:
    async with Checkpointer(database_url) as checkpointer:
        checkpointer.client.facts = DatabaseFacts(10_000)
        with pytest.raises(TooLargeError, match="answer"):
            await checkpointer.save_hitl_answer("t", "q", "x" * 10_000)
        request = HitlRequestFactory(payload={"a": "x" * 10_000})
        with pytest.raises(TooLargeError, match="request"):
            await checkpointer.save_pending_request("t", request)
        assert await checkpointer.load("t") is None


async def test_an_answer_is_sent_once(innodb_url: str) -> None:
    """A question larger than half of the server's limit is stored, and replaced."""
    async with Checkpointer(innodb_url) as checkpointer:
        answer = "x" * (checkpointer.client.facts.statement_limit * 6 // 10)
        for _ in range(2):
            await checkpointer.save_hitl_answer("t", "q", answer)
        assert await checkpointer.load_hitl_answer("t", "q") == answer


async def test_values_of_more_than_16_mib_come_back(innodb_url: str) -> None:
    large = "x" * (17 * 2**20)
    async with Checkpointer(innodb_url) as checkpointer:
        request = HitlRequestFactory(payload={"a": large})
        await checkpointer.save_pending_request("t", request)
        assert await checkpointer.load_pending_request("t") == request
        await checkpointer.save_pending_request("t", None)
        await checkpointer.save_extra("t", {"a": large})
        await checkpointer.save_extra("t", {"b": 1})
        await checkpointer.claim_run("t", "r")
        await checkpointer.mark_run_complete("t", "r")
        await checkpointer.fork("t", "f", after_run_id="r")
        for thread_id in ("t", "f"):
            data = await checkpointer.load(thread_id)
            assert data is not None
            assert data.extra == {"a": large, "b": 1}


async def test_replacing_an_answer_dates_it_anew(innodb_url: str) -> None:
    async with Checkpointer(innodb_url) as checkpointer:
        await checkpointer.save_hitl_answer("t", "q", 1)
        await execute(innodb_url, "UPDATE cubepi_hitl_answers SET answered_at = '2026-01-01'")
        await checkpointer.save_hitl_answer("t", "q", 2)
    old = text("SELECT COUNT(*) FROM cubepi_hitl_answers WHERE answered_at < '2026-01-02'")
    assert await on_connection(innodb_url, lambda c: c.execute(old).scalar_one()) == 0


async def test_ids_are_compared_with_their_spaces(
    checkpointer: Checkpointer, database_url: str
) -> None:
    request = HitlRequestFactory(question_id="q")
    await checkpointer.save_pending_request("t", request, run_id="r")
    spaced = request.model_copy(update={"question_id": "q "}).model_dump_json()
    await execute(
        database_url,
        "UPDATE cubepi_threads SET pending_request = '" + spaced.replace(":", "\\:") + "'",
    )
    clear = checkpointer.clear_pending_request_if_matches
    assert not await clear("t", question_id="q", run_id="r")


async def test_clearing_leaves_no_run(checkpointer: Checkpointer, database_url: str) -> None:
    """The run id goes with the question, both ways to remove it."""
    left = text("SELECT COUNT(*) FROM cubepi_threads WHERE run_id IS NOT NULL")
    for number in range(2):
        await checkpointer.save_pending_request(
            "t", HitlRequestFactory(question_id="q"), run_id="r"
        )
        if number:
            await checkpointer.save_pending_request("t", None)
        else:
            await checkpointer.clear_pending_request_if_matches("t", question_id="q", run_id="r")
        assert await on_connection(database_url, lambda c: c.execute(left).scalar_one()) == 0


async def test_many_questions_are_cleared(checkpointer: Checkpointer) -> None:
    await checkpointer.save_hitl_answer("t", "q1999", 1)
    await checkpointer.clear_hitl_answers("t", [f"q{n}" for n in range(2_000)])
    assert await checkpointer.load_hitl_answer("t", "q1999") is None


@pytest.mark.parametrize("bad", ["q", b"q", 5])
async def test_one_question_is_no_list_of_questions(checkpointer: Checkpointer, bad: Any) -> None:
    """A string is not taken for its characters."""
    with pytest.raises(InvalidInputError, match="question_ids"):
        await checkpointer.clear_hitl_answers("t", bad)
    with pytest.raises(InvalidIdError, match=r"question_ids\[1\]"):
        await checkpointer.clear_hitl_answers("t", ["q", ""])


# NUL is refused.
characters = st.characters(codec="utf-8", min_codepoint=1)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(characters, max_size=20)
)
answers = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(characters, max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(
    max_examples=rounds(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(answer=answers)
async def test_any_answer_comes_back_as_it_was(checkpointer: Checkpointer, answer: Any) -> None:
    await checkpointer.save_hitl_answer("t", "q", answer)
    loaded = await checkpointer.load_hitl_answer("t", "q")
    assert loaded == answer
    assert type(loaded) is type(answer)
