"""Write ownership of threads' graph state: claim it, and refuse writers that lost it."""

import secrets

from threadlog.errors import WriteOwnershipLostError
from threadlog.repositories import UnitOfWork
from threadlog.runtime.transactions import TransactionRunner


def claim_writes(transactions: TransactionRunner, thread_id: str) -> int:
    """Replace the owner of the thread's writes, and return the new owner's token."""
    token = 1 + secrets.randbelow(2**62)
    transactions.write(lambda uow: uow.write_owners.put(thread_id, token), idempotent=True)
    return token


def check_owner(uow: UnitOfWork, thread_id: str, token: int) -> None:
    """Check, and lock until the transaction ends, that a token is that of the thread's owner.

    Raises:
        WriteOwnershipLostError: it is not.
        CommitOutcomeUnknownError: it is not, and an earlier attempt may have been stored.
    """
    if uow.write_owners.lock(thread_id, token):
        return
    raise (
        uow.outcome_unknown() if uow.lost_commits else WriteOwnershipLostError(thread_id=thread_id)
    )
