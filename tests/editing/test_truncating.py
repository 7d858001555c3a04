"""Truncations: the newest messages are removed, and their seqs never allocated again."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from tests.support.commits import lost_commits
from tests.support.counting import StatementCount
from tests.support.databases import engine_for, engines_of, execute, on_connection, pools_of
from tests.support.factories import AssistantFactory, HitlRequestFactory, UserFactory
from tests.support.plans import analyze, explain, recorded
from tests.support.ways import host_engine
from threadlog import Checkpointer, TruncationSummary
from threadlog.errors import (
    CubepiSchemaUninitialized,
    DeadlockError,
    InvalidInputError,
    RunAlreadyCompletedError,
    ThreadInUseError,
)
from threadlog.messages import Message
from threadlog.models import Truncation
from threadlog.repositories import JoinedUnitOfWork


async def seqs(checkpointer: Checkpointer, thread_id: str = "t") -> list[int]:
    """Return the seqs of a thread's messages."""
    return [stored.seq for stored in await checkpointer.read(thread_id)]


@pytest.mark.every_way
@pytest.mark.whole_matrix
async def test_truncate_removes_the_tail_and_never_allocates_its_seqs_again(
    checkpointer: Checkpointer,
) -> None:
    said: list[Message] = UserFactory.build_batch(7)
    await checkpointer.append("t", said)
    await checkpointer.append("other", said)
    before = datetime.now(UTC)
    first = await checkpointer.truncate("t", after_seq=5, run_id="edit")
    assert first is not None
    assert abs(first.truncated_at - before) < timedelta(minutes=5)
    assert first == TruncationSummary("t", 5, 7, 2, "edit", first.truncated_at)
    assert await checkpointer.append("t", [UserFactory()]) == [8]
    assert await checkpointer.append("t", UserFactory.build_batch(2)) == [9, 10]
    second = await checkpointer.truncate("t", after_seq=2)
    assert second is not None
    assert second == TruncationSummary("t", 2, 10, 6, None, second.truncated_at)
    assert await checkpointer.truncations("t") == [first, second]
    assert await checkpointer.append("t", [UserFactory()]) == [11]
    assert await seqs(checkpointer) == [1, 2, 11]
    third = await checkpointer.truncate("t", after_seq=2)
    fourth = await checkpointer.truncate("t", after_seq=1)  # whose last seq is lower
    assert await checkpointer.truncations("t") == [first, second, third, fourth]
    assert await checkpointer.append("t", said[1:2]) == [12]
    data = await checkpointer.load("t")
    assert data is not None
    assert data.messages == said[:2]
    assert await seqs(checkpointer, "other") == [1, 2, 3, 4, 5, 6, 7]
    assert await checkpointer.truncations("other") == []


@pytest.mark.every_way
async def test_truncate_of_nothing_returns_none(checkpointer: Checkpointer) -> None:
    assert await checkpointer.truncate("t", after_seq=0) is None
    assert await checkpointer.list_threads() == []
    await checkpointer.append("t", UserFactory.build_batch(2))
    await checkpointer.claim_run("t", "open")  # nothing is to be removed, so nothing is refused
    assert await checkpointer.truncate("t", after_seq=2) is None
    assert await checkpointer.truncations("t") == []
    assert await seqs(checkpointer) == [1, 2]


@pytest.mark.every_way
async def test_truncate_of_a_whole_thread_leaves_an_empty_thread(
    checkpointer: Checkpointer,
) -> None:
    await checkpointer.append("t", UserFactory.build_batch(3))
    await checkpointer.truncate("t", after_seq=0)
    data = await checkpointer.load("t")
    assert data is not None
    assert data.messages == []
    assert await checkpointer.append("t", [UserFactory()]) == [4]


async def test_a_deleted_thread_begins_anew(database_url: str) -> None:
    async with Checkpointer(database_url) as checkpointer:
        await checkpointer.append("t", UserFactory.build_batch(3))
        await checkpointer.truncate("t", after_seq=0)
        await checkpointer.delete_thread("t")
        assert await checkpointer.truncations("t") == []
        assert await checkpointer.append("t", [UserFactory()]) == [1]


