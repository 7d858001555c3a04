"""Write `extra`, and list and delete threads."""

import json
from datetime import UTC
from typing import Any, get_args

from threadlog.encoding.statement_size import check_size
from threadlog.encoding.times import from_epoch
from threadlog.encoding.validation import check_count, check_id, check_json_object, check_text
from threadlog.encryption import check_is_plain
from threadlog.errors import InvalidInputError
from threadlog.log.conditions import check_claim, fence_of, lease_lost, require_control
from threadlog.log.owners import resolve_owner, write_thread
from threadlog.log.references import name_referring_table
from threadlog.log.results import Claim, ThreadSummary
from threadlog.models.tables import THREADS
from threadlog.repositories import UnitOfWork
from threadlog.repositories.log.thread import ThreadKey, ThreadOrder, ThreadSummaryRow
from threadlog.runtime.transactions import TransactionRunner


def save_extra(
    transactions: TransactionRunner,
    thread_id: str,
    extra: dict[str, Any],
    *,
    owner: str | None = None,
    claim: Claim | None = None,
) -> None:
    """Merge `extra` into the thread's; see `Checkpointer.save_extra`."""
    check_id(thread_id)
    check_json_object(extra, "extra")
    if claim is not None:
        check_claim(claim, thread_id)
    limit = transactions.statement_limit
    write_thread(
        transactions,
        thread_id,
        owner,
        lambda uow: merge_extra(uow, thread_id, extra, limit, claim),
        claim=claim,
    )


def merge_extra(
    uow: UnitOfWork, thread_id: str, extra: dict[str, Any], limit: int, claim: Claim | None = None
) -> None:
    """Lock a thread and merge `extra` into its own, as long as both fit into a statement.

    Raises:
        LeaseLostError: the claim's lease was taken over.
    """
    stored = _lock_extra(uow, thread_id, claim)
    merged = {**stored, **extra}
    if json.dumps(merged, sort_keys=True) == json.dumps(stored, sort_keys=True):
        return  # compared as text, since True equals 1
    check_is_plain(merged, "extra")
    check_size(merged, "extra", limit, encrypted=uow.encryption is not None)
    uow.threads.write_extra(thread_id, merged)


def _lock_extra(uow: UnitOfWork, thread_id: str, claim: Claim | None) -> dict[str, Any]:
    fence = fence_of(uow, claim)
    if claim is None or fence is None:
        return uow.threads.lock_extra(thread_id)
    stored = uow.threads.lock_extra_if_held(thread_id, fence)
    if stored is None:
        raise lease_lost(uow, claim)
    return stored


def list_threads(
    transactions: TransactionRunner,
    *,
    owner: str | None = None,
    waiting: bool = False,
    after: ThreadSummary | str | None = None,
    limit: int = 100,
    order: ThreadOrder = "id",
) -> list[ThreadSummary]:
    """List a page of threads; see `Checkpointer.list_threads`."""
    check_count(limit, "limit", least=1)
    if order not in get_args(ThreadOrder):
        raise InvalidInputError(f"order must be 'id' or 'recent', not {order!r}.")
    key = _key(after, order)
    runner, owner = resolve_owner(transactions, owner)

    def read(uow: UnitOfWork) -> list[ThreadSummaryRow]:
        if owner is not None:
            require_control(uow)
        return uow.threads.page(owner=owner, waiting=waiting, after=key, limit=limit, order=order)

    return [_summary(row) for row in runner.read(read)]


def delete_thread(
    transactions: TransactionRunner, thread_id: str, *, detach_forks: bool = False
) -> bool:
    """Delete a thread and all that belongs to it; see `Checkpointer.delete_thread`."""
    found = False

    def delete(uow: UnitOfWork) -> bool:
        nonlocal found
        # The thread also existed if an attempt found it whose COMMIT was lost.
        found = found and bool(uow.lost_commits)
        found = uow.threads.delete(thread_id, detach_forks=detach_forks) or found
        return found

    check_id(thread_id)
    with name_referring_table(transactions, thread_id, [THREADS]):
        return transactions.write(delete, idempotent=True)


def _key(after: ThreadSummary | str | None, order: ThreadOrder) -> ThreadKey | None:
    match after:
        case None:
            return None
        case ThreadSummary():
            return ThreadKey(after.thread_id, after.updated_at.astimezone(UTC))
        case str() if order == "id":
            check_text(after, "after")
            return ThreadKey(after, from_epoch(0))
        case _:
            raise InvalidInputError(
                "after must be the last ThreadSummary of the previous page; a thread id alone "
                "is enough only with order='id'."
            )


def _summary(row: ThreadSummaryRow) -> ThreadSummary:
    return ThreadSummary(
        thread_id=row.thread_id,
        last_seq=row.last_seq,
        parent_thread_id=row.parent_thread_id,
        forked_at_seq=row.forked_at_seq,
        created_at=from_epoch(row.created_at),
        updated_at=from_epoch(row.updated_at),
        owner=row.owner,
        waiting=bool(row.waiting),
    )
