"""Read or copy a part of a thread."""

from typing import Any

from threadlog.encoding.statement_size import check_size
from threadlog.encoding.validation import check_count, check_id, check_json, check_json_object
from threadlog.errors import (
    InvalidInputError,
    RunNotCompletedError,
    ThreadAlreadyExistsError,
    ThreadNotFoundError,
    ThreadOwnedError,
)
from threadlog.log.conditions import require_control
from threadlog.log.framework_types import FrameworkTypes
from threadlog.log.message_codec import MessageT
from threadlog.log.owners import resolve_owner
from threadlog.log.reencryption import reencrypt_copied
from threadlog.repositories import UnitOfWork
from threadlog.repositories.log.fork import ForkSource
from threadlog.repositories.log.thread import parse_extra
from threadlog.runtime.transactions import TransactionRunner


def snapshot(
    transactions: TransactionRunner,
    vocabulary: FrameworkTypes[MessageT, Any, Any],
    thread_id: str,
    *,
    after_run_id: str | None = None,
    at_seq: int | None = None,
) -> list[MessageT]:
    """Read what a fork would copy; see `Checkpointer.snapshot`."""
    check_id(thread_id)
    _check_end(after_run_id, at_seq)
    found = transactions.read(
        lambda uow: uow.forks.snapshot(thread_id, after_run_id=after_run_id, at_seq=at_seq)
    )
    if found is None:
        raise ThreadNotFoundError(thread_id=thread_id)
    if after_run_id is not None and not found.completed:
        raise RunNotCompletedError(thread_id=thread_id, run_id=after_run_id)
    return vocabulary.messages.decode_all(thread_id, found.messages)


def fork(
    transactions: TransactionRunner,
    src_thread_id: str,
    new_thread_id: str,
    *,
    after_run_id: str | None = None,
    at_seq: int | None = None,
    metadata: dict[str, Any] | None = None,
    owner: str | None = None,
) -> None:
    """Copy a part of a thread; see `Checkpointer.fork`."""
    check_id(src_thread_id, "src_thread_id")
    check_id(new_thread_id, "new_thread_id")
    _check_end(after_run_id, at_seq)
    _, owner = resolve_owner(transactions, owner)
    if metadata is not None:
        check_json_object(metadata, "metadata")
        check_json({"fork": metadata}, "extra")  # a level deeper

    limit = transactions.statement_limit

    def copy(uow: UnitOfWork) -> None:
        found = uow.forks.lock_source(src_thread_id, after_run_id, new_thread_id)
        if uow.lost_commits and (found is None or found.new_is_taken):
            raise uow.outcome_unknown()  # made by this call, or by another since
        source = _checked(found, src_thread_id, new_thread_id, after_run_id)
        of_fork = _owner_of_fork(uow, source, src_thread_id, owner)
        uow.key_owners[new_thread_id] = of_fork
        extra = parse_extra(src_thread_id, source.extra)
        if metadata is not None:
            extra["fork"] = metadata
        check_size(extra, "extra", limit, encrypted=uow.encryption is not None)
        if at_seq is not None:
            uow.forks.copy_first(src_thread_id, new_thread_id, at_seq, extra)
        elif source.cutoff is not None:
            uow.forks.copy_finished(src_thread_id, new_thread_id, source.cutoff, extra)
        if uow.encryption is not None:
            reencrypt_copied(uow, new_thread_id, src_thread_id, limit)
        if uow.has_search:
            uow.search.copy(src_thread_id, new_thread_id)
        if of_fork is not None:
            uow.owners.insert(new_thread_id, of_fork)

    transactions.write(copy, idempotent=True)


def _checked(
    source: ForkSource | None, src_thread_id: str, new_thread_id: str, after_run_id: str | None
) -> ForkSource:
    """Return the source of a fork if it can be forked.

    Raises:
        ThreadNotFoundError: there is no source.
        RunNotCompletedError: the last run to copy is open, or unknown.
        ThreadAlreadyExistsError: rows of the new thread exist.
    """
    if source is None:
        raise ThreadNotFoundError(thread_id=src_thread_id)
    if after_run_id is not None and source.cutoff is None:
        raise RunNotCompletedError(thread_id=src_thread_id, run_id=after_run_id)
    if source.new_is_taken:
        raise ThreadAlreadyExistsError(thread_id=new_thread_id)
    return source


def _owner_of_fork(
    uow: UnitOfWork, source: ForkSource, src_thread_id: str, owner: str | None
) -> str | None:
    """Return the owner of a fork: its source's, or the given one if the source has none.

    Raises:
        ThreadOwnedError: the source belongs to another owner.
    """
    if owner is not None:
        require_control(uow)
        if source.owner not in {None, owner}:
            raise ThreadOwnedError(thread_id=src_thread_id)
    return source.owner or owner


def _check_end(after_run_id: str | None, at_seq: int | None) -> None:
    """Check the two arguments that say where a fork ends.

    Raises:
        InvalidInputError: not exactly one is given, or the seq is no seq.
        InvalidIdError: the run's id cannot be a key.
    """
    if (after_run_id is None) == (at_seq is None):
        raise InvalidInputError("A fork needs either after_run_id or at_seq. Pass one of them.")
    if after_run_id is None:
        check_count(at_seq, "at_seq", least=0)
    else:
        check_id(after_run_id, "after_run_id")