@pytest.mark.every_way
async def test_truncate_of_a_thread_in_use_is_refused(checkpointer: Checkpointer) -> None:
    await checkpointer.claim_run("t", "r")
    await checkpointer.append("t", UserFactory.build_batch(3, run_id="r"))
    with pytest.raises(ThreadInUseError) as caught:
        await checkpointer.truncate("t", after_seq=1)
    assert (caught.value.thread_id, caught.value.run_id) == ("t", "r")
    with pytest.raises(ThreadInUseError):  # another run than the open one
        await checkpointer.truncate("t", after_seq=1, run_id="R")
    assert await seqs(checkpointer) == [1, 2, 3]
    assert await checkpointer.truncate("t", after_seq=2, run_id="r") is not None
    assert await checkpointer.truncate("t", after_seq=1, ignore_open_runs=True) is not None
    await checkpointer.mark_run_complete("t", "r")
    await checkpointer.append("t", [UserFactory()])
    await checkpointer.save_pending_request("t", HitlRequestFactory(), run_id="gone")
    with pytest.raises(ThreadInUseError, match="question") as caught:
        await checkpointer.truncate("t", after_seq=0, run_id="gone")
    assert caught.value.run_id is None
    assert await checkpointer.truncate("t", after_seq=0, ignore_open_runs=True) is not None
    assert await checkpointer.load_pending("t") is not None
    assert await seqs(checkpointer) == []


@pytest.mark.every_way
async def test_truncate_keeps_completed_runs(checkpointer: Checkpointer) -> None:
    await checkpointer.append("t", [UserFactory()])
    await checkpointer.claim_run("t", "r")
    await checkpointer.append("t", [AssistantFactory(run_id="r")])
    await checkpointer.mark_run_complete("t", "r")
    await checkpointer.save_hitl_answer("t", "q", "yes", run_id="r")
    before = await checkpointer.runs("t")
    await checkpointer.truncate("t", after_seq=1)
    assert await checkpointer.runs("t") == before
    assert await checkpointer.load_hitl_answer("t", "q", run_id="r") == "yes"
    with pytest.raises(RunAlreadyCompletedError):
        await checkpointer.append("t", [AssistantFactory(run_id="r")])
    with pytest.raises(RunAlreadyCompletedError):
        await checkpointer.claim_run("t", "r")


@pytest.mark.every_way
async def test_a_seq_that_a_frameworks_backend_allocated_again_is_truncated_again(
    checkpointer: Checkpointer, database_url: str
) -> None:
    """Such a backend reads MAX(seq) only; its messages are read, and the trace is replaced."""
    await checkpointer.append("t", UserFactory.build_batch(7))
    await checkpointer.truncate("t", after_seq=5)
    again = (
        "INSERT INTO cubepi_messages (thread_id, seq, role, payload, metadata) "
        "SELECT thread_id, seq + 2, role, payload, metadata FROM cubepi_messages WHERE seq > 3"
    )
    await execute(database_url, again)
    assert await seqs(checkpointer) == [1, 2, 3, 4, 5, 6, 7]
    removed = await checkpointer.truncate("t", after_seq=6, run_id="again")
    assert removed is not None
    assert (removed.last_seq, removed.message_count) == (7, 1)
    assert await checkpointer.truncations("t") == [removed]
    assert await checkpointer.append("t", [UserFactory()]) == [8]


@pytest.mark.one_database
@pytest.mark.parametrize("bad", [-1, "1", None, True, 1.0, 2**63])
async def test_truncate_refuses_a_seq_that_is_none(checkpointer: Checkpointer, bad: object) -> None:
    with pytest.raises(InvalidInputError, match="after_seq"):
        await checkpointer.truncate("t", after_seq=bad)  # type: ignore[arg-type]  # on purpose


async def test_truncate_without_thread_control_is_refused(
    checkpointer: Checkpointer, database_url: str
) -> None:
    """A database opened without the tables says so, and reads and writes as ever."""
    checkpointer.client.facts = type(checkpointer.client.facts)(1_000_000, has_control=False)
    await checkpointer.append("t", UserFactory.build_batch(2))
    for call in (checkpointer.truncate("t", after_seq=1), checkpointer.truncations("t")):
        with pytest.raises(CubepiSchemaUninitialized, match="--part control"):
            await call
    assert await seqs(checkpointer) == [1, 2]


@pytest.fixture
def arrival() -> Sequence[bool]:
    """Return whether the server has executed the COMMIT whose answer is lost: both cases."""
    return (True, False)


