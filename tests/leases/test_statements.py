"""A claim costs no further statement: counted by the server itself."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest

from tests.leases.expiring import MINUTE, end_leases
from tests.leases.writing import REQUEST, WRITES
from tests.support.counting import StatementCount
from tests.support.factories import UserFactory
from threadlog import Checkpointer, Claim

WITHOUT_CLAIM: Final[dict[str, Callable[[Checkpointer], Awaitable[Any]]]] = {
    "mark_run_complete": lambda log: log.mark_run_complete("t", "r"),
    "save_extra": lambda log: log.save_extra("t", {"b": 2}),
    "save_pending_request": lambda log: log.save_pending_request("t", REQUEST, run_id="other"),
    "remove_pending_request": lambda log: log.save_pending_request("t", None),
    "clear_pending_request_if_matches": lambda log: log.clear_pending_request_if_matches(
        "t", question_id="q", run_id="r"
    ),
    "save_hitl_answer": lambda log: log.save_hitl_answer("t", "q", "no", run_id="r"),
    "clear_hitl_answers": lambda log: log.clear_hitl_answers("t", run_id="r"),
}


@pytest.fixture
async def log(server_url: str) -> AsyncIterator[Checkpointer]:
    """Yield a checkpointer on a server with a thread and a leased run."""
    async with Checkpointer(server_url) as opened:
        yield opened


async def prepare(log: Checkpointer) -> Claim:
    """Claim the run of a new thread, and store a question and an answer."""
    await log.delete_thread("t")
    claim = await log.claim_run("t", "r", lease=MINUTE)
    await log.save_pending_request("t", REQUEST, run_id="r")
    await log.save_hitl_answer("t", "q", "yes", run_id="r")
    return claim


@pytest.mark.parametrize("name", WITHOUT_CLAIM)
async def test_claim_costs_no_further_statement(
    log: Checkpointer, count: StatementCount, name: str
) -> None:
    plain, claimed = [], []
    for _ in range(4):  # the first is not warm
        await prepare(log)
        before = await count.questions()
        await WITHOUT_CLAIM[name](log)
        plain.append(await count.questions() - before)
        claim = await prepare(log)
        before = await count.questions()
        await WRITES[name](log, claim)
        claimed.append(await count.questions() - before)
    assert min(claimed[1:]) == min(plain[1:])


async def test_append_with_claim_takes_one_transaction(
    log: Checkpointer, count: StatementCount
) -> None:
    """Lock and check, insert, COMMIT; PostgreSQL has a BEGIN, and reads after it has locked."""
    claim = await log.claim_run("t", "r", lease=MINUTE)
    await log.append("t", [UserFactory()])  # brings updated_at to this second
    sent = await count.of(lambda: log.append("t", [UserFactory(run_id="r")], claim=claim))
    assert sent == count.figure(3, postgresql=5)


async def test_leases_take_few_statements(
    log: Checkpointer, count: StatementCount, server_url: str
) -> None:
    names = iter(range(100))

    async def claim() -> Claim:
        return await log.claim_run("t", f"r{next(names)}", lease=MINUTE)

    taken = await claim()
    # Lock the thread, insert the run, lock the lease, read the clock, insert the lease.
    assert await count.of(claim) == count.figure(6, postgresql=7)
    assert await count.of(lambda: log.renew(taken, lease=MINUTE)) == count.figure(3, postgresql=4)

    async def take_over() -> None:
        await log.claim_run("t", taken.run_id, lease=MINUTE)

    counts = []
    for _ in range(3):
        await end_leases(server_url)
        before = await count.questions()
        await take_over()
        counts.append(await count.questions() - before - 1)
    # The run exists, so it is read, and the clock comes with the lease.
    assert min(counts) == count.figure(6, postgresql=7)
