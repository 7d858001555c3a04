"""Leases of runs: claiming, taking over, renewing and releasing them."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.leases.expiring import MINUTE, end_leases
from tests.leases.writing import CHANGES_NOTHING, REQUEST, WRITES, prepare, stored
from tests.support.databases import create_schema, engine_for, on_connection
from tests.support.factories import UserFactory
from threadlog import Checkpointer, Claim
from threadlog.errors import (
    CubepiSchemaUninitialized,
    InvalidInputError,
    LeaseLostError,
    RunAlreadyClaimedError,
    RunAlreadyCompletedError,
    RunNotClaimedError,
)
from threadlog.log.leases import next_token

# Locks and row counts: drivers and databases differ in them.
pytestmark = pytest.mark.every_way


async def test_claim_with_lease_returns_token_and_end(checkpointer: Checkpointer) -> None:
    claim = await checkpointer.claim_run("t", "r", lease=MINUTE)
    assert (claim.thread_id, claim.run_id) == ("t", "r")
    assert claim.token > 0
    # the database's clock is that of this machine
    assert abs(claim.expires_at - datetime.now(UTC) - MINUTE) < timedelta(seconds=30)
    with pytest.raises(RunAlreadyClaimedError):
        await checkpointer.claim_run("t", "r", lease=MINUTE)
    with pytest.raises(RunAlreadyClaimedError):
        await checkpointer.claim_run("t", "r")
    other = await checkpointer.claim_run("t", "R", lease=MINUTE)
    assert other.token != claim.token
    await checkpointer.append("t", [UserFactory(run_id="r")], claim=claim)


async def test_claim_of_run_without_lease_is_never_taken_over(checkpointer: Checkpointer) -> None:
    outcome: Any = await checkpointer.claim_run("t", "r")  # type: ignore[func-returns-value]  # its value is tested
    assert outcome is None
    with pytest.raises(RunAlreadyClaimedError):
        await checkpointer.claim_run("t", "r", lease=MINUTE)


@pytest.mark.parametrize("name", WRITES)
async def test_write_with_claim_does_what_it_does_without(
    checkpointer: Checkpointer, name: str, database_url: str
) -> None:
    """Also after the lease has ended, as long as nobody took the run over."""
    claim = await prepare(checkpointer)
    await end_leases(database_url)
    before = await stored(checkpointer)
    await WRITES[name](checkpointer, claim)
    assert (await stored(checkpointer) == before) is (name in CHANGES_NOTHING)


@pytest.mark.parametrize("name", WRITES)
async def test_write_after_take_over_is_refused(
    checkpointer: Checkpointer, name: str, database_url: str
) -> None:
    stale = await prepare(checkpointer)
    await end_leases(database_url)
    claim = await checkpointer.claim_run("t", "r", lease=MINUTE)
    assert claim.token > stale.token
    before = await stored(checkpointer)
    with pytest.raises(LeaseLostError) as caught:
        await WRITES[name](checkpointer, stale)
    assert (caught.value.thread_id, caught.value.run_id) == ("t", "r")
    assert await stored(checkpointer) == before
    await WRITES[name](checkpointer, claim)


async def test_completed_run_is_not_taken_over(
    checkpointer: Checkpointer, database_url: str
) -> None:
    claim = await checkpointer.claim_run("t", "r", lease=MINUTE)
    await checkpointer.mark_run_complete("t", "r", claim=claim)
    await checkpointer.mark_run_complete("t", "r", claim=claim)
    await end_leases(database_url)
    with pytest.raises(RunAlreadyCompletedError):
        await checkpointer.claim_run("t", "r", lease=MINUTE)
    with pytest.raises(RunAlreadyCompletedError):
        await checkpointer.append("t", [UserFactory(run_id="r")], claim=claim)
    await checkpointer.release(claim)
    assert [run.state for run in await checkpointer.runs("t")] == ["completed"]


async def test_renew_sets_the_end_and_keeps_the_token(
    checkpointer: Checkpointer, database_url: str
) -> None:
    claim = await checkpointer.claim_run("t", "r", lease=MINUTE)
    renewed = await checkpointer.renew(claim, lease=5 * MINUTE)
    assert renewed.token == claim.token
    assert renewed.expires_at - claim.expires_at >= 4 * MINUTE
    await end_leases(database_url)
    again = await checkpointer.renew(claim, lease=MINUTE)  # nobody took it over
    assert again.token == claim.token
    with pytest.raises(RunAlreadyClaimedError):
        await checkpointer.claim_run("t", "r", lease=MINUTE)
    await end_leases(database_url)
    await checkpointer.claim_run("t", "r", lease=MINUTE)
    with pytest.raises(LeaseLostError):
        await checkpointer.renew(again, lease=MINUTE)


async def test_released_run_can_be_claimed_at_once(checkpointer: Checkpointer) -> None:
    first = await checkpointer.claim_run("t", "r", lease=MINUTE)
    await checkpointer.append("t", [UserFactory(run_id="r")], claim=first)
    await checkpointer.release(first)
    await checkpointer.release(first)
    assert await checkpointer.runs("t") == []
    with pytest.raises(LeaseLostError):
        await checkpointer.renew(first, lease=MINUTE)
    with pytest.raises(LeaseLostError):
        await checkpointer.append("t", [UserFactory()], claim=first)
    second = await checkpointer.claim_run("t", "r", lease=MINUTE)
    assert second.token > first.token
    await checkpointer.release(first)  # is not its own any more
    await checkpointer.append("t", [UserFactory(run_id="r")], claim=second)
    assert len(await checkpointer.read("t")) == 2


async def test_run_that_an_operator_released_is_lost_to_its_worker(
    checkpointer: Checkpointer, database_url: str
) -> None:
    stale = await checkpointer.claim_run("t", "r", lease=MINUTE)
    await checkpointer.release_run("t", "r")
    with pytest.raises(LeaseLostError):
        await checkpointer.append("t", [UserFactory(run_id="r")], claim=stale)
    with pytest.raises(LeaseLostError):
        await checkpointer.release_run("t", "r", claim=stale)
    # Claimed without a lease, the run has none, whatever it had before.
    outcome: Any = await checkpointer.claim_run("t", "r")  # type: ignore[func-returns-value]  # its value is tested
    assert outcome is None
    await end_leases(database_url)
    with pytest.raises(RunAlreadyClaimedError):
        await checkpointer.claim_run("t", "r", lease=MINUTE)
    await checkpointer.release_run("t", "r")
    with pytest.raises(RunNotClaimedError):
        await checkpointer.release_run("t", "r")
    claim = await checkpointer.claim_run("t", "r", lease=MINUTE)
    assert claim.token > stale.token


async def test_lease_of_deleted_thread_is_lost(checkpointer: Checkpointer) -> None:
    """Also when the thread and the run exist again."""
    stale = await checkpointer.claim_run("t", "r", lease=MINUTE)
    assert await checkpointer.delete_thread("t")
    for write in WRITES.values():
        with pytest.raises(LeaseLostError):
            await write(checkpointer, stale)
    assert await checkpointer.load("t") is None
    claim = await checkpointer.claim_run("t", "r", lease=MINUTE)
    assert claim.token != stale.token
    with pytest.raises(LeaseLostError):
        await checkpointer.append("t", [UserFactory()], claim=stale)


async def test_stale_runs_are_those_whose_lease_has_ended(
    checkpointer: Checkpointer, database_url: str
) -> None:
    """Whatever `older_than` is; a run without a lease is stale by its age."""
    for name in ("leased", "waiting", "completed"):
        await checkpointer.claim_run("t", name, lease=MINUTE)
    await checkpointer.mark_run_complete("t", "completed")
    await checkpointer.save_pending_request("t", REQUEST, run_id="waiting")
    await checkpointer.claim_run("t", "plain")
    day, none = timedelta(days=1), timedelta(0)

    async def stale(older_than: timedelta) -> set[str]:
        return {run.run_id for run in await checkpointer.stale_runs(older_than)}

    assert (await stale(none), await stale(day)) == ({"plain"}, set())
    with pytest.raises(RunAlreadyClaimedError):
        await checkpointer.release_run("t", "leased", older_than=none)
    await end_leases(database_url)
    assert (await stale(none), await stale(day)) == ({"plain", "leased"}, {"leased"})
    with pytest.raises(RunAlreadyClaimedError):
        await checkpointer.release_run("t", "waiting", older_than=none)
    await checkpointer.release_run("t", "leased", older_than=day)
    assert await stale(day) == set()


@pytest.mark.one_database
@pytest.mark.parametrize(
    "lease", [timedelta(0), timedelta(seconds=-1), timedelta(days=366), 60, None]
)
async def test_lease_of_wrong_length_is_refused(checkpointer: Checkpointer, lease: Any) -> None:
    if lease is not None:
        with pytest.raises(InvalidInputError, match="lease must be a timedelta"):
            await checkpointer.claim_run("t", "r", lease=lease)
    claim = await checkpointer.claim_run("t", "r", lease=MINUTE)
    with pytest.raises(InvalidInputError, match="lease must be a timedelta"):
        await checkpointer.renew(claim, lease=lease)


@pytest.mark.one_database
async def test_claim_of_another_thread_or_run_is_refused(checkpointer: Checkpointer) -> None:
    claim = await checkpointer.claim_run("t", "r", lease=MINUTE)
    given: Any = "r"
    for write in WRITES.values():
        with pytest.raises(InvalidInputError, match="must be a Claim"):
            await write(checkpointer, given)
        with pytest.raises(InvalidInputError, match="The claim is of thread"):
            await write(checkpointer, Claim("other", "r", claim.token, claim.expires_at))
    with pytest.raises(InvalidInputError, match="The claim is of run 'r'"):
        await checkpointer.mark_run_complete("t", "s", claim=claim)
    with pytest.raises(InvalidInputError, match="The claim is of run 'r'"):
        await checkpointer.release_run("t", "s", claim=claim)
    for call in (checkpointer.release, lambda given: checkpointer.renew(given, lease=MINUTE)):
        with pytest.raises(InvalidInputError, match="must be a Claim"):
            await call(given)


def test_next_token_is_higher_and_random() -> None:
    tokens = [next_token(0) for _ in range(100)]
    assert len(set(tokens)) == 100
    assert all(next_token(token) > token for token in tokens)
    assert max(tokens) * 2**31 < 2**63


async def test_take_over_is_logged(
    checkpointer: Checkpointer, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "threadlog")
    claim = await checkpointer.claim_run("t", "r", lease=MINUTE)
    await checkpointer.renew(claim, lease=MINUTE)
    assert caplog.records == []
    await end_leases(database_url)
    await checkpointer.claim_run("t", "r", lease=MINUTE)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "Took over run 'r' of thread 't', whose lease had ended"


async def test_one_of_many_callers_takes_an_ended_lease_over(
    checkpointer: Checkpointer, database_url: str
) -> None:
    stale = await checkpointer.claim_run("t", "r", lease=MINUTE)
    await end_leases(database_url)
    outcomes = await asyncio.gather(
        *(checkpointer.claim_run("t", "r", lease=MINUTE) for _ in range(16)),
        return_exceptions=True,
    )
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Claim)]
    assert winner.token > stale.token
    assert [type(o) for o in outcomes].count(RunAlreadyClaimedError) == 15
    await checkpointer.append("t", [UserFactory(run_id="r")], claim=winner)


async def test_renew_beside_take_over_has_one_winner(
    checkpointer: Checkpointer, database_url: str
) -> None:
    """Either the lease is renewed and the take-over refused, or the other way round."""
    renewals = 0
    for round_ in range(20):
        run_id = f"r{round_}"
        claim = await checkpointer.claim_run("t", run_id, lease=MINUTE)
        await end_leases(database_url)
        renewed, taken = await asyncio.gather(
            checkpointer.renew(claim, lease=MINUTE),
            checkpointer.claim_run("t", run_id, lease=MINUTE),
            return_exceptions=True,
        )
        if isinstance(renewed, Claim):
            renewals += 1
            assert type(taken) is RunAlreadyClaimedError
            await checkpointer.append("t", [UserFactory(run_id=run_id)], claim=renewed)
        else:
            assert type(renewed) is LeaseLostError
            assert isinstance(taken, Claim)
            await checkpointer.append("t", [UserFactory(run_id=run_id)], claim=taken)
    print(f"{renewals} of 20 leases were renewed before the take-over")


async def test_leases_need_thread_control(sqlite_url: str) -> None:
    claim = Claim("t", "r", 1, datetime.now(UTC))
    await on_connection(sqlite_url, create_schema)
    engine = engine_for(sqlite_url)
    async with Checkpointer(engine=engine) as log:
        await log.claim_run("t", "r")
        with pytest.raises(CubepiSchemaUninitialized, match="--part control"):
            await log.claim_run("t", "s", lease=MINUTE)
        for write in WRITES.values():
            with pytest.raises(CubepiSchemaUninitialized):
                await write(log, claim)
        with pytest.raises(CubepiSchemaUninitialized):
            await log.renew(claim, lease=MINUTE)
        with pytest.raises(CubepiSchemaUninitialized):
            await log.release(claim)
        assert [run.run_id for run in await log.runs("t")] == ["r"]
        assert await log.read("t") == []
    await engine.dispose()
