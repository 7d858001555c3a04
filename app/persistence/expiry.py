"""Expiry: what becomes of threads whose time is over."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, get_args
from uuid import UUID

from threadlog.encoding.validation import check_count, check_one_of
from threadlog.errors import CheckpointCorruptionError
from threadlog.graph.pruning import delete_all, prune_thread
from threadlog.models import AppThread
from threadlog.persistence.threads import delete_with_runs, parse_object
from threadlog.persistence.types import ExpiredThread, TtlStrategy
from threadlog.persistence.validation import check_minutes, expiry, time_text
from threadlog.repositories import UnitOfWork
from threadlog.runtime.transactions import TransactionRunner


def threads_over(transactions: TransactionRunner, limit: int) -> Sequence[UUID]:
    """List threads that may be expired, longest over first; none with a run in flight."""
    check_count(limit, "limit", least=1)
    return transactions.read(
        lambda uow: uow.app_threads.over(time_text(uow.catalogue.now()), limit)
    )


def expire_thread(transactions: TransactionRunner, thread_id: UUID) -> ExpiredThread | None:
    """Do to one thread, in one transaction, what its time to live says.

    Returns:
        None where its time is not over any more, a run is in flight, or somebody else has it.

    Raises:
        CheckpointCorruptionError: what it says cannot be read.
    """

    def expire(uow: UnitOfWork) -> ExpiredThread | None:
        now = uow.catalogue.now()
        stored = uow.app_threads.claim_over(thread_id, time_text(now))
        # Behind the lock, which keeps new runs out: see AppRunRepository.insert.
        if stored is None or uow.app_runs.any_in_flight(thread_id):
            return None
        ttl = _parse(thread_id, stored)
        if ttl.end > now:
            return None
        if ttl.strategy == "delete":
            delete_all(uow, str(thread_id))
            delete_with_runs(uow, thread_id)
        else:
            prune_thread(uow, str(thread_id))
            again = {**ttl.stored, "expires_at": expiry(now, ttl.minutes)}
            uow.app_threads.write_ttl(thread_id, again)
        return ExpiredThread(thread_id, ttl.strategy)

    return transactions.write(expire)


class _StoredTtl(NamedTuple):
    stored: dict[str, Any]
    strategy: TtlStrategy
    minutes: float
    end: datetime


def _parse(thread_id: UUID, text: str) -> _StoredTtl:
    """Read a thread's ``ttl``; what is deleted for it had better be meant.

    Raises:
        CheckpointCorruptionError: something is wrong with it.
    """
    table, name = AppThread.__tablename__, str(thread_id)
    ttl = parse_object(table, name, "ttl", text)
    try:
        strategy, minutes = ttl["strategy"], ttl["ttl_minutes"]
        check_one_of(strategy, "strategy", get_args(TtlStrategy))
        check_minutes(minutes, "ttl_minutes")
        end = datetime.fromisoformat(ttl["expires_at"])
        return _StoredTtl(ttl, strategy, minutes, end.replace(tzinfo=end.tzinfo or UTC))
    except (KeyError, TypeError, ValueError) as error:
        reason = f"ttl cannot be read: {error}"
        raise CheckpointCorruptionError(
            table=table, thread_id=name, seq=None, reason=reason
        ) from error
