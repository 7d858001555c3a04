"""Read or copy the finished part of a thread."""

from typing import Any

from threadlog.encoding.statement_size import check_size
from threadlog.encoding.validation import check_id, check_json, check_json_object
from threadlog.errors import (
    RunNotCompletedError,
    ThreadAlreadyExistsError,
    ThreadNotFoundError,
)
from threadlog.log.framework_types import FrameworkTypes
from threadlog.log.message_codec import MessageT
from threadlog.log.owners import owner_of_fork, resolve_owner
from threadlog.repositories import UnitOfWork
from threadlog.repositories.log.thread import parse_extra
from threadlog.runtime.transactions import TransactionRunner


def snapshot(
    transactions: TransactionRunner,
    vocabulary: FrameworkTypes[MessageT, Any, Any],
    thread_id: str,
    *,
    after_run_id: str,
) -> list[MessageT]:
    """Read what a fork would copy; see `Checkpointer.snapshot`."""
    check_id(thread_id)
    check_id(after_run_id, "after_run_id")
    found = transactions.read(lambda uow: uow.forks.snapshot(thread_id, after_run_id))
    if found is None:
        raise ThreadNotFoundError(thread_id=thread_id)
    if not found.completed:
        raise RunNotCompletedError(thread_id=thread_id, run_id=after_run_id)
    return vocabulary.messages.decode_all(thread_id, found.messages)


def fork(
    transactions: TransactionRunner,
    src_thread_id: str,
    new_thread_id: str,
    *,
    after_run_id: str,
    metadata: dict[str, Any] | None = None,
    owner: str | None = None,
) -> None:
    """Copy the finished part of a thread; see `Checkpointer.fork`."""
    check_id(src_thread_id, "src_thread_id")
    check_id(new_thread_id, "new_thread_id")
    check_id(after_run_id, "after_run_id")
    _, owner = resolve_owner(transactions, owner)
    if metadata is not None:
        check_json_object(metadata, "metadata")
        check_json({"fork": metadata}, "extra")  # a level deeper

    def copy(uow: UnitOfWork) -> None:
        source = uow.forks.lock_source(src_thread_id, after_run_id, new_thread_id)
        if uow.lost_commits and (source is None or source.new_is_taken):
            raise uow.outcome_unknown()  # made by this call, or by another since
        if source is None:
            raise ThreadNotFoundError(thread_id=src_thread_id)
        if source.cutoff is None:
            raise RunNotCompletedError(thread_id=src_thread_id, run_id=after_run_id)
        if source.new_is_taken:
            raise ThreadAlreadyExistsError(thread_id=new_thread_id)
        of_fork = owner_of_fork(uow, src_thread_id, owner)
        extra = parse_extra(src_thread_id, source.extra)
        if metadata is not None:
            extra["fork"] = metadata
        check_size(extra, "extra", transactions.statement_limit)
        uow.forks.copy(src_thread_id, new_thread_id, source.cutoff, extra)
        if of_fork is not None:
            uow.owners.insert(new_thread_id, of_fork)

    transactions.write(copy, idempotent=True)