async def test_truncate_after_a_lost_commit_removes_once(
    server_url: str, arrival: Sequence[bool]
) -> None:
    """Messages that another appends in between stay."""
    killer = engine_for(server_url, isolation_level="AUTOCOMMIT")
    async with Checkpointer(server_url) as checkpointer, killer.connect() as other:
        for number, arrives in enumerate(arrival):
            thread_id = f"t{number}"
            await checkpointer.append(thread_id, UserFactory.build_batch(5))
            with lost_commits(engines_of(checkpointer)[0], other, arrives=arrives) as killed:
                removed = await checkpointer.truncate(thread_id, after_seq=3, run_id="edit")
            assert len(killed) == 1
            assert removed is not None
            assert (removed.last_seq, removed.message_count) == (5, 2)
            assert await checkpointer.truncations(thread_id) == [removed]
            assert await checkpointer.append(thread_id, [UserFactory()]) == [6]
            assert await seqs(checkpointer, thread_id) == [1, 2, 3, 6]
    await killer.dispose()


async def test_truncate_after_a_lost_commit_keeps_what_was_appended_since(
    server_url: str,
) -> None:
    killer = engine_for(server_url, isolation_level="AUTOCOMMIT")
    async with (
        Checkpointer(server_url) as checkpointer,
        Checkpointer(server_url) as another,
        killer.connect() as other,
    ):
        await checkpointer.append("t", UserFactory.build_batch(5))

        def append() -> None:
            assert await_only(another.append("t", [UserFactory()])) == [6]

        with lost_commits(engines_of(checkpointer)[0], other, arrives=True, then=append):
            removed = await checkpointer.truncate("t", after_seq=3)
        assert removed is not None
        assert removed.last_seq == 5
        assert await seqs(checkpointer) == [1, 2, 3, 6]
    await killer.dispose()


async def test_a_cancelled_truncate_is_done_or_not_done(database_url: str) -> None:
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    done = 0
    async with Checkpointer(database_url) as checkpointer:
        for number in range(20):
            thread_id = f"t{number}"
            await checkpointer.append(thread_id, UserFactory.build_batch(5))
            task = asyncio.create_task(checkpointer.truncate(thread_id, after_seq=3))
            await asyncio.sleep(number and dice.random() * 0.01)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            found = await checkpointer.truncations(thread_id)
            done += len(found)
            left = await seqs(checkpointer, thread_id)
            assert left == ([1, 2, 3] if found else [1, 2, 3, 4, 5])
        assert not any(pool.checkedout() for pool in pools_of(checkpointer))
    print(f"seed {seed}: {done} of 20 done")


def append_and_truncate(session: Session) -> None:
    """Append seq 6 and remove it, as two transactions do that end before the session's lock."""
    with JoinedUnitOfWork(session) as uow:
        uow.has_control = True
        insertion = (
            "INSERT INTO cubepi_messages (thread_id, seq, role, payload, metadata) "
            "SELECT thread_id, 6, role, payload, metadata FROM cubepi_messages WHERE seq = 5"
        )
        session.execute(text(insertion))
        session.execute(text("DELETE FROM cubepi_messages WHERE seq = 6"))
        row = {"thread_id": "t", "last_seq": 6, "after_seq": 5, "message_count": 1}
        session.execute(insert(Truncation).values(truncated_at=datetime.now(UTC)), row)
        uow.threads.touch("t")


@pytest.mark.parametrize("number", [1, 3])
async def test_an_append_that_waits_for_its_lock_sees_an_append_and_its_truncation(
    server_url: str, number: int
) -> None:
    """Nor does PostgreSQL's one statement, whose snapshot is older than its lock, give 6 again."""
    holder = engine_for(server_url)
    async with Checkpointer(server_url) as checkpointer, AsyncSession(holder) as session:
        await checkpointer.append("t", UserFactory.build_batch(5))
        await session.execute(text("SELECT * FROM cubepi_threads FOR UPDATE"))
        messages = UserFactory.build_batch(number)
        append = asyncio.create_task(checkpointer.append("t", messages))
        await asyncio.sleep(0.3)
        assert not append.done()
        await session.run_sync(append_and_truncate)
        await session.commit()
        assert await append == list(range(7, 7 + number))
        assert await seqs(checkpointer) == [1, 2, 3, 4, 5, *range(7, 7 + number)]
    await holder.dispose()


async def test_truncate_waits_for_an_append_and_removes_its_messages(server_url: str) -> None:
    hosts = host_engine(server_url)
    async with Checkpointer(engine=hosts) as other, Checkpointer(server_url) as checkpointer:
        await checkpointer.append("t", UserFactory.build_batch(3))
        async with AsyncSession(hosts) as session:
            await other.bind(session).append("t", [UserFactory()])
            truncation = asyncio.create_task(checkpointer.truncate("t", after_seq=2))
            await asyncio.sleep(0.3)
            assert not truncation.done()
            await session.commit()
        removed = await truncation
        assert removed is not None
        assert (removed.last_seq, removed.message_count) == (4, 2)
        assert await checkpointer.append("t", [UserFactory()]) == [5]
    await hosts.dispose()


