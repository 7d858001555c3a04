"""Leases of runs: take, renew and release them."""

import secrets
from datetime import timedelta
from typing import Final

from threadlog.errors import InvalidInputError, LeaseLostError
from threadlog.log.conditions import check_claim, require_control
from threadlog.log.results import Claim
from threadlog.repositories import UnitOfWork
from threadlog.runtime.transactions import TransactionRunner

# A step is random, so that a token is nobody else's: not that of a lease whose COMMIT was lost,
# nor that of a lease of the same run before its thread was deleted. 2**32 steps fit into a BIGINT.
_LONGEST_STEP: Final = 2**31

_LONGEST_LEASE: Final = timedelta(days=365)


def next_token(token: int) -> int:
    """Return a higher token, which no other lease has."""
    return token + 1 + secrets.randbelow(_LONGEST_STEP)


def check_lease(lease: timedelta) -> timedelta:
    """Return the length of a lease after checking it.

    Raises:
        InvalidInputError: it is not a timedelta between 0 and a year.
    """
    if not isinstance(lease, timedelta) or not timedelta(0) < lease <= _LONGEST_LEASE:
        raise InvalidInputError(
            f"lease must be a timedelta of more than 0 and at most 365 days, not {lease!r}."
        )
    return lease


def renew(transactions: TransactionRunner, claim: Claim, *, lease: timedelta) -> Claim:
    """Renew a lease; see `Checkpointer.renew`."""
    check_claim(claim)
    check_lease(lease)

    def extend(uow: UnitOfWork) -> Claim:
        require_control(uow)
        held = uow.leases.lock(claim.thread_id, claim.run_id)
        if held is None or held.token != claim.token:
            raise LeaseLostError(thread_id=claim.thread_id, run_id=claim.run_id)
        expires_at = held.now + lease
        uow.leases.extend(claim.thread_id, claim.run_id, expires_at)
        return Claim(claim.thread_id, claim.run_id, claim.token, expires_at)

    return transactions.write(extend, idempotent=True)


def release(transactions: TransactionRunner, claim: Claim) -> None:
    """End a claim; see `Checkpointer.release`."""
    check_claim(claim)

    def end(uow: UnitOfWork) -> None:
        require_control(uow)
        found = uow.runs.lock_completion(claim.thread_id, claim.run_id, with_lease=True)
        if found.lease_token == claim.token and found.completed is False:
            release_locked(uow, claim.thread_id, claim.run_id, claim.token)

    transactions.write(end, idempotent=True)


def release_locked(uow: UnitOfWork, thread_id: str, run_id: str, token: int | None) -> None:
    """Delete an open run of a locked thread, and end its lease if it has one.

    The lease gets a higher token: its worker, which may be alive after all, has lost it.
    """
    uow.runs.release(thread_id, run_id)
    if token is not None:
        uow.leases.replace(thread_id, run_id, next_token(token), None)


def take_lease(
    uow: UnitOfWork,
    thread_id: str,
    run_id: str,
    lease: timedelta,
    *,
    is_new: bool,
    attempts: dict[int, bool],
) -> Claim | None:
    """Store a lease of an open run, whose thread is locked.

    Args:
        uow: the unit of work.
        thread_id: the thread.
        run_id: the run.
        lease: the length of the lease.
        is_new: whether this unit of work has inserted the run.
        attempts: by token of each attempt of this call, whether it took the run over; one whose
            COMMIT was lost may have stored its lease.

    Returns:
        The claim; None if the run was claimed without a lease, or its lease has not ended.
    """
    held = uow.leases.lock(thread_id, run_id)
    if held is not None and held.token in attempts and held.expires_at is not None:
        return Claim(thread_id, run_id, held.token, held.expires_at)
    has_ended = held is not None and held.expires_at is not None and held.expires_at <= held.now
    if not is_new and not has_ended:
        return None
    token = next_token(0 if held is None else held.token)
    expires_at = (uow.catalogue.now() if held is None else held.now) + lease
    store = uow.leases.insert if held is None else uow.leases.replace
    store(thread_id, run_id, token, expires_at)
    attempts[token] = not is_new
    return Claim(thread_id, run_id, token, expires_at)
