"""Claim, complete, release and list runs."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from math import ceil
from typing import Final

from threadlog.encoding.times import from_epoch
from threadlog.encoding.validation import check_id
from threadlog.errors import (
    InvalidInputError,
    RunAlreadyClaimedError,
    RunAlreadyCompletedError,
    RunIdCollisionError,
    RunNotClaimedError,
)
from threadlog.log.conditions import require_control
from threadlog.log.owners import resolve_owner, write_thread
from threadlog.log.results import RunState, RunSummary
from threadlog.repositories import UnitOfWork
from threadlog.repositories.log.run import RunSummaryRow
from threadlog.runtime.transactions import TransactionRunner

_LOG: Final = logging.getLogger(__name__)


def claim_run(
    transactions: TransactionRunner, thread_id: str, run_id: str, *, owner: str | None = None
) -> None:
    """Claim a run; see `Checkpointer.claim_run`."""
    _check(thread_id, run_id)

    def claim(uow: UnitOfWork) -> None:
        uow.threads.lock(thread_id)
        if uow.runs.claim(thread_id, run_id):
            return
        if uow.lost_commits:  # claimed by this call, or by another since
            raise uow.outcome_unknown()
        completed = uow.runs.completed(thread_id, run_id)
        if completed is None:
            raise RunIdCollisionError(thread_id=thread_id, run_id=run_id)
        refused = RunAlreadyCompletedError if completed else RunAlreadyClaimedError
        raise refused(thread_id=thread_id, run_id=run_id)

    write_thread(transactions, thread_id, owner, claim)


def mark_run_complete(transactions: TransactionRunner, thread_id: str, run_id: str) -> None:
    """Complete a run; see `Checkpointer.mark_run_complete`."""
    _check(thread_id, run_id)

    def complete(uow: UnitOfWork) -> None:
        found = uow.runs.lock_completion(thread_id, run_id)
        if found.completed is None:
            raise RunNotClaimedError(thread_id=thread_id, run_id=run_id)
        if not found.completed:
            uow.runs.complete(thread_id, run_id, found.last_seq + 1)

    transactions.write(complete, idempotent=True)


def release_run(
    transactions: TransactionRunner,
    thread_id: str,
    run_id: str,
    *,
    older_than: timedelta | None = None,
) -> None:
    """Release a claim; see `Checkpointer.release_run`."""
    seconds = None if older_than is None else _seconds(older_than)
    _check(thread_id, run_id)

    def release(uow: UnitOfWork) -> None:
        found = uow.runs.lock_completion(thread_id, run_id)
        if uow.lost_commits:
            if found.completed is None:
                return
            raise uow.outcome_unknown()  # the claim found may be another's since
        if found.completed is None:
            raise RunNotClaimedError(thread_id=thread_id, run_id=run_id)
        if found.completed:
            raise RunAlreadyCompletedError(thread_id=thread_id, run_id=run_id)
        if seconds is not None and not uow.runs.is_stale(thread_id, run_id, seconds):
            raise RunAlreadyClaimedError(thread_id=thread_id, run_id=run_id)
        uow.runs.release(thread_id, run_id)

    transactions.write(release, idempotent=True)
    if seconds:
        _LOG.warning("Released run %r of thread %r, which was abandoned", run_id, thread_id)


def runs(transactions: TransactionRunner, thread_id: str) -> list[RunSummary]:
    """List a thread's runs; see `Checkpointer.runs`."""
    check_id(thread_id)
    return _summaries(transactions.read(lambda uow: uow.runs.of_thread(thread_id)))


def stale_runs(
    transactions: TransactionRunner, older_than: timedelta, *, owner: str | None = None
) -> list[RunSummary]:
    """List runs whose process seems dead; see `Checkpointer.stale_runs`."""
    seconds = _seconds(older_than)
    runner, owner = resolve_owner(transactions, owner)

    def read(uow: UnitOfWork) -> list[RunSummaryRow]:
        if owner is not None:
            require_control(uow)
        return uow.runs.stale(seconds, owner)

    return _summaries(runner.read(read))


def _seconds(older_than: timedelta) -> int:
    if not isinstance(older_than, timedelta) or older_than < timedelta(0):
        raise InvalidInputError(
            f"older_than must be a timedelta that is not negative, not {older_than!r}."
        )
    return ceil(older_than.total_seconds())


def _check(thread_id: str, run_id: str) -> None:
    check_id(thread_id)
    check_id(run_id, "run_id")


def _summaries(rows: Sequence[RunSummaryRow]) -> list[RunSummary]:
    return [
        RunSummary(
            thread_id=row.thread_id,
            run_id=row.run_id,
            state=_state(row),
            claimed_at=from_epoch(row.claimed_at),
            completed_at=None if row.completed_at is None else from_epoch(row.completed_at),
            completion_seq=row.completion_seq,
        )
        for row in rows
    ]


def _state(row: RunSummaryRow) -> RunState:
    if row.completed_at is not None:
        return "completed"
    return "waiting" if row.waits else "open"
