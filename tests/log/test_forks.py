"""Forks and snapshots: the finished part of a thread."""

import asyncio
import random
from collections.abc import Awaitable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tests.support.databases import execute, on_connection, sent_by
from tests.support.factories import (
    AssistantFactory,
    HitlRequestFactory,
    ToolResultFactory,
    UserFactory,
)
from tests.support.ways import host_engine
from threadlog import Checkpointer
from threadlog.databases.base import DatabaseFacts
from threadlog.errors import (
    CheckpointCorruptionError,
    InvalidJsonError,
    RunNotCompletedError,
    ThreadAlreadyExistsError,
    ThreadNotFoundError,
    TooLargeError,
)
from threadlog.messages import Message

# Locks, row counts and foreign keys: drivers and databases differ in them.
pytestmark = [pytest.mark.every_way, pytest.mark.whole_matrix]


async def talk(checkpointer: Checkpointer, thread_id: str = "t") -> list[Message]:
    """Create a thread of which runs ``a`` and ``c`` are completed, in this order, and ``b`` open.

    Returns:
        Its messages: 1 none, 2 a, 3 b, 4 c, 5 a, 6 c, 7 none.
    """
    said: list[Message] = [
        UserFactory(),
        AssistantFactory(run_id="a"),
        ToolResultFactory(run_id="b"),
        UserFactory(run_id="c"),
        AssistantFactory(run_id="a"),
        ToolResultFactory(run_id="c"),
        UserFactory(),
    ]
    for run_id in ("a", "b", "c"):
        await checkpointer.claim_run(thread_id, run_id)
    await checkpointer.append(thread_id, said[:5])
    await checkpointer.mark_run_complete(thread_id, "a")
    await checkpointer.append(thread_id, said[5:])
    await checkpointer.mark_run_complete(thread_id, "c")
    return said


async def row(url: str, thread_id: str) -> tuple[object, ...]:
    """Read where a fork comes from, and what is pending in it."""
    query = text(
        "SELECT parent_thread_id, forked_at_seq, pending_request, run_id FROM cubepi_threads "
        "WHERE thread_id = :id"
    )
    return await on_connection(url, lambda c: tuple(c.execute(query, {"id": thread_id}).one()))


@pytest.mark.parametrize(("after", "seqs"), [("a", [1, 2, 5, 7]), ("c", [1, 2, 4, 5, 6, 7])])
async def test_a_fork_holds_what_a_snapshot_gives(
    checkpointer: Checkpointer, database_url: str, after: str, seqs: list[int]
) -> None:
    said = await talk(checkpointer)
    await execute(database_url, "UPDATE cubepi_messages SET created_at = '2026-01-02 03:04:05'")
    expected = [said[seq - 1] for seq in seqs]
    assert await checkpointer.snapshot("t", after_run_id=after) == expected
    await checkpointer.fork("t", "f", after_run_id=after)
    stored = await checkpointer.read("f")
    assert [(s.seq, s.message) for s in stored] == list(zip(seqs, expected, strict=True))
    assert stored == [s for s in await checkpointer.read("t") if s.seq in seqs]
    assert await row(database_url, "f") == ("t", seqs[-1], None, None)
    assert await checkpointer.snapshot("f", after_run_id=after) == expected


async def test_a_fork_copies_completed_runs_and_extra_and_nothing_pending(
    checkpointer: Checkpointer, database_url: str
) -> None:
    said = await talk(checkpointer)
    await checkpointer.save_extra("t", {"a": 1, "fork": "old"})
    await checkpointer.save_pending_request("t", HitlRequestFactory(), run_id="b")
    await checkpointer.save_hitl_answer("t", "q", "yes", run_id="a")
    before = await checkpointer.runs("t")
    await checkpointer.fork("t", "f", after_run_id="a", metadata={"why": [1, None]})
    assert await checkpointer.runs("t") == before
    of_fork = [(r.run_id, r.claimed_at, r.completion_seq) for r in await checkpointer.runs("f")]
    assert of_fork == [(r.run_id, r.claimed_at, 1) for r in before if r.run_id == "a"]
    fork, source = await checkpointer.load("f"), await checkpointer.load("t")
    assert fork is not None
    assert source is not None
    assert fork.extra == {"a": 1, "fork": {"why": [1, None]}}
    assert fork.parent_thread_id == "t"
    assert (source.extra, source.messages) == ({"a": 1, "fork": "old"}, said)
    assert await checkpointer.load_pending("f") is None
    assert await checkpointer.load_hitl_answer("f", "q", run_id="a") is None
    assert await checkpointer.load_hitl_answer("t", "q", run_id="a") == "yes"


async def test_empty_metadata_is_metadata(checkpointer: Checkpointer) -> None:
    await talk(checkpointer)
    await checkpointer.fork("t", "f", after_run_id="a", metadata={})
    data = await checkpointer.load("f")
    assert data is not None
    assert data.extra == {"fork": {}}
    deep: object = 1
    for _ in range(98):
        deep = [deep]
    with pytest.raises(InvalidJsonError):
        await checkpointer.fork("t", "g", after_run_id="a", metadata={"a": deep})


