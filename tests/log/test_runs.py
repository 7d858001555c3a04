"""Runs: claiming, completing, releasing and listing them."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from sqlalchemy import text

from tests.support.databases import engine_for, execute
from tests.support.factories import HitlRequestFactory, UserFactory
from tests.support.surroundings import allow_any_update
from threadlog import Checkpointer
from threadlog.errors import (
    InvalidInputError,
    RunAlreadyClaimedError,
    RunAlreadyCompletedError,
    RunNotClaimedError,
)

# Locks, row counts and foreign keys: drivers and databases differ in them.
pytestmark = [pytest.mark.every_way, pytest.mark.whole_matrix]

LONGEST = "é" * 255
HOUR = timedelta(hours=1)
AN_HOUR_AGO = {
    "sqlite": "datetime('now', '-2 hours')",
    "mysql": "FROM_UNIXTIME(UNIX_TIMESTAMP() - 7200)",
    "mariadb": "FROM_UNIXTIME(UNIX_TIMESTAMP() - 7200)",
    "postgresql": "CURRENT_TIMESTAMP - INTERVAL '2 hours'",
}


async def age(url: str, *tables: str) -> None:
    """Set every time in these tables to two hours ago."""
    ago = AN_HOUR_AGO[url.partition(":")[0]]
    column = {"cubepi_runs": "claimed_at", "cubepi_messages": "created_at"}
    await execute(url, *[f"UPDATE {table} SET {column[table]} = {ago}" for table in tables])


async def states(checkpointer: Checkpointer, thread_id: str = "t") -> dict[str, str]:
    """Return the state of each of a thread's runs."""
    return {run.run_id: run.state for run in await checkpointer.runs(thread_id)}


async def test_a_run_is_claimed_once_and_completed(checkpointer: Checkpointer) -> None:
    with pytest.raises(RunNotClaimedError) as unknown:
        await checkpointer.mark_run_complete("t", "r")
    assert (unknown.value.thread_id, unknown.value.run_id) == ("t", "r")
    assert await checkpointer.load("t") is None
    await checkpointer.claim_run("t", "r")
    data = await checkpointer.load("t")
    assert data is not None
    assert data.messages == []
    with pytest.raises(RunAlreadyClaimedError, match="release_run"):
        await checkpointer.claim_run("t", "r")
    await checkpointer.mark_run_complete("t", "r")
    with pytest.raises(RunAlreadyCompletedError, match="another run id"):
        await checkpointer.claim_run("t", "r")
    assert await states(checkpointer) == {"r": "completed"}


async def test_completing_again_changes_nothing(checkpointer: Checkpointer) -> None:
    for run_id in ("a", "b", "c"):
        await checkpointer.claim_run("t", run_id)
    for run_id in ("b", "a", "b"):
        await checkpointer.mark_run_complete("t", run_id)
    await checkpointer.claim_run("other", "a")
    await checkpointer.mark_run_complete("other", "a")
    places = {run.run_id: run.completion_seq for run in await checkpointer.runs("t")}
    assert places == {"a": 2, "b": 1, "c": None}
    assert [run.completion_seq for run in await checkpointer.runs("other")] == [1]


async def test_a_completed_run_takes_no_message(checkpointer: Checkpointer) -> None:
    """One message of a completed run spoils its batch, and unclaimed runs do not."""
    await checkpointer.claim_run("t", "done")
    await checkpointer.append("t", [UserFactory(run_id="done")])
    await checkpointer.mark_run_complete("t", "done")
    batch = [UserFactory(), UserFactory(run_id="unclaimed"), UserFactory(run_id="done")]
    with pytest.raises(RunAlreadyCompletedError) as caught:
        await checkpointer.append("t", batch)
    assert caught.value.run_id == "done"
    assert len(await checkpointer.read("t")) == 1
    batch[0].run_id = "a run that sorts before"
    with pytest.raises(RunAlreadyCompletedError):
        await checkpointer.append("t", batch)
    await checkpointer.append("t", batch[:2])
    await checkpointer.append("other", batch)
    assert len(await checkpointer.read("t")) == 3


