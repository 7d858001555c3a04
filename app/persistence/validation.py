"""Check the arguments of metadata stores, the same for every store."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, get_args
from uuid import UUID

from threadlog.encoding.validation import (
    check_count,
    check_id,
    check_json_object,
    check_number,
    check_one_of,
    check_uuid,
    replace_unstorable,
)
from threadlog.errors import InvalidInputError
from threadlog.persistence.types import (
    IfExists,
    MultitaskStrategy,
    RunStatus,
    Search,
    SortOrder,
    ThreadSort,
    ThreadStatus,
    TimeToLive,
    TtlStrategy,
)

# 1,900 years: the end is still in the range of every database.
_MAX_MINUTES: Final = 10**9

# 317 years: the beginning is still in the range of every database.
_MAX_SECONDS: Final = 10**10


@dataclass(frozen=True, slots=True)
class CheckedSearch:
    """A search whose values are valid."""

    ids: frozenset[UUID]
    metadata: dict[str, Any]
    status: str | None
    limit: int
    offset: int
    sort_by: str
    descending: bool


def check_new_thread(
    thread_id: str, metadata: object, config: object, ttl: TimeToLive | None, if_exists: str
) -> UUID:
    """Check a thread to be created. Return its id."""
    key = check_uuid(thread_id, "thread_id")
    check_json_object(metadata, "metadata")
    check_json_object(config, "config")
    if ttl is not None:
        check_one_of(ttl.strategy, "ttl.strategy", get_args(TtlStrategy))
        if ttl.ttl is not None:
            check_minutes(ttl.ttl, "ttl.ttl")
    check_one_of(if_exists, "if_exists", get_args(IfExists))
    return key


def check_minutes(minutes: object, name: str) -> None:
    """Check a time to live."""
    check_number(minutes, name, most=_MAX_MINUTES)


def check_thread_update(thread_id: str, status: object, config: object, metadata: object) -> UUID:
    """Check the new values of a thread. Return its id."""
    key = check_uuid(thread_id, "thread_id")
    if status is not None:
        check_one_of(status, "status_value", get_args(ThreadStatus))
    if config is not None:
        check_json_object(config, "config")
    if metadata is not None:
        check_json_object(metadata, "metadata")
    return key


def check_search(request: Search) -> CheckedSearch:
    """Check a search for threads. Return it with the default values filled in."""
    metadata = request.metadata or {}
    check_json_object(metadata, "metadata")
    if request.status is not None:
        check_one_of(request.status, "status", get_args(ThreadStatus))
    check_count(request.limit, "limit", least=1)
    check_count(request.offset, "offset", least=0)
    sort_by, order = request.sort_by or "updated_at", request.sort_order or "desc"
    check_one_of(sort_by, "sort_by", get_args(ThreadSort))
    check_one_of(order, "sort_order", get_args(SortOrder))
    return CheckedSearch(
        ids=frozenset(check_uuids((str(each) for each in request.ids or ()), "ids")),
        metadata=dict(metadata),
        status=request.status,
        limit=request.limit,
        offset=request.offset,
        sort_by=sort_by,
        descending=order == "desc",
    )


def check_new_run(
    run_id: str,
    thread_id: str,
    assistant_id: str,
    metadata: object,
    kwargs: object,
    multitask_strategy: str,
) -> tuple[UUID, UUID]:
    """Check a run to be created. Return its id and its thread's."""
    keys = check_uuid(run_id, "run_id"), check_uuid(thread_id, "thread_id")
    check_id(assistant_id, "assistant_id")
    check_json_object(metadata, "metadata")
    check_json_object(kwargs, "kwargs")
    check_one_of(multitask_strategy, "multitask_strategy", get_args(MultitaskStrategy))
    return keys


def check_run_status(status: object) -> None:
    """Check the status of a run."""
    check_one_of(status, "status_value", get_args(RunStatus))


def storable_error(error: object) -> str:
    """Return the error text of a run with U+FFFD for what not every database can store.

    A failure is recorded whatever characters its text has: a run that cannot be recorded
    would stay in flight, and its thread busy.

    Raises:
        InvalidInputError: it is not a string.
    """
    if not isinstance(error, str):
        raise InvalidInputError(f"error must be a string, not {type(error).__name__}.")
    return replace_unstorable(error)


def check_page(limit: int, offset: int) -> None:
    """Check the limit and the offset of a page."""
    check_count(limit, "limit", least=1)
    check_count(offset, "offset", least=0)


def check_seconds(seconds: float, name: str) -> None:
    """Check an age or an interval."""
    check_number(seconds, name, most=_MAX_SECONDS)


def check_uuids(values: Iterable[str], name: str) -> list[UUID]:
    """Check several ids. Return each once."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InvalidInputError(f"{name} must be a list of ids, not {type(values).__name__}.")
    checked = (check_uuid(value, f"{name}[{place}]") for place, value in enumerate(values))
    return list(dict.fromkeys(checked))


def ttl_from(ttl: TimeToLive | None, now: datetime) -> dict[str, Any] | None:
    """Return the value to store for a time to live that begins now."""
    if ttl is None or ttl.ttl is None:
        return None
    return {
        "strategy": ttl.strategy,
        "ttl_minutes": ttl.ttl,
        "expires_at": expires_at(now, ttl.ttl),
    }


def expires_at(now: datetime, minutes: float) -> str:
    """Return the time in `minutes` from now, in the stored format."""
    return time_text(now + timedelta(minutes=minutes))


def time_text(time: datetime) -> str:
    """Return a time in UTC as text of fixed length, which sorts in the order of times."""
    return time.isoformat(timespec="microseconds")
