"""Expire the threads of a SQL database whose time to live has ended."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, get_args
from uuid import UUID

from threadlog.encoding.validation import check_count, check_one_of
from threadlog.errors import CheckpointCorruptionError
from threadlog.graph.pruning import delete_all, prune_thread
from threadlog.models import GRAPH, AppThread
from threadlog.persistence.threads import delete_with_runs
from threadlog.persistence.types import ExpiredThread, TtlStrategy
from threadlog.persistence.validation import check_minutes, expires_at, time_text
from threadlog.repositories import UnitOfWork
from threadlog.repositories.base import parse_object
from threadlog.runtime.transactions import TransactionRunner


def expired_thread_ids(transactions: TransactionRunner, limit: int) -> Sequence[UUID]:
    """Return ids of expired threads without a run in flight, earliest expiry first."""
    check_count(limit, "limit", least=1)
    return transactions.read(
        lambda uow: uow.app_threads.over(time_text(uow.catalogue.now()), limit)
    )


def expire_thread(transactions: TransactionRunner, thread_id: UUID) -> ExpiredThread | None:
    """Apply the strategy of an expired thread's time to live, in one transaction.

    Returns:
        None if the thread is no longer expired, has a run in flight, or is locked by another
        transaction.

    Raises:
        CheckpointCorruptionError: the stored time to live cannot be decoded.
    """

    def expire(uow: UnitOfWork) -> ExpiredThread | None:
        now = uow.catalogue.now()
        stored = uow.app_threads.claim_over(thread_id, time_text(now))
        # After taking the lock, which blocks new runs: see AppRunRepository.insert.
        if stored is None or uow.app_runs.any_in_flight(thread_id):
            return None
        table, name = AppThread.__tablename__, str(thread_id)
        ttl = parse_ttl(name, parse_object(table, name, "ttl", stored))
        if ttl.end > now:
            return None
        has_graphs = GRAPH.tables <= uow.catalogue.tables(GRAPH)
        if ttl.strategy == "delete":
            if has_graphs:
                delete_all(uow, str(thread_id))
            delete_with_runs(uow, thread_id)
        else:
            if has_graphs:
                prune_thread(uow, str(thread_id))
            renewed = {**ttl.stored, "expires_at": expires_at(now, ttl.minutes)}
            uow.app_threads.write_ttl(thread_id, renewed)
        return ExpiredThread(thread_id, ttl.strategy)

    return transactions.write(expire)


class StoredTtl(NamedTuple):
    """A thread's time to live, decoded."""

    stored: dict[str, Any]
    strategy: TtlStrategy
    minutes: float
    end: datetime


def parse_ttl(name: str, ttl: dict[str, Any]) -> StoredTtl:
    """Decode a thread's ``ttl`` strictly, because the thread is deleted for it.

    Args:
        name: the thread's id.
        ttl: the stored object.

    Raises:
        CheckpointCorruptionError: it is not valid.
    """
    try:
        strategy, minutes = ttl["strategy"], ttl["ttl_minutes"]
        check_one_of(strategy, "strategy", get_args(TtlStrategy))
        check_minutes(minutes, "ttl_minutes")
        end = datetime.fromisoformat(ttl["expires_at"])
        return StoredTtl(ttl, strategy, minutes, end.replace(tzinfo=end.tzinfo or UTC))
    except (KeyError, TypeError, ValueError) as error:
        reason = f"ttl is not valid: {error}"
        table = AppThread.__tablename__
        raise CheckpointCorruptionError(table=table, thread_id=name, reason=reason) from error