@pytest.mark.parametrize("pair", [("R1", "r1"), ("ré", "re"), ("a", "á"), ("ß", "ss")])
async def test_run_ids_compare_byte_by_byte(
    checkpointer: Checkpointer, pair: tuple[str, str]
) -> None:
    first, second = pair
    await checkpointer.claim_run("t", first)
    with pytest.raises(RunNotClaimedError):
        await checkpointer.mark_run_complete("t", second)
    await checkpointer.claim_run("t", second)
    await checkpointer.mark_run_complete("t", first)
    await checkpointer.append("t", [UserFactory(run_id=second)])
    with pytest.raises(RunAlreadyCompletedError):
        await checkpointer.append("t", [UserFactory(run_id=first)])
    assert await states(checkpointer) == {first: "completed", second: "open"}


async def test_the_longest_run_id_works_in_every_table(checkpointer: Checkpointer) -> None:
    await checkpointer.claim_run("t", LONGEST)
    await checkpointer.append("t", [UserFactory(run_id=LONGEST)])
    request = HitlRequestFactory(question_id=LONGEST)
    await checkpointer.save_pending_request("t", request, run_id=LONGEST)
    await checkpointer.save_hitl_answer("t", LONGEST, "yes", run_id=LONGEST)
    assert await checkpointer.load_pending("t") == (request, LONGEST)
    assert await checkpointer.load_hitl_answer("t", LONGEST, run_id=LONGEST) == "yes"
    assert await checkpointer.clear_pending_request_if_matches(
        "t", question_id=LONGEST, run_id=LONGEST
    )
    await checkpointer.mark_run_complete("t", LONGEST)
    await checkpointer.fork("t", "f", after_run_id=LONGEST)
    assert await states(checkpointer, "f") == {LONGEST: "completed"}
    assert len(await checkpointer.read("f")) == 1


async def test_runs_are_listed_with_their_times(
    checkpointer: Checkpointer, database_url: str
) -> None:
    assert await checkpointer.runs("t") == []
    await checkpointer.claim_run("t", "z")
    await age(database_url, "cubepi_runs")
    await checkpointer.claim_run("t", "a")
    await checkpointer.mark_run_complete("t", "a")
    first, second = await checkpointer.runs("t")
    now = datetime.now(UTC)
    assert (first.run_id, first.state, first.completed_at) == ("z", "open", None)
    assert now - 2 * HOUR - timedelta(minutes=1) < first.claimed_at <= now - 2 * HOUR
    assert (second.run_id, second.state, second.thread_id) == ("a", "completed", "t")
    assert second.completed_at is not None
    assert now - timedelta(minutes=1) < second.claimed_at <= second.completed_at <= now


async def test_a_run_waits_while_its_question_is_pending(checkpointer: Checkpointer) -> None:
    """A paused run is told from a dead one, byte by byte."""
    for run_id in ("asks", "ASKS", "other"):
        await checkpointer.claim_run("t", run_id)
    await checkpointer.save_pending_request("t", HitlRequestFactory(), run_id="asks")
    assert await states(checkpointer) == {"ASKS": "open", "asks": "waiting", "other": "open"}
    await checkpointer.save_pending_request("t", HitlRequestFactory())
    assert set((await states(checkpointer)).values()) == {"waiting"}
    await checkpointer.save_pending_request("t", None)
    assert set((await states(checkpointer)).values()) == {"open"}


async def test_stale_runs_gave_no_sign_of_life(
    checkpointer: Checkpointer, database_url: str
) -> None:
    """Runs that work, wait or are finished are not taken for dead ones."""
    for run_id in ("dead", "works", "waits", "done"):
        await checkpointer.claim_run(run_id, run_id)
    await checkpointer.append("dead", [UserFactory(run_id="dead"), UserFactory()])
    namesake = UserFactory(run_id="dead")
    await checkpointer.mark_run_complete("done", "done")
    await checkpointer.save_pending_request("waits", HitlRequestFactory(), run_id="waits")
    await age(database_url, "cubepi_runs", "cubepi_messages")
    await checkpointer.append("works", [UserFactory(run_id="works")])
    await checkpointer.append("dead", [UserFactory()])
    await checkpointer.append("done", [namesake])
    await checkpointer.claim_run("dead", "young")
    assert [run.run_id for run in await checkpointer.stale_runs(HOUR)] == ["dead"]
    assert await checkpointer.stale_runs(3 * HOUR) == []
    everybody = {run.run_id for run in await checkpointer.stale_runs(timedelta(0))}
    assert everybody == {"dead", "young"} | ({"works"} & everybody)


