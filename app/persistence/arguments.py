"""Check the arguments of a metadata store's methods, before a database is used."""

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, cast, get_args
from uuid import UUID

from threadlog.encoding.validation import check_id, check_json_object, check_one_of, check_uuid
from threadlog.persistence.types import (
    IfExists,
    MultitaskStrategy,
    Search,
    SortOrder,
    ThreadSort,
    ThreadStatus,
    TimeToLive,
    TtlStrategy,
)
from threadlog.persistence.validation import (
    check_minutes,
    check_page,
    check_run_status,
    check_seconds,
    check_uuids,
    storable_error,
)


class NewThread(NamedTuple):
    """The checked arguments of `MetadataStoreProtocol.create_thread`, as they are stored."""

    thread_id: UUID
    metadata: dict[str, Any]
    config: dict[str, Any]


def check_new_thread(
    thread_id: str,
    metadata: dict[str, Any],
    config: dict[str, Any],
    ttl: TimeToLive | None,
    if_exists: IfExists,
) -> NewThread:
    """Check a thread to be created."""
    key = check_uuid(thread_id, "thread_id")
    check_json_object(metadata, "metadata")
    check_json_object(config, "config")
    if ttl is not None:
        check_one_of(ttl.strategy, "ttl.strategy", get_args(TtlStrategy))
        if ttl.ttl is not None:
            check_minutes(ttl.ttl, "ttl.ttl")
    check_one_of(if_exists, "if_exists", get_args(IfExists))
    return NewThread(key, as_stored(metadata), as_stored(config))


def check_thread_changes(
    status_value: ThreadStatus | None,
    config: dict[str, Any] | None,
    metadata: dict[str, Any] | None,
) -> dict[str, Any]:
    """Check the values that replace those of a thread. Return the given ones."""
    if status_value is not None:
        check_one_of(status_value, "status_value", get_args(ThreadStatus))
    if config is not None:
        check_json_object(config, "config")
    if metadata is not None:
        check_json_object(metadata, "metadata")
    given = {"status": status_value, "config": config, "metadata": metadata}
    return {name: value for name, value in given.items() if value is not None}


class SearchConditions(NamedTuple):
    """The checked fields of a `Search`."""

    ids: Collection[UUID]
    status: str | None
    metadata: Mapping[str, Any]
    sort_by: str
    descending: bool
    limit: int
    offset: int


def check_search(request: Search) -> SearchConditions:
    """Check a search for threads."""
    metadata = request.metadata or {}
    check_json_object(metadata, "metadata")
    if request.status is not None:
        check_one_of(request.status, "status", get_args(ThreadStatus))
    check_page(request.limit, request.offset)
    sort_by, order = request.sort_by or "updated_at", request.sort_order or "desc"
    check_one_of(sort_by, "sort_by", get_args(ThreadSort))
    check_one_of(order, "sort_order", get_args(SortOrder))
    return SearchConditions(
        ids=check_uuids(map(str, request.ids or ()), "ids"),
        status=request.status,
        metadata=metadata,
        sort_by=sort_by,
        descending=order == "desc",
        limit=request.limit,
        offset=request.offset,
    )


class NewRun(NamedTuple):
    """The checked arguments of `MetadataStoreProtocol.create_run`, as they are stored."""

    run_id: UUID
    thread_id: UUID
    metadata: dict[str, Any]
    kwargs: dict[str, Any]


def check_new_run(
    run_id: str,
    thread_id: str,
    assistant_id: str,
    metadata: dict[str, Any],
    kwargs: dict[str, Any],
    multitask_strategy: MultitaskStrategy,
) -> NewRun:
    """Check a run to be created."""
    key, thread_key = check_uuid(run_id, "run_id"), check_uuid(thread_id, "thread_id")
    check_id(assistant_id, "assistant_id")
    check_json_object(metadata, "metadata")
    check_json_object(kwargs, "kwargs")
    check_one_of(multitask_strategy, "multitask_strategy", get_args(MultitaskStrategy))
    return NewRun(key, thread_key, as_stored(metadata), as_stored(kwargs))


def check_status_change(
    run_id: str, status_value: str, error: str | None
) -> tuple[UUID, str | None]:
    """Check a run's new status. Return its key, and the error as it is stored."""
    key = check_uuid(run_id, "run_id")
    check_run_status(status_value)
    return key, None if error is None else storable_error(error)


def check_stale(
    stale_after_seconds: float, exclude_run_ids: Collection[str], error: str
) -> tuple[list[UUID], str]:
    """Check what makes runs stale. Return the runs to exclude, and the error as it is stored."""
    check_seconds(stale_after_seconds, "stale_after_seconds")
    return check_uuids(exclude_run_ids, "exclude_run_ids"), storable_error(error)


def as_stored(value: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a JSON object as it is read back: with lists instead of tuples."""
    return cast("dict[str, Any]", json.loads(json.dumps(value)))
