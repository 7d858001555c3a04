"""Owners of threads, and operations that see the threads of one owner only."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, Concatenate, ParamSpec, TypeVar

from threadlog.encoding.validation import check_id
from threadlog.errors import ThreadOwnedError
from threadlog.log.conditions import check_in_scope, require_control
from threadlog.log.results import Claim
from threadlog.repositories import UnitOfWork
from threadlog.repositories.log.control import LockedOwner
from threadlog.repositories.scoped import NoRows, OwnedReads
from threadlog.runtime.transactions import TransactionRunner

P = ParamSpec("P")
T = TypeVar("T")


class ScopedRunner(TransactionRunner):
    """Runs units of work in which a thread that does not belong to an owner has no rows."""

    def __init__(self, runner: TransactionRunner, owner: str, thread_id: str | None) -> None:
        """Create a runner.

        Args:
            runner: runs the transactions.
            owner: the owner.
            thread_id: the thread of the operation; None if it has none, and runs nothing here.
        """
        super().__init__(runner.backend, runner.part, runner.facts)
        self.on_event = runner.on_event
        self.runner, self.owner, self._thread_id = runner, owner, thread_id

    def read(self, work: Callable[[UnitOfWork], T], *, snapshot: bool = False) -> T:
        """Run a block that reads, with the owner as a condition of each statement."""
        thread_id = self._thread()

        def scoped(uow: UnitOfWork) -> T:
            require_control(uow)
            return work(OwnedReads(uow, thread_id, self.owner))

        return self.runner.read(scoped, snapshot=snapshot)

    def write(
        self, work: Callable[[UnitOfWork], T], *, idempotent: bool = False, single: bool = False
    ) -> T:
        """Run a block that writes, after locking the thread and reading its owner."""
        thread_id = self._thread()

        def scoped(uow: UnitOfWork) -> T:
            require_control(uow)
            found = uow.owners.lock(thread_id)
            return work(uow if found and found.owner == self.owner else NoRows(uow))

        return self.runner.write(scoped, idempotent=idempotent, single=single)

    def _thread(self) -> str:
        if self._thread_id is None:  # otherwise each of the owner's threads would have no rows
            raise TypeError(
                "The operation has no argument thread_id, src_thread_id or claim, by which "
                "in_scope() finds its thread. Name the argument so, or use resolve_owner()."
            )
        return self._thread_id


def in_scope(
    transactions: TransactionRunner,
    owner: str,
    operation: Callable[Concatenate[TransactionRunner, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run an operation that sees the threads of one owner only.

    Its thread is an argument ``thread_id`` or ``src_thread_id``, or that of the argument ``claim``.
    An operation without one of them calls `resolve_owner`: the scoped runner raises TypeError.
    """
    given = _signature(operation).bind(transactions, *args, **kwargs).arguments
    of_claim = getattr(given.get("claim"), "thread_id", None)
    thread_id = given.get("thread_id", given.get("src_thread_id", of_claim))
    return operation(ScopedRunner(transactions, owner, thread_id), *args, **kwargs)


def resolve_owner(
    transactions: TransactionRunner, owner: str | None
) -> tuple[TransactionRunner, str | None]:
    """Return a runner without scope, and the owner that a caller or the scope names.

    Raises:
        InvalidIdError: the owner cannot be a key.
        InvalidInputError: both name an owner, and not the same.
    """
    if owner is not None:
        check_id(owner, "owner")
    if not isinstance(transactions, ScopedRunner):
        return transactions, owner
    check_in_scope(transactions.owner, owner)
    return transactions.runner, transactions.owner


def write_thread(
    transactions: TransactionRunner,
    thread_id: str,
    owner: str | None,
    work: Callable[[UnitOfWork], T],
    *,
    claim: Claim | None = None,
    idempotent: bool = True,
) -> T:
    """Run a unit of work on a thread that is created if it does not exist.

    Args:
        transactions: runs the transaction.
        thread_id: the thread.
        owner: the owner of the thread; None for the scope's, or for no owner.
        work: the unit of work.
        claim: a claim with a lease, which `work` checks: no thread is created then.
        idempotent: see `TransactionRunner.write`.

    Raises:
        ThreadOwnedError: the thread belongs to another owner, or in a scope to none.
        LeaseLostError: the claim's lease was taken over.
    """
    runner, named = resolve_owner(transactions, owner)
    if named is None:
        return runner.write(work, idempotent=idempotent)

    def owned(uow: UnitOfWork) -> T:
        # A claim is of a thread that exists: otherwise `work` refuses it.
        creates = claim is None
        found = lock_for(uow, thread_id, named, adopt=runner is transactions, creates=creates)
        result = work(uow)
        if found is not None and found.owner is None:  # after it, as `work` may refuse
            uow.owners.insert(thread_id, named)
        return result

    return runner.write(owned, idempotent=idempotent)


def lock_for(
    uow: UnitOfWork, thread_id: str, owner: str, *, adopt: bool, creates: bool = True
) -> LockedOwner | None:
    """Lock a thread of an owner.

    Args:
        uow: the transaction.
        thread_id: the thread.
        owner: the owner.
        adopt: whether a thread without an owner may get this one.
        creates: whether a thread that does not exist is created.

    Returns:
        The thread's owner, None if the thread is to get the owner; or None if the thread does
        not exist.

    Raises:
        ThreadOwnedError: the thread belongs to another owner, or to none without `adopt`.
    """
    require_control(uow)
    found = uow.owners.lock_or_create(thread_id) if creates else uow.owners.lock(thread_id)
    if found is None or found.owner == owner or (found.owner is None and (adopt or found.is_new)):
        uow.key_owners[thread_id] = owner
        return found
    raise ThreadOwnedError(thread_id=thread_id)


def check_thread_owner(uow: UnitOfWork, thread_id: str, owner: str) -> None:
    """Lock a thread if it exists, and check that it belongs to no other owner.

    Raises:
        ThreadOwnedError: the thread belongs to another owner.
    """
    require_control(uow)
    found = uow.owners.lock(thread_id)
    if found is not None and found.owner not in {None, owner}:
        raise ThreadOwnedError(thread_id=thread_id)


@cache
def _signature(operation: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(operation)
