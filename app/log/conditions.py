"""Conditions on an append: the owner, the end of the thread, a key, a lease."""

from dataclasses import dataclass
from typing import Final

from threadlog.encoding.validation import check_count, check_id
from threadlog.errors import (
    AppendKeyReusedError,
    CubepiSchemaUninitialized,
    InvalidInputError,
    LeaseLostError,
    ThreadChangedError,
    ThreadlogError,
    ThreadOwnedError,
)
from threadlog.log.results import Claim
from threadlog.repositories import UnitOfWork
from threadlog.repositories.log.lease import Fence
from threadlog.repositories.log.message import PlacedMessages
from threadlog.repositories.log.thread import ControlKeys, ThreadTail


@dataclass(frozen=True, slots=True)
class AppendConditions:
    """Conditions under which messages are appended; checked under the thread's lock."""

    owner: str | None = None
    if_last_seq: int | None = None
    key: str | None = None
    claim: Claim | None = None
    scope: str | None = None
    """The only owner whose threads are written to; a new thread gets it."""

    @property
    def keys(self) -> ControlKeys | None:
        """The rows of thread control to read; None if the conditions need none."""
        if self.owner is None and self.key is None and self.claim is None:
            return None
        return ControlKeys(self.claim.run_id if self.claim else "", self.key or "")

    @property
    def needs_thread(self) -> bool:
        """True if the conditions fail on a thread that does not exist."""
        return self.claim is not None or bool(self.if_last_seq)

    def check_arguments(self, thread_id: str) -> None:
        """Check what the caller passed.

        Raises:
            InvalidIdError: the owner or the key cannot be a key.
            InvalidInputError: the seq is no seq, the claim is of another thread, or the owner is
                not that of the scope.
        """
        if self.owner is not None:
            check_id(self.owner, "owner")
        if self.key is not None:
            check_id(self.key, "key")
        if self.if_last_seq is not None:
            check_count(self.if_last_seq, "if_last_seq", least=0)
        if self.claim is not None:
            check_claim(self.claim, thread_id)
        if self.scope is not None:
            check_in_scope(self.scope, self.owner)

    def check_tail(self, thread_id: str, tail: ThreadTail, count: int) -> range | None:
        """Check the conditions against a locked thread.

        Args:
            thread_id: the thread.
            tail: its end, read with `keys`.
            count: how many messages are to be appended.

        Returns:
            The seqs of the messages that an earlier call with the key stored; None if the
            messages are to be stored.

        Raises:
            ThreadOwnedError: the thread belongs to another owner.
            AppendKeyReusedError: the key was used for another number of messages.
            LeaseLostError: the lease was taken over.
            ThreadChangedError: the thread does not end where it should.
        """
        if self.owner is not None and tail.owner not in {None, self.owner}:
            raise ThreadOwnedError(thread_id=thread_id)
        if self.key is not None and tail.key_first_seq is not None:
            stored = range(tail.key_first_seq, (tail.key_last_seq or 0) + 1)
            if len(stored) != count:
                raise AppendKeyReusedError(thread_id=thread_id, key=self.key)
            return stored
        if self.claim is not None and tail.lease_token != self.claim.token:
            raise LeaseLostError(thread_id=thread_id, run_id=self.claim.run_id)
        if self.if_last_seq is not None and tail.last_seq != self.if_last_seq:
            raise ThreadChangedError(
                thread_id=thread_id, expected=self.if_last_seq, actual=tail.last_seq
            )
        return None

    def check_replay(self, uow: UnitOfWork, placed: PlacedMessages) -> None:
        """Check that the messages which an earlier call with the key stored are these.

        Messages that were truncated since cannot be compared.

        Raises:
            AppendKeyReusedError: another message is at the seq of one of them.
        """
        if uow.messages.differ(placed):
            raise AppendKeyReusedError(thread_id=placed.thread_id, key=self.key or "")

    def store(self, uow: UnitOfWork, thread_id: str, tail: ThreadTail, seqs: range) -> None:
        """Store the owner and the key, together with the messages."""
        if self.owner is not None and tail.owner is None:
            uow.owners.insert(thread_id, self.owner)
        if self.key is not None:
            uow.append_keys.insert(thread_id, self.key, seqs[0], seqs[-1])


NO_CONDITIONS: Final = (None, None, None, None, None)
"""The arguments of `AppendConditions` that an ordinary append has."""


def check_claim(claim: Claim, thread_id: str | None = None, run_id: str | None = None) -> None:
    """Check that an argument is a claim, and is of the thread and the run that are given.

    Raises:
        InvalidInputError: it is not.
    """
    if not isinstance(claim, Claim):
        raise InvalidInputError(f"claim must be a Claim that claim_run() returned, not {claim!r}.")
    if thread_id not in {None, claim.thread_id}:
        raise InvalidInputError(
            f"The claim is of thread {claim.thread_id!r}, not of {thread_id!r}. Use it for its "
            "own thread."
        )
    if run_id not in {None, claim.run_id}:
        raise InvalidInputError(
            f"The claim is of run {claim.run_id!r}, not of {run_id!r}. Use it for its own run."
        )


def fence_of(uow: UnitOfWork, claim: Claim | None) -> Fence | None:
    """Return the parameters of statements that check a claim's lease; None without a claim.

    Raises:
        CubepiSchemaUninitialized: the database has no thread control.
    """
    if claim is None:
        return None
    require_control(uow)
    return Fence(claim.run_id, claim.token)


def check_held(uow: UnitOfWork, claim: Claim) -> None:
    """Check the lease of a claim with which a statement changed nothing.

    Raises:
        LeaseLostError: it was taken over.
    """
    if not uow.leases.lock_held(claim.thread_id, Fence(claim.run_id, claim.token)):
        raise lease_lost(uow, claim)


def lease_lost(uow: UnitOfWork, claim: Claim) -> ThreadlogError:
    """Return the error to raise for a claim whose lease was taken over.

    After a lost COMMIT the lease may have been taken over after that COMMIT.
    """
    if uow.lost_commits:
        return uow.outcome_unknown()
    return LeaseLostError(thread_id=claim.thread_id, run_id=claim.run_id)


def check_in_scope(scope: str, owner: str | None) -> None:
    """Check that a scoped call names no other owner.

    Raises:
        InvalidInputError: it does.
    """
    if owner not in {None, scope}:
        raise InvalidInputError(
            f"owner is {owner!r}, but the checkpointer is scoped to {scope!r}. Leave owner out, or "
            "use scoped() with the other owner."
        )


def require_control(uow: UnitOfWork) -> None:
    """Check that the database has thread control.

    Raises:
        CubepiSchemaUninitialized: it had not when it was opened.
    """
    if not uow.has_control:
        raise CubepiSchemaUninitialized(
            "The database had no tables for owners, leases, append keys and truncations when it "
            "was opened. Run: threadlog migrate URL --part control. Then open it again."
        )