@pytest.mark.parametrize("then", ["append", "truncate", "fork"])
async def test_an_old_snapshot_leaves_no_message_behind_and_allocates_no_seq_again(
    server_name: str, server_url: str, then: str
) -> None:
    """At REPEATABLE READ a session either sees what was committed since, or is to be run again."""
    hosts = host_engine(server_url, isolation_level="REPEATABLE READ")
    async with Checkpointer(engine=hosts) as own, Checkpointer(server_url) as other:
        await own.append("t", UserFactory.build_batch(5))
        async with AsyncSession(hosts) as session:
            bound = own.bind(session)
            assert len(await bound.read("t")) == 5
            if then != "truncate":
                await other.append("t", [UserFactory()])
                await other.truncate("t", after_seq=4)
            else:
                await other.append("t", [UserFactory()])
            try:
                if then == "append":
                    assert await bound.append("t", [UserFactory()]) == [7]
                elif then == "truncate":
                    removed = await bound.truncate("t", after_seq=3)
                    assert removed is not None
                    assert (removed.last_seq, removed.message_count) == (6, 3)
                else:
                    await bound.fork("t", "f", at_seq=6)
                await session.commit()
            except DeadlockError:
                assert server_name != "mysql"
                await session.rollback()
                if then == "truncate":
                    await own.truncate("t", after_seq=3)
            else:
                assert server_name != "postgres"
        expected = {"append": [1, 2, 3, 4], "truncate": [1, 2, 3], "fork": [1, 2, 3, 4]}[then]
        assert [seq for seq in await seqs(other) if seq != 7] == expected
        assert await own.append("t", [UserFactory()]) in ([7], [8])
        assert not {5, 6} & {*await seqs(other)}
        assert await seqs(other, "f") in ([], [1, 2, 3, 4])
    await hosts.dispose()


async def test_truncate_sends_few_statements_that_read_the_tail_only(
    server_url: str, count: StatementCount
) -> None:
    """Lock and read, delete, insert, touch, read the trace, commit; of 3,000 messages three."""
    async with Checkpointer(server_url) as checkpointer:
        for _ in range(3):
            await checkpointer.append("t", UserFactory.build_batch(1000))
        await checkpointer.truncate("t", after_seq=2999)
        await on_connection(server_url, lambda c: analyze(c, "cubepi_messages"))
        end = iter(range(2990, 2900, -3))
        figure = count.figure(6, postgresql=8)
        assert await count.of(lambda: checkpointer.truncate("t", after_seq=next(end))) == figure
        assert await count.of(lambda: checkpointer.truncations("t")) == 1
        nothing = count.figure(2, postgresql=4)
        assert await count.of(lambda: checkpointer.truncate("t", after_seq=5000)) == nothing
        with recorded(engines_of(checkpointer)) as sent:
            await checkpointer.truncate("t", after_seq=next(end))
    sent = [each for each in sent if each[0].startswith(("SELECT", "DELETE"))]
    plans = await on_connection(server_url, lambda c: explain(c, sent, small=True))
    steps = [step for plan in plans for step in plan.steps if "messages" in step.table]
    assert steps
    for step in steps:
        assert len(step.partitions) <= 1, step
        assert str(step.key).endswith(("PRIMARY", "_pkey")), step


@pytest.mark.parametrize("then", ["complete", "release"])
async def test_a_run_whose_messages_are_removed_stays_open_until_it_ends(
    checkpointer: Checkpointer, then: str
) -> None:
    """Its worker goes on after the edit; if it is dead, the run is released as any other."""
    await checkpointer.append("t", [UserFactory()])
    await checkpointer.claim_run("t", "edit")
    await checkpointer.append("t", [AssistantFactory(run_id="edit")])
    assert await checkpointer.truncate("t", after_seq=1, run_id="edit") is not None
    assert [run.state for run in await checkpointer.runs("t")] == ["open"]
    if then == "complete":
        assert await checkpointer.append("t", [AssistantFactory(run_id="edit")]) == [3]
        await checkpointer.mark_run_complete("t", "edit")
    else:
        stale = await checkpointer.stale_runs(older_than=timedelta(0))
        assert [run.run_id for run in stale] == ["edit"]
        await checkpointer.release_run("t", "edit", older_than=timedelta(0))
    assert not [run for run in await checkpointer.runs("t") if run.state == "open"]
    assert await seqs(checkpointer) == ([1, 3] if then == "complete" else [1])
    await checkpointer.truncate("t", after_seq=0)  # the thread is not in use
