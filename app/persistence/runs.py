"""Create, update, list and fail the runs of an agent server."""

import logging
from collections.abc import Collection, Sequence
from typing import Any, Final

from threadlog.encoding.statement_size import check_size
from threadlog.encoding.validation import check_uuid
from threadlog.errors import ThreadNotFoundError
from threadlog.models import AppRun
from threadlog.persistence.arguments import check_new_run, check_stale, check_status_change
from threadlog.persistence.threads import parse_uuid
from threadlog.persistence.types import MultitaskStrategy, RunRow, RunStatus
from threadlog.persistence.validation import check_page, check_run_status, check_uuids
from threadlog.repositories import UnitOfWork
from threadlog.repositories.base import parse_object
from threadlog.repositories.metadata.run import AppRunRow
from threadlog.runtime.transactions import TransactionRunner

_LOG: Final = logging.getLogger(__name__)


def create_run(
    transactions: TransactionRunner,
    run_id: str,
    thread_id: str,
    assistant_id: str,
    metadata: dict[str, Any],
    kwargs: dict[str, Any],
    multitask_strategy: MultitaskStrategy,
) -> RunRow:
    """Create a run; see `MetadataStoreProtocol.create_run`."""

    def create(uow: UnitOfWork) -> RunRow:
        # The clock first, so that the row need not be read back.
        now = uow.catalogue.now()
        row = RunRow(
            run_id=new.run_id,
            thread_id=new.thread_id,
            assistant_id=assistant_id,
            created_at=now,
            updated_at=now,
            status="pending",
            metadata=new.metadata,
            kwargs=new.kwargs,
            multitask_strategy=multitask_strategy,
            error=None,
        )
        if not uow.app_runs.insert(row):
            raise ThreadNotFoundError(thread_id=thread_id)
        return row

    new = check_new_run(run_id, thread_id, assistant_id, metadata, kwargs, multitask_strategy)
    check_size([new.metadata, new.kwargs], "metadata with kwargs", transactions.statement_limit)
    return transactions.write(create)


def update_run_status(
    transactions: TransactionRunner,
    run_id: str,
    status_value: RunStatus,
    *,
    error: str | None = None,
) -> bool:
    """Set a run's status; see `MetadataStoreProtocol.update_run_status`."""
    key, error = check_status_change(run_id, status_value, error)
    if error is not None:
        check_size(error, "error", transactions.statement_limit)
    return transactions.write(lambda uow: uow.app_runs.set_status(key, status_value, error))


def fetch_run_row(transactions: TransactionRunner, thread_id: str, run_id: str) -> RunRow | None:
    """Read a run; see `MetadataStoreProtocol.fetch_run_row`."""
    thread_key, key = check_uuid(thread_id, "thread_id"), check_uuid(run_id, "run_id")
    stored = transactions.read(lambda uow: uow.app_runs.get(thread_key, key))
    return None if stored is None else _row(stored)


def list_run_rows(
    transactions: TransactionRunner,
    thread_id: str,
    *,
    limit: int,
    offset: int,
    status_value: RunStatus | None,
) -> list[RunRow]:
    """Read a page of runs; see `MetadataStoreProtocol.list_run_rows`."""
    key = check_uuid(thread_id, "thread_id")
    check_page(limit, offset)
    if status_value is not None:
        check_run_status(status_value)

    def page(uow: UnitOfWork) -> list[AppRunRow]:
        return uow.app_runs.page(key, status=status_value, limit=limit, offset=offset)

    return [_row(stored) for stored in transactions.read(page)]


def delete_run(transactions: TransactionRunner, thread_id: str, run_id: str) -> None:
    """Delete a run; see `MetadataStoreProtocol.delete_run`."""
    thread_key, key = check_uuid(thread_id, "thread_id"), check_uuid(run_id, "run_id")
    transactions.write(lambda uow: uow.app_runs.delete(thread_key, key))


def touch_runs(transactions: TransactionRunner, run_ids: Sequence[str]) -> None:
    """Mark runs as alive; see `MetadataStoreProtocol.touch_runs`."""
    keys = check_uuids(run_ids, "run_ids")
    if keys:
        transactions.write(lambda uow: uow.app_runs.touch(keys))


def fail_stale_runs(
    transactions: TransactionRunner,
    *,
    stale_after_seconds: float,
    exclude_run_ids: Collection[str],
    error: str,
) -> list[RunRow]:
    """Fail runs whose process is dead; see `MetadataStoreProtocol.fail_stale_runs`."""
    exclude, error = check_stale(stale_after_seconds, exclude_run_ids, error)
    check_size(error, "error", transactions.statement_limit)

    def fail(uow: UnitOfWork) -> list[RunRow]:
        stale = uow.app_runs.lock_stale(stale_after_seconds, exclude, error)
        # Decoded before the update: a run that cannot be returned is not failed.
        rows = [_row(stored) for stored in stale]
        if rows:
            uow.app_runs.fail([row["run_id"] for row in rows], error, rows[0]["updated_at"])
        return rows

    failed = transactions.write(fail)
    for row in failed:
        _LOG.warning("Failed run %s of thread %s, which was stale", row["run_id"], row["thread_id"])
    return failed


def _row(stored: AppRunRow) -> RunRow:
    table, thread_id = AppRun.__tablename__, stored.thread_id
    return RunRow(
        run_id=parse_uuid(table, thread_id, "run_id", stored.run_id),
        thread_id=parse_uuid(table, thread_id, "thread_id", thread_id),
        assistant_id=stored.assistant_id,
        created_at=stored.created_at,
        updated_at=stored.updated_at,
        status=stored.status,
        metadata=parse_object(table, thread_id, "metadata", stored.metadata),
        kwargs=parse_object(table, thread_id, "kwargs", stored.kwargs),
        multitask_strategy=stored.multitask_strategy,
        error=stored.error,
    )