async def test_an_extra_that_does_not_fit_is_not_forked(database_url: str) -> None:
    async with Checkpointer(database_url) as checkpointer:
        await talk(checkpointer)
        checkpointer.client.facts = DatabaseFacts(10_000)
        with pytest.raises(TooLargeError, match="extra"):
            await checkpointer.fork("t", "f", after_run_id="a", metadata={"a": "x" * 10_000})
        assert await checkpointer.load("f") is None


async def test_a_fork_waits_for_the_lock_of_its_source(innodb_url: str) -> None:
    """Messages committed meanwhile are copied, and counted in forked_at_seq."""
    holder = host_engine(innodb_url)
    async with Checkpointer(innodb_url) as checkpointer, AsyncSession(holder) as session:
        await talk(checkpointer)
        async with Checkpointer(engine=holder) as other:
            await other.bind(session).append("t", [UserFactory()])
            fork = asyncio.create_task(checkpointer.fork("t", "f", after_run_id="a"))
            await asyncio.sleep(0.3)
            assert not fork.done()
            await session.commit()
            await fork
        assert [s.seq for s in await checkpointer.read("f")] == [1, 2, 5, 7, 8]
        assert (await row(innodb_url, "f"))[1] == 8
    await holder.dispose()


async def test_a_refused_fork_leaves_nothing_in_a_hosts_transaction(innodb_url: str) -> None:
    """The application can still commit its other work."""
    hosts = host_engine(innodb_url)
    async with Checkpointer(engine=hosts) as checkpointer, AsyncSession(hosts) as session:
        await talk(checkpointer)
        await checkpointer.append("f", [UserFactory()])
        await execute(innodb_url, "DELETE FROM cubepi_threads WHERE thread_id = 'f'")
        with pytest.raises(ThreadAlreadyExistsError):
            await checkpointer.bind(session).fork("t", "f", after_run_id="a")
        await session.commit()
        assert [thread.thread_id for thread in await checkpointer.list_threads()] == ["t"]
    await hosts.dispose()


async def test_a_fork_lives_on(checkpointer: Checkpointer) -> None:
    """Appends continue after its last seq; it can be claimed, forked and deleted."""
    await talk(checkpointer)
    await checkpointer.fork("t", "f", after_run_id="a")
    await checkpointer.claim_run("f", "d")
    await checkpointer.append("f", [UserFactory(run_id="d")])
    await checkpointer.mark_run_complete("f", "d")
    assert [s.seq for s in await checkpointer.read("f")] == [1, 2, 5, 7, 8]
    assert [run.completion_seq for run in await checkpointer.runs("f")] == [1, 2]
    await checkpointer.fork("f", "g", after_run_id="d")
    assert len(await checkpointer.read("g")) == 5
    assert await checkpointer.delete_thread("g")
    assert len(await checkpointer.read("t")) == 7


async def test_a_fork_of_nothing_finished(checkpointer: Checkpointer, database_url: str) -> None:
    await checkpointer.claim_run("t", "a")
    await checkpointer.mark_run_complete("t", "a")
    await checkpointer.fork("t", "f", after_run_id="a")
    assert await checkpointer.snapshot("f", after_run_id="a") == []
    assert await row(database_url, "f") == ("t", 0, None, None)


async def test_what_cannot_be_forked(checkpointer: Checkpointer) -> None:
    with pytest.raises(ThreadNotFoundError) as missing:
        await checkpointer.fork("t", "f", after_run_id="a")
    assert missing.value.thread_id == "t"
    with pytest.raises(ThreadNotFoundError):
        await checkpointer.snapshot("t", after_run_id="a")
    await talk(checkpointer)
    for run_id in ("b", "A", "unknown"):
        with pytest.raises(RunNotCompletedError) as unfinished:
            await checkpointer.fork("t", "f", after_run_id=run_id)
        assert unfinished.value.run_id == run_id
        with pytest.raises(RunNotCompletedError):
            await checkpointer.snapshot("t", after_run_id=run_id)
    with pytest.raises(InvalidJsonError, match="metadata"):
        await checkpointer.fork("t", "f", after_run_id="a", metadata={"a": float("nan")})
    await checkpointer.append("taken", [UserFactory()])
    for taken in ("t", "taken"):
        with pytest.raises(ThreadAlreadyExistsError) as caught:
            await checkpointer.fork("t", taken, after_run_id="a")
        assert caught.value.thread_id == taken
    assert await checkpointer.load("f") is None
    assert len(await checkpointer.read("t")) == 7
    assert len(await checkpointer.read("taken")) == 1


