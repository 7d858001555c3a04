"""Forks and snapshots at a message."""

from typing import Any

import pytest
from sqlalchemy import text

from tests.support.counting import StatementCount
from tests.support.databases import execute, on_connection
from tests.support.factories import (
    AssistantFactory,
    HitlRequestFactory,
    ToolResultFactory,
    UserFactory,
)
from threadlog import Checkpointer
from threadlog.errors import (
    InvalidIdError,
    InvalidInputError,
    RunNotCompletedError,
    ThreadAlreadyExistsError,
    ThreadNotFoundError,
)
from threadlog.messages import Message

RUNS = {0: ["e"], 2: ["e"], 3: ["a", "e"], 5: ["a", "e"], 6: ["a", "c", "e"], 9: ["a", "c", "e"]}
"""By seq: the runs of `talk` that are completed and have no later message."""


async def talk(checkpointer: Checkpointer) -> list[Message]:
    """Create a thread of which runs ``a``, ``c`` and ``e`` are completed, and ``b`` is open.

    Returns:
        Its messages: 1 none, 2 a, 3 a, 4 b, 5 c, 6 c, 7 none; ``e`` has none.
    """
    said: list[Message] = [
        UserFactory(),
        AssistantFactory(run_id="a"),
        ToolResultFactory(run_id="a"),
        UserFactory(run_id="b"),
        AssistantFactory(run_id="c"),
        ToolResultFactory(run_id="c"),
        UserFactory(),
    ]
    for run_id in ("a", "b", "c", "e"):
        await checkpointer.claim_run("t", run_id)
    await checkpointer.append("t", said)
    for run_id in ("c", "a", "e"):
        await checkpointer.mark_run_complete("t", run_id)
    return said


@pytest.mark.every_way
@pytest.mark.whole_matrix
async def test_fork_at_a_seq_copies_all_messages_up_to_it(
    checkpointer: Checkpointer, database_url: str
) -> None:
    said = await talk(checkpointer)
    await execute(database_url, "UPDATE cubepi_messages SET created_at = '2026-01-02 03:04:05'")
    whole = await checkpointer.read("t")
    before = await checkpointer.runs("t")
    for at_seq, runs in RUNS.items():
        new = f"f{at_seq}"
        assert await checkpointer.snapshot("t", at_seq=at_seq) == said[:at_seq]
        await checkpointer.fork("t", new, at_seq=at_seq, metadata={"at": at_seq})
        assert await checkpointer.read(new) == whole[:at_seq]
        data = await checkpointer.load(new)
        assert data is not None
        assert (data.extra, data.parent_thread_id) == ({"fork": {"at": at_seq}}, "t")
        copied = {run.run_id: run.completion_seq for run in await checkpointer.runs(new)}
        assert copied == {r.run_id: r.completion_seq for r in before if r.run_id in runs}
        (summary,) = (s for s in await checkpointer.list_threads() if s.thread_id == new)
        assert summary.forked_at_seq == min(at_seq, 7)
        next_seq = min(at_seq, 7) + 1
        assert await checkpointer.append(new, [UserFactory()]) == [next_seq]
    assert await checkpointer.read("t") == whole
    assert await checkpointer.runs("t") == before


@pytest.mark.every_way
async def test_a_cut_or_open_run_can_be_claimed_and_completed_in_the_fork(
    checkpointer: Checkpointer,
) -> None:
    await talk(checkpointer)
    await checkpointer.fork("t", "f", at_seq=5)
    for run_id in ("b", "c"):
        await checkpointer.claim_run("f", run_id)
        await checkpointer.append("f", [ToolResultFactory(run_id=run_id)])
        await checkpointer.mark_run_complete("f", run_id)
    seqs = {run.run_id: run.completion_seq for run in await checkpointer.runs("f")}
    assert seqs == {"a": 2, "e": 3, "b": 4, "c": 5}
    await checkpointer.fork("f", "g", after_run_id="c")
    assert [stored.seq for stored in await checkpointer.read("g")] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.every_way
