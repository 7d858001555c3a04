"""Every write with a claim."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Final

from tests.leases.expiring import MINUTE
from tests.support.factories import HitlRequestFactory, UserFactory
from threadlog import Claim

Write = Callable[..., Coroutine[Any, Any, Any]]

REQUEST: Final = HitlRequestFactory(question_id="q")

WRITES: Final[dict[str, Write]] = {
    "append": lambda log, claim, thread="t": log.append(
        thread, [UserFactory(run_id="r")], claim=claim
    ),
    "mark_run_complete": lambda log, claim, thread="t": log.mark_run_complete(
        thread, "r", claim=claim
    ),
    "release_run": lambda log, claim, thread="t": log.release_run(thread, "r", claim=claim),
    "save_extra": lambda log, claim, thread="t": log.save_extra(thread, {"b": 2}, claim=claim),
    "save_pending_request": lambda log, claim, thread="t": log.save_pending_request(
        thread, REQUEST, run_id="other", claim=claim
    ),
    "remove_pending_request": lambda log, claim, thread="t": log.save_pending_request(
        thread, None, claim=claim
    ),
    "clear_pending_request_if_matches": lambda log, claim, thread="t": (
        log.clear_pending_request_if_matches(thread, question_id="q", run_id="r", claim=claim)
    ),
    "clear_another_pending_request": lambda log, claim, thread="t": (
        log.clear_pending_request_if_matches(thread, question_id="another", run_id="r", claim=claim)
    ),
    "save_hitl_answer": lambda log, claim, thread="t": log.save_hitl_answer(
        thread, "q", "no", run_id="r", claim=claim
    ),
    "clear_hitl_answers": lambda log, claim, thread="t": log.clear_hitl_answers(
        thread, run_id="r", claim=claim
    ),
    "clear_some_hitl_answers": lambda log, claim, thread="t": log.clear_hitl_answers(
        thread, ["q", "none"], run_id="r", claim=claim
    ),
    "clear_no_hitl_answers": lambda log, claim, thread="t": log.clear_hitl_answers(
        thread, ["none"], run_id="r", claim=claim
    ),
}
"""Every method that takes a claim, on a thread that `prepare` has filled."""

CHANGES_NOTHING: Final = {"clear_another_pending_request", "clear_no_hitl_answers"}
"""Those of `WRITES` that find nothing to change."""


async def prepare(log: Any, thread: str = "t", lease: timedelta = MINUTE) -> Claim:
    """Claim a run of a new thread with a lease, and store something of each kind."""
    claim: Claim = await log.claim_run(thread, "r", lease=lease)
    await log.append(thread, [UserFactory(run_id="r")], claim=claim)
    await log.save_extra(thread, {"a": 1}, claim=claim)
    await log.save_pending_request(thread, REQUEST, run_id="r", claim=claim)
    await log.save_hitl_answer(thread, "q", "yes", run_id="r", claim=claim)
    return claim


async def stored(log: Any, thread: str = "t") -> list[Any]:
    """Return all that is stored of the thread."""
    return [
        await log.load(thread),
        await log.load_pending(thread),
        await log.load_hitl_answer(thread, "q", run_id="r"),
        [(run.run_id, run.state) for run in await log.runs(thread)],
    ]