@pytest.mark.parametrize("table", ["cubepi_messages", "cubepi_runs"])
async def test_remains_of_a_thread_are_not_forked_over(
    checkpointer: Checkpointer, database_url: str, table: str
) -> None:
    await talk(checkpointer)
    await checkpointer.claim_run("f", "a")
    await checkpointer.append("f", [UserFactory()])
    others = {"cubepi_messages", "cubepi_runs", "cubepi_threads"} - {table}
    await execute(database_url, *[f"DELETE FROM {t} WHERE thread_id = 'f'" for t in others])
    if database_url.startswith("postgresql"):
        await checkpointer.fork("t", "f", after_run_id="a")
        assert len(await checkpointer.read("f")) == len(
            await checkpointer.snapshot("t", after_run_id="a")
        )
        return
    with pytest.raises(ThreadAlreadyExistsError):
        await checkpointer.fork("t", "f", after_run_id="a")
    assert "f" not in [thread.thread_id for thread in await checkpointer.list_threads()]


async def test_a_source_whose_extra_is_corrupt_is_not_forked(
    checkpointer: Checkpointer, database_url: str
) -> None:
    """A bad row is named instead of being copied."""
    await talk(checkpointer)
    await execute(database_url, "UPDATE cubepi_threads SET extra = '[1]'")
    with pytest.raises(CheckpointCorruptionError) as caught:
        await checkpointer.fork("t", "f", after_run_id="a")
    assert (caught.value.table, caught.value.thread_id) == ("cubepi_threads", "t")
    assert await checkpointer.load("f") is None


async def test_no_payload_leaves_the_server(database_url: str) -> None:
    """Messages are copied by INSERT … SELECT, and what is sent to lock them."""
    async with Checkpointer(database_url) as checkpointer:
        await talk(checkpointer)
        sent = sent_by(checkpointer)
        await checkpointer.fork("t", "f", after_run_id="c")
    verbs = [statement.split()[0] for statement in sent if not statement.startswith("BEGIN")]
    locks = ["SELECT", "SELECT"] if database_url.startswith("postgresql") else ["SELECT"]
    assert verbs == [*locks, "INSERT", "INSERT", "INSERT"]
    read = [statement for statement in sent if not statement.startswith("INSERT")]
    assert "payload" not in "".join(read)


async def test_forks_to_one_id_at_once(database_url: str) -> None:
    """One call succeeds and the others get the typed error, whatever their sources."""
    async with Checkpointer(database_url) as checkpointer:
        for source in ("t0", "t1", "t2"):
            await talk(checkpointer, source)
        for number in range(15):
            forks = [
                checkpointer.fork(f"t{n % 3}", f"f{number}", after_run_id="ac"[n % 2])
                for n in range(6)
            ]
            outcomes = await asyncio.gather(*forks, return_exceptions=True)
            lost = [outcome for outcome in outcomes if outcome is not None]
            assert {type(outcome) for outcome in lost} == {ThreadAlreadyExistsError}
            assert len(lost) == 5
            assert len(await checkpointer.read(f"f{number}")) in {4, 6}
        print("15 races of 6 forks, 15 won")


async def test_a_fork_and_first_appends_to_its_id_at_once(database_url: str) -> None:
    """Either the fork is whole, or there is a thread that it did not touch."""
    async with Checkpointer(database_url) as checkpointer:
        await talk(checkpointer)
        won = 0
        for number in range(20):
            new = f"f{number}"
            work: list[Awaitable[object]] = [
                checkpointer.append(new, [UserFactory()]) for _ in range(3)
            ]
            work.insert(number % 4, checkpointer.fork("t", new, after_run_id="a"))
            outcomes = await asyncio.gather(*work, return_exceptions=True)
            faults = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            seqs = [s.seq for s in await checkpointer.read(new)]
            if faults:
                assert [type(fault) for fault in faults] == [ThreadAlreadyExistsError]
                assert seqs == [1, 2, 3]
            else:
                assert seqs == [1, 2, 5, 7, 8, 9, 10]
                won += 1
        print(f"the fork came first in {won} of 20 races")


async def test_a_fork_never_holds_part_of_a_run(database_url: str) -> None:
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    batches = 4
    async with Checkpointer(database_url) as checkpointer:
        await checkpointer.claim_run("t", "first")
        await checkpointer.mark_run_complete("t", "first")
        finished = ["first"]

        async def agent(name: str) -> None:
            for number in range(6):
                run_id = f"{name}{number}"
                await checkpointer.claim_run("t", run_id)
                for _ in range(batches):
                    await checkpointer.append("t", UserFactory.build_batch(2, run_id=run_id))
                    await asyncio.sleep(dice.random() * 0.002)
                await checkpointer.mark_run_complete("t", run_id)
                finished.append(run_id)

        async def fork() -> int:
            partial = 0
            for number in range(25):
                await checkpointer.fork("t", f"f{number}", after_run_id=dice.choice(finished))
                said: dict[str | None, int] = {}
                for stored in await checkpointer.read(f"f{number}"):
                    said[stored.message.run_id] = said.get(stored.message.run_id, 0) + 1
                completed = {run.run_id for run in await checkpointer.runs(f"f{number}")}
                assert set(said) == completed - {"first"}
                partial += sum(count != 2 * batches for count in said.values())
            return partial

        outcome = await asyncio.gather(agent("x"), agent("y"), agent("z"), fork())
        print(f"seed {seed}: 25 forks beside {len(finished) - 1} runs")
        assert outcome[-1] == 0
