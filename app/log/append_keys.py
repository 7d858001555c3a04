"""Remove old keys of appends."""

from datetime import timedelta
from typing import Final

from threadlog.repositories import UnitOfWork
from threadlog.runtime.transactions import TransactionRunner

# Keys in one transaction: below every server's limit of parameters.
_AT_ONCE: Final = 400


def prune_keys(transactions: TransactionRunner, age: timedelta) -> int:
    """Delete some of the keys of at least an age, in one transaction.

    Returns:
        Their number; 0 at the end.
    """

    def prune(uow: UnitOfWork) -> int:
        keys = uow.append_keys.old(age.total_seconds(), _AT_ONCE)
        return uow.append_keys.delete(keys) if keys else 0

    return transactions.write(prune, idempotent=True)


def count_old_keys(transactions: TransactionRunner, age: timedelta) -> int:
    """Return the number of keys of at least an age."""
    return transactions.read(lambda uow: uow.append_keys.count_old(age.total_seconds()))
