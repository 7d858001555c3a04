"""Create, update, search and delete the threads of an agent server."""

from datetime import datetime
from typing import Any, Final, get_args
from uuid import UUID

from threadlog.encoding.statement_size import check_size
from threadlog.encoding.validation import check_one_of, check_uuid
from threadlog.errors import (
    CheckpointCorruptionError,
    ThreadAlreadyExistsError,
    ThreadNotFoundError,
)
from threadlog.models import AppThread
from threadlog.persistence.arguments import check_new_thread, check_search, check_thread_changes
from threadlog.persistence.types import IfExists, Search, ThreadRow, ThreadStatus, TimeToLive
from threadlog.persistence.validation import expires_at
from threadlog.repositories import UnitOfWork
from threadlog.repositories.base import parse_object
from threadlog.repositories.metadata.thread import AppThreadRow
from threadlog.runtime.transactions import TransactionRunner

# A thread that exists at the insert and not at the read was deleted in between; retried, but
# not forever.
_ATTEMPTS: Final = 10


def fetch_thread_row(transactions: TransactionRunner, thread_id: str) -> ThreadRow | None:
    """Read a thread; see `MetadataStoreProtocol.fetch_thread_row`."""
    key = check_uuid(thread_id, "thread_id")
    stored = transactions.read(lambda uow: uow.app_threads.get(key))
    return None if stored is None else _row(stored)


def create_thread(
    transactions: TransactionRunner,
    thread_id: str,
    *,
    metadata: dict[str, Any],
    config: dict[str, Any],
    ttl: TimeToLive | None,
    if_exists: IfExists,
) -> ThreadRow:
    """Create a thread; see `MetadataStoreProtocol.create_thread`."""

    def create(uow: UnitOfWork) -> ThreadRow:
        # The clock first, so that the row need not be read back.
        now = uow.catalogue.now()
        row = ThreadRow(
            thread_id=new.thread_id,
            created_at=now,
            updated_at=now,
            state_updated_at=None,
            metadata=new.metadata,
            config=new.config,
            status="idle",
            ttl=ttl_from(ttl, now),
        )
        uow.app_threads.insert(row)
        return row

    new = check_new_thread(thread_id, metadata, config, ttl, if_exists)
    check_size([new.metadata, new.config], "metadata with config", transactions.statement_limit)
    for _ in range(_ATTEMPTS):
        try:
            return transactions.write(create)
        except ThreadAlreadyExistsError:
            if if_exists == "raise":
                raise
        existing = fetch_thread_row(transactions, thread_id)
        if existing is not None:
            return existing
    raise ThreadNotFoundError(thread_id=thread_id)


def update_thread(
    transactions: TransactionRunner,
    thread_id: str,
    *,
    status_value: ThreadStatus | None = None,
    config: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    mark_state_updated: bool = False,
) -> None:
    """Replace the given values; see `MetadataStoreProtocol.update_thread`."""
    key = check_uuid(thread_id, "thread_id")
    values = check_thread_changes(status_value, config, metadata)
    check_size([metadata, config], "metadata with config", transactions.statement_limit)
    if values or mark_state_updated:
        transactions.write(
            lambda uow: uow.app_threads.update(key, values, state=mark_state_updated)
        )


def search_thread_rows(transactions: TransactionRunner, request: Search) -> list[ThreadRow]:
    """Read a page of threads; see `MetadataStoreProtocol.search_thread_rows`."""
    conditions = check_search(request)
    check_size(conditions.metadata, "metadata", transactions.statement_limit)

    def search(uow: UnitOfWork) -> list[AppThreadRow]:
        return uow.app_threads.search(**conditions._asdict())

    return [_row(stored) for stored in transactions.read(search)]


def delete_thread(transactions: TransactionRunner, thread_id: str) -> None:
    """Delete a thread and its runs; see `MetadataStoreProtocol.delete_thread`."""
    key = check_uuid(thread_id, "thread_id")
    transactions.write(lambda uow: delete_with_runs(uow, key))


def delete_with_runs(uow: UnitOfWork, thread_id: UUID) -> None:
    """Delete a thread, then its runs: the order in which `create_run` locks them."""
    uow.app_threads.delete(thread_id)
    uow.app_runs.delete_all(thread_id)


def release_busy_thread(
    transactions: TransactionRunner,
    thread_id: str,
    status_value: ThreadStatus = "error",
    *,
    mark_state_updated: bool = False,
) -> bool:
    """Set the status of a thread without runs; see `MetadataStoreProtocol.release_busy_thread`."""
    key = check_uuid(thread_id, "thread_id")
    check_one_of(status_value, "status_value", get_args(ThreadStatus))
    return transactions.write(
        lambda uow: uow.app_threads.release_busy(key, status_value, state=mark_state_updated)
    )


def ttl_from(ttl: TimeToLive | None, now: datetime) -> dict[str, Any] | None:
    """Return the value to store for a time to live that begins now."""
    if ttl is None or ttl.ttl is None:
        return None
    return {
        "strategy": ttl.strategy,
        "ttl_minutes": ttl.ttl,
        "expires_at": expires_at(now, ttl.ttl),
    }


def parse_uuid(table: str, thread_id: str, column: str, text: str) -> UUID:
    """Decode the text of a UUID column.

    Raises:
        CheckpointCorruptionError: it is not a UUID.
    """
    try:
        return UUID(text)
    except ValueError as error:
        reason = f"{column} is not a UUID"
        raise CheckpointCorruptionError(table=table, thread_id=thread_id, reason=reason) from error


def _row(stored: AppThreadRow) -> ThreadRow:
    table, name = AppThread.__tablename__, stored.thread_id
    return ThreadRow(
        thread_id=parse_uuid(table, name, "thread_id", name),
        created_at=stored.created_at,
        updated_at=stored.updated_at,
        state_updated_at=stored.state_updated_at,
        metadata=parse_object(table, name, "metadata", stored.metadata),
        config=parse_object(table, name, "config", stored.config),
        status=stored.status,
        ttl=None if stored.ttl is None else parse_object(table, name, "ttl", stored.ttl),
    )