async def test_an_age_is_rounded_up(checkpointer: Checkpointer) -> None:
    """Less than a second is not taken for none."""
    await checkpointer.claim_run("t", "r")
    with pytest.raises(RunAlreadyClaimedError):
        await checkpointer.release_run("t", "r", older_than=timedelta(seconds=4, milliseconds=1))
    await checkpointer.release_run("t", "r", older_than=timedelta(0))


async def test_messages_of_very_many_runs(checkpointer: Checkpointer) -> None:
    await checkpointer.claim_run("t", "r0999")
    await checkpointer.mark_run_complete("t", "r0999")
    batch = [UserFactory(run_id=f"r{number:04}") for number in range(1_200)]
    with pytest.raises(RunAlreadyCompletedError) as caught:
        await checkpointer.append("t", batch)
    assert caught.value.run_id == "r0999"
    del batch[999]
    await checkpointer.append("t", batch)


async def test_a_released_run_is_claimed_again(checkpointer: Checkpointer) -> None:
    """Its messages stay, and whoever lost it is told."""
    await checkpointer.claim_run("t", "r")
    await checkpointer.append("t", [UserFactory(run_id="r")])
    await checkpointer.release_run("t", "r")
    assert await checkpointer.runs("t") == []
    with pytest.raises(RunNotClaimedError):
        await checkpointer.mark_run_complete("t", "r")
    with pytest.raises(RunNotClaimedError):
        await checkpointer.release_run("t", "r")
    await checkpointer.claim_run("t", "r")
    await checkpointer.append("t", [UserFactory(run_id="r")])
    await checkpointer.mark_run_complete("t", "r")
    with pytest.raises(RunAlreadyCompletedError):
        await checkpointer.release_run("t", "r")
    assert [run.state for run in await checkpointer.runs("t")] == ["completed"]
    assert len(await checkpointer.read("t")) == 2


async def test_only_what_is_stale_is_released_on_demand(
    checkpointer: Checkpointer, database_url: str
) -> None:
    """Of recoveries at once the second takes nothing from the first."""
    await checkpointer.claim_run("t", "r")
    with pytest.raises(RunAlreadyClaimedError):
        await checkpointer.release_run("t", "r", older_than=HOUR)
    await age(database_url, "cubepi_runs")
    await checkpointer.save_pending_request("t", HitlRequestFactory(), run_id="r")
    with pytest.raises(RunAlreadyClaimedError):
        await checkpointer.release_run("t", "r", older_than=HOUR)
    await checkpointer.save_pending_request("t", None)
    with pytest.raises(InvalidInputError, match="older_than"):
        await checkpointer.release_run("t", "r", older_than=-HOUR)
    await checkpointer.release_run("t", "r", older_than=HOUR)
    await checkpointer.claim_run("t", "r")
    with pytest.raises(RunAlreadyClaimedError):
        await checkpointer.release_run("t", "r", older_than=HOUR)
    assert await states(checkpointer) == {"r": "open"}