async def test_fork_at_a_seq_copies_nothing_pending_and_no_answers(
    checkpointer: Checkpointer,
) -> None:
    await talk(checkpointer)
    await checkpointer.save_pending_request("t", HitlRequestFactory(), run_id="b")
    await checkpointer.save_hitl_answer("t", "q", "yes", run_id="a")
    await checkpointer.truncate("t", after_seq=5, ignore_open_runs=True)
    await checkpointer.append("t", [UserFactory()])
    await checkpointer.fork("t", "f", at_seq=8)
    assert [stored.seq for stored in await checkpointer.read("f")] == [1, 2, 3, 4, 5, 8]
    assert await checkpointer.load_pending("f") is None
    assert await checkpointer.load_hitl_answer("f", "q", run_id="a") is None
    assert await checkpointer.truncations("f") == []


@pytest.mark.every_way
async def test_a_fork_belongs_to_the_owner_of_its_source(
    checkpointer: Checkpointer, database_url: str
) -> None:
    await checkpointer.append("t", UserFactory.build_batch(2), owner="ann")
    await checkpointer.append("nobody's", UserFactory.build_batch(2))
    await checkpointer.claim_run("t", "r")
    await checkpointer.mark_run_complete("t", "r")
    await checkpointer.fork("t", "f", at_seq=1)
    await checkpointer.fork("t", "g", after_run_id="r")
    await checkpointer.fork("nobody's", "h", at_seq=1)
    query = text("SELECT thread_id, owner FROM threadlog_owners ORDER BY thread_id")
    owners = await on_connection(database_url, lambda c: [tuple(row) for row in c.execute(query)])
    assert owners == [("f", "ann"), ("g", "ann"), ("t", "ann")]


@pytest.mark.every_way
async def test_a_thread_without_runs_is_forked_at_any_message(checkpointer: Checkpointer) -> None:
    said: list[Message] = UserFactory.build_batch(4)
    await checkpointer.append("t", said)
    for at_seq in range(6):
        assert await checkpointer.snapshot("t", at_seq=at_seq) == said[:at_seq]
        await checkpointer.fork("t", f"f{at_seq}", at_seq=at_seq)
        data = await checkpointer.load(f"f{at_seq}")
        assert data is not None
        assert data.messages == said[:at_seq]


@pytest.mark.every_way
async def test_fork_at_a_seq_that_cannot_be_made_is_refused(checkpointer: Checkpointer) -> None:
    for call in (checkpointer.fork("t", "f", at_seq=1), checkpointer.snapshot("t", at_seq=1)):
        with pytest.raises(ThreadNotFoundError):
            await call
    await checkpointer.append("t", [UserFactory()])
    await checkpointer.append("taken", [UserFactory()])
    with pytest.raises(ThreadAlreadyExistsError):
        await checkpointer.fork("t", "taken", at_seq=1)
    with pytest.raises(RunNotCompletedError):
        await checkpointer.fork("t", "f", after_run_id="unknown")
    assert await checkpointer.load("f") is None


@pytest.mark.one_database
@pytest.mark.parametrize(
    "end",
    [
        {},
        {"after_run_id": None, "at_seq": None},
        {"after_run_id": "r", "at_seq": 1},
        {"at_seq": -1},
        {"at_seq": "1"},
        {"at_seq": True},
        {"at_seq": 2**63},
        {"after_run_id": ""},
    ],
)
async def test_a_fork_has_exactly_one_end(checkpointer: Checkpointer, end: dict[str, Any]) -> None:
    await checkpointer.append("t", [UserFactory()])
    for call in (checkpointer.fork("t", "f", **end), checkpointer.snapshot("t", **end)):
        with pytest.raises((InvalidInputError, InvalidIdError)):
            await call
    assert await checkpointer.load("f") is None


async def test_a_fork_at_a_seq_sends_as_much_as_one_after_a_run(
    server_url: str, count: StatementCount
) -> None:
    """Five statements whatever it copies; the owner is read by the one that locks."""
    async with Checkpointer(server_url) as checkpointer:
        await checkpointer.append("t", UserFactory.build_batch(50))
        new = iter(range(100))
        figure = count.figure(5, postgresql=7)
        assert await count.of(lambda: checkpointer.fork("t", f"{next(new)}", at_seq=30)) == figure
        assert await count.of(lambda: checkpointer.snapshot("t", at_seq=30)) == 1
