"""A worker that wakes up after its lease was taken over writes nothing."""

import asyncio
import random
from collections import Counter
from datetime import timedelta
from typing import Any, Final

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from tests.leases.expiring import MINUTE, end_leases
from tests.leases.writing import CHANGES_NOTHING, REQUEST, WRITES, Write, prepare, stored
from tests.support.databases import engine_for
from tests.support.factories import UserFactory
from tests.support.matrix import rounds
from tests.support.seeds import FRESH
from threadlog import Checkpointer, Claim
from threadlog.errors import (
    LeaseLostError,
    RunAlreadyClaimedError,
    StorageError,
    ThreadChangedError,
)

AT_ONCE = 4
ROUNDS = AT_ONCE * rounds(50)

OWNING: Final[tuple[Write, ...]] = (
    lambda log, claim, **given: log.append(
        claim.thread_id, [UserFactory(run_id="r")], claim=claim, **given
    ),
    lambda log, claim, **given: log.save_extra(claim.thread_id, {"b": 2}, claim=claim, **given),
    lambda log, claim, **given: log.save_pending_request(
        claim.thread_id, REQUEST, claim=claim, **given
    ),
    lambda log, claim, **given: log.save_hitl_answer(claim.thread_id, "q", 1, claim=claim, **given),
)
"""The methods that take a claim and an owner."""


async def test_worker_that_wakes_up_beside_a_take_over_writes_before_it_or_nothing(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of it is stored after `claim_run` has returned to the next worker."""
    chance = random.Random(FRESH)
    outcomes: Counter[str] = Counter()

    async def wake_up(log: Checkpointer, stale: Claim, name: str, pause: float) -> bool:
        await asyncio.sleep(pause)
        try:
            await WRITES[name](log, stale, stale.thread_id)
        except LeaseLostError:
            return False
        return True

    async def take_over(log: Checkpointer, thread: str, pause: float) -> tuple[Claim, Any]:
        await asyncio.sleep(pause)
        claim = await log.claim_run(thread, "r", lease=MINUTE)
        return claim, await stored(log, thread)

    async def play(first: Checkpointer, second: Checkpointer, number: int) -> None:
        thread = f"t{number}"
        # A run that was completed or released cannot be taken over.
        name = chance.choice(sorted(WRITES.keys() - {"mark_run_complete", "release_run"}))
        pauses = chance.uniform(0, 0.004), chance.uniform(0, 0.004)
        stale = await prepare(first, thread, lease=timedelta(microseconds=1))
        before = await stored(first, thread)
        waking = asyncio.create_task(wake_up(first, stale, name, pauses[0]))
        claim, seen = await take_over(second, thread, pauses[1])
        wrote = await waking
        assert await stored(second, thread) == seen, name
        assert (seen != before) is (wrote and name not in CHANGES_NOTHING), name
        outcomes["before the take-over" if wrote else "refused"] += 1
        # Asleep for longer, it is refused whatever it writes.
        assert not await wake_up(first, stale, chance.choice(sorted(WRITES)), 0)
        assert await stored(second, thread) == seen
        await second.append(thread, [UserFactory(run_id="r")], claim=claim)
        await second.mark_run_complete(thread, "r", claim=claim)

    async with Checkpointer(database_url) as first, Checkpointer(database_url) as second:
        for start in range(0, ROUNDS, AT_ONCE):
            await asyncio.gather(*(play(first, second, start + n) for n in range(AT_ONCE)))
    assert outcomes.total() == ROUNDS
    with capsys.disabled():
        print(f"\nTHREADLOG_SEED={FRESH}: of {ROUNDS} writers beside a take-over {dict(outcomes)}")


@pytest.mark.parametrize("name", WRITES)
async def test_write_that_waits_for_a_take_over_is_refused(server_url: str, name: str) -> None:
    """The token is read after the wait for the locks."""
    engine = engine_for(server_url)
    async with Checkpointer(server_url) as log, engine.connect() as connection:
        stale = await prepare(log)
        await end_leases(server_url)
        before = await stored(log)
        async with Checkpointer(engine=engine) as other, AsyncSession(connection) as session:
            await other.bind(session).claim_run("t", "r", lease=MINUTE)
            writing = asyncio.create_task(WRITES[name](log, stale))
            await asyncio.sleep(0.1)  # it waits; if it did not begin it is refused as well
            await session.commit()
            with pytest.raises(LeaseLostError):
                await writing
        assert await stored(log) == before
    await engine.dispose()


@pytest.mark.parametrize("name", WRITES)
async def test_write_in_a_transaction_older_than_the_take_over_is_refused(
    server_url: str, name: str
) -> None:
    """At REPEATABLE READ the transaction's snapshot has the old token."""
    engine = engine_for(server_url, isolation_level="REPEATABLE READ")
    async with Checkpointer(server_url) as log, Checkpointer(engine=engine) as other:
        stale = await prepare(log)
        async with AsyncSession(engine) as session:
            await other.bind(session).load("t")
            await end_leases(server_url)
            await log.claim_run("t", "r", lease=MINUTE)
            before = await stored(log)
            with pytest.raises((LeaseLostError, StorageError)) as caught:
                await WRITES[name](other.bind(session), stale)
            error = caught.value
            assert isinstance(error, LeaseLostError) or getattr(error, "retryable", False)
            await session.rollback()
        assert await stored(log) == before
    await engine.dispose()


async def test_take_over_waits_for_the_write_of_an_open_transaction(server_url: str) -> None:
    """The next worker sees whatever its predecessor was allowed to write."""
    engine = engine_for(server_url)
    async with Checkpointer(server_url) as log, Checkpointer(engine=engine) as other:
        stale = await prepare(log)
        await end_leases(server_url)
        for name, write in WRITES.items():
            if name in {"mark_run_complete", "release_run"}:
                continue
            async with AsyncSession(engine) as session:
                await write(other.bind(session), stale)
                taking = asyncio.create_task(log.claim_run("t", "r", lease=MINUTE))
                await asyncio.sleep(0.05)
                await session.commit()
            stale = await taking
            seen = await stored(log)
            await end_leases(server_url)
            assert await stored(log) == seen
    await engine.dispose()


async def test_a_refused_write_in_a_session_leaves_neither_thread_nor_owner(
    server_url: str,
) -> None:
    """The application may commit what else it did."""
    engine = engine_for(server_url)
    async with Checkpointer(server_url) as log, Checkpointer(engine=engine) as other:
        gone = await prepare(log, "gone")
        await log.delete_thread("gone")
        lost = await prepare(log, "lost")
        await log.release(lost)
        await log.claim_run("lost", "claimed")
        async with AsyncSession(engine) as session:
            for bound in (other.bind(session), other.bind(session).scoped("ann")):
                with pytest.raises(ThreadChangedError):
                    await bound.append("new", [UserFactory()], if_last_seq=5)
                for write in OWNING:
                    with pytest.raises(LeaseLostError):
                        await write(bound, gone, owner="ann")
            for write in OWNING:
                with pytest.raises(LeaseLostError):
                    await write(other.bind(session), lost, owner="ann")
            for lease in ({}, {"lease": MINUTE}):
                with pytest.raises(RunAlreadyClaimedError):
                    await other.bind(session).claim_run("lost", "claimed", owner="ann", **lease)
            await session.commit()
        assert [(t.thread_id, t.owner) for t in await log.list_threads()] == [("lost", None)]
    await engine.dispose()