async def test_a_release_by_age_is_logged(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Checkpointer(sqlite_url) as opened:
        await opened.claim_run("t", "r")
        await opened.release_run("t", "r", older_than=timedelta(0))
        await opened.claim_run("t", "r")
        await age(sqlite_url, "cubepi_runs")
        assert caplog.text == ""
        await opened.release_run("t", "r", older_than=HOUR)
    assert "Released run 'r' of thread 't', which was abandoned" in caplog.text


async def test_releasing_touches_no_other_run(checkpointer: Checkpointer) -> None:
    for thread_id, run_id in (("t", "r"), ("t", "R"), ("T", "r")):
        await checkpointer.claim_run(thread_id, run_id)
    await checkpointer.release_run("t", "r")
    assert await states(checkpointer) == {"R": "open"}
    assert await states(checkpointer, "T") == {"r": "open"}


async def test_sixteen_claims_of_one_run(database_url: str) -> None:
    """Exactly one wins, on new threads and known ones, from two checkpointers."""
    async with Checkpointer(database_url) as one, Checkpointer(database_url) as two:
        rounds = 20
        for number in range(rounds):
            claims = [
                (one, two)[n % 2].claim_run(f"t{number // 2}", f"r{number}") for n in range(16)
            ]
            outcomes = await asyncio.gather(*claims, return_exceptions=True)
            lost = [outcome for outcome in outcomes if outcome is not None]
            assert len(lost) == 15
            assert {type(outcome) for outcome in lost} == {RunAlreadyClaimedError}
        print(f"{rounds} rounds of 16 claims, {rounds} won")


async def test_runs_completed_at_once_get_places_without_gap(checkpointer: Checkpointer) -> None:
    names = [f"r{number}" for number in range(24)]
    await asyncio.gather(*(checkpointer.claim_run("t", name) for name in names))
    await asyncio.gather(*(checkpointer.mark_run_complete("t", name) for name in names * 2))
    places = [run.completion_seq for run in await checkpointer.runs("t")]
    assert sorted(place for place in places if place is not None) == list(range(1, 25))


async def test_an_append_that_waited_sees_that_its_run_was_completed(database_url: str) -> None:
    """Of appends and a completion at once none comes after the completion."""
    async with Checkpointer(database_url) as checkpointer:
        refused = 0
        for number in range(30):
            run_id = f"r{number}"
            await checkpointer.claim_run("t", run_id)
            work: list[Awaitable[object]] = [
                checkpointer.append("t", [UserFactory(run_id=run_id)]) for _ in range(4)
            ]
            work.insert(number % 5, checkpointer.mark_run_complete("t", run_id))
            outcomes = await asyncio.gather(*work, return_exceptions=True)
            faults = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            assert all(isinstance(fault, RunAlreadyCompletedError) for fault in faults)
            refused += len(faults)
            kept = [s for s in await checkpointer.read("t") if s.message.run_id == run_id]
            assert len(kept) == 4 - len(faults)
        print(f"{refused} of 120 appends came too late")
        assert refused


_COMPLETES: Final = "UPDATE cubepi_runs SET completed_at = NOW()"
_APPENDS: Final = (
    "INSERT INTO cubepi_messages (thread_id, seq, role, payload, metadata) "
    "SELECT thread_id, 2, role, payload, metadata FROM cubepi_messages"
)


@pytest.mark.parametrize("meanwhile", [_COMPLETES, _APPENDS], ids=["completed", "appended"])
async def test_an_append_that_waits_for_the_lock_reads_what_was_committed_meanwhile(
    server_url: str, meanwhile: str
) -> None:
    """Neither the run nor the last seq is as in a snapshot from before the wait."""
    holder = engine_for(server_url)
    async with Checkpointer(server_url) as checkpointer, holder.connect() as connection:
        await connection.run_sync(allow_any_update)
        await checkpointer.claim_run("t", "r")
        await checkpointer.append("t", [UserFactory(run_id="r")])
        await connection.execute(text("SELECT * FROM cubepi_threads FOR UPDATE"))
        append = asyncio.create_task(checkpointer.append("t", [UserFactory(run_id="r")]))
        await asyncio.sleep(0.3)
        await connection.execute(text(meanwhile))
        await connection.commit()
        if meanwhile == _COMPLETES:
            with pytest.raises(RunAlreadyCompletedError):
                await append
        else:
            await append
        stored = [each.seq for each in await checkpointer.read("t")]
        assert stored == ([1] if meanwhile == _COMPLETES else [1, 2, 3])
    await holder.dispose()


@pytest.mark.parametrize("bad", [timedelta(seconds=-1), 5, None, "1h"])
async def test_an_age_that_is_none_is_refused(checkpointer: Checkpointer, bad: Any) -> None:
    with pytest.raises(InvalidInputError, match="older_than"):
        await checkpointer.stale_runs(bad)
