"""The metadata store in memory."""

import copy
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, TypeVar, cast
from uuid import UUID

from threadlog.encoding.validation import check_count, check_uuid
from threadlog.errors import (
    RunAlreadyExistsError,
    ThreadAlreadyExistsError,
    ThreadNotFoundError,
)
from threadlog.persistence.threads import as_stored
from threadlog.persistence.types import (
    ExpiredThread,
    IfExists,
    MultitaskStrategy,
    RunRow,
    RunStatus,
    Search,
    ThreadRow,
    ThreadStatus,
    TimeToLive,
)
from threadlog.persistence.validation import (
    check_new_run,
    check_new_thread,
    check_page,
    check_run_status,
    check_search,
    check_seconds,
    check_thread_update,
    check_uuids,
    expires_at,
    storable_error,
    time_text,
    ttl_from,
)
from threadlog.repositories.metadata.run import IN_FLIGHT

RowT = TypeVar("RowT", ThreadRow, RunRow)

_MISSING: Final = object()


class GraphState(Protocol):
    """The graph state of threads: a checkpointer of LangGraph."""

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete a thread's checkpoints."""

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = ...) -> None:
        """Delete all but the latest checkpoints of threads."""


class InMemoryMetadataStore:
    """Stores the rows of threads and runs in the memory of this process.

    `MetadataStoreProtocol` documents the methods. Use a store in a single event loop: a method
    is atomic because it does not wait.
    """

    def __init__(self, checkpointer: GraphState | None = None) -> None:
        """Create an empty store.

        Args:
            checkpointer: the graph state of threads that expire: ``delete`` calls its
                ``adelete_thread``, ``keep_latest`` its ``aprune`` if it has one.
        """
        self._checkpointer = checkpointer
        self._threads: dict[UUID, ThreadRow] = {}
        self._runs: dict[UUID, RunRow] = {}

    async def setup(self) -> None:
        """Do nothing: the store needs no tables."""

    async def aclose(self) -> None:
        """Do nothing: the rows are freed with the store."""

    async def fetch_thread_row(self, thread_id: str) -> ThreadRow | None:
        """See `MetadataStoreProtocol.fetch_thread_row`."""
        return copy.deepcopy(self._threads.get(check_uuid(thread_id, "thread_id")))

    async def create_thread(
        self,
        thread_id: str,
        *,
        metadata: dict[str, Any],
        config: dict[str, Any],
        ttl: TimeToLive | None,
        if_exists: IfExists,
    ) -> ThreadRow:
        """See `MetadataStoreProtocol.create_thread`."""
        key = check_new_thread(thread_id, metadata, config, ttl, if_exists)
        if key in self._threads and if_exists == "raise":
            raise ThreadAlreadyExistsError(thread_id=thread_id)
        if key not in self._threads:
            now = _now()
            self._threads[key] = ThreadRow(
                thread_id=key,
                created_at=now,
                updated_at=now,
                state_updated_at=None,
                metadata=as_stored(metadata),
                config=as_stored(config),
                status="idle",
                ttl=ttl_from(ttl, now),
            )
        return copy.deepcopy(self._threads[key])

    async def update_thread(
        self,
        thread_id: str,
        *,
        status_value: ThreadStatus | None = None,
        config: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        mark_state_updated: bool = False,
    ) -> None:
        """See `MetadataStoreProtocol.update_thread`."""
        key = check_thread_update(thread_id, status_value, config, metadata)
        changed: dict[str, Any] = {}
        if status_value is not None:
            changed["status"] = status_value
        if config is not None:
            changed["config"] = as_stored(config)
        if metadata is not None:
            changed["metadata"] = as_stored(metadata)
        if mark_state_updated:
            changed["state_updated_at"] = _now()
        if changed and key in self._threads:
            times = {"updated_at": changed.get("state_updated_at", _now())}
            self._threads[key] = _with(self._threads[key], {**changed, **times})

    async def search_thread_rows(self, request: Search) -> list[ThreadRow]:
        """See `MetadataStoreProtocol.search_thread_rows`."""
        wanted = check_search(request)
        found = [
            row
            for row in self._threads.values()
            if (not wanted.ids or row["thread_id"] in wanted.ids)
            and (wanted.status is None or row["status"] == wanted.status)
            and all(_matches(row["metadata"], *member) for member in wanted.metadata.items())
        ]
        found.sort(key=_sorted_by(wanted.sort_by), reverse=wanted.descending)
        return copy.deepcopy(found[wanted.offset : wanted.offset + wanted.limit])

    async def delete_thread(self, thread_id: str) -> None:
        """See `MetadataStoreProtocol.delete_thread`."""
        self._pop(check_uuid(thread_id, "thread_id"))

    async def create_run(
        self,
        run_id: str,
        thread_id: str,
        assistant_id: str,
        metadata: dict[str, Any],
        kwargs: dict[str, Any],
        multitask_strategy: MultitaskStrategy,
    ) -> RunRow:
        """See `MetadataStoreProtocol.create_run`."""
        key, thread_key = check_new_run(
            run_id, thread_id, assistant_id, metadata, kwargs, multitask_strategy
        )
        if thread_key not in self._threads:
            raise ThreadNotFoundError(thread_id=thread_id)
        if key in self._runs:
            raise RunAlreadyExistsError(thread_id=thread_id, run_id=run_id)
        now = _now()
        self._runs[key] = RunRow(
            run_id=key,
            thread_id=thread_key,
            assistant_id=assistant_id,
            created_at=now,
            updated_at=now,
            status="pending",
            metadata=as_stored(metadata),
            kwargs=as_stored(kwargs),
            multitask_strategy=multitask_strategy,
            error=None,
        )
        return copy.deepcopy(self._runs[key])

    async def update_run_status(
        self, run_id: str, status_value: RunStatus, *, error: str | None = None
    ) -> bool:
        """See `MetadataStoreProtocol.update_run_status`."""
        key = check_uuid(run_id, "run_id")
        check_run_status(status_value)
        if error is not None:
            error = storable_error(error)
        row = self._runs.get(key)
        if row is None or row["status"] not in IN_FLIGHT:
            return False
        changed = {"status": status_value, "error": error, "updated_at": _now()}
        self._runs[key] = _with(row, changed)
        return True

    async def fetch_run_row(self, thread_id: str, run_id: str) -> RunRow | None:
        """See `MetadataStoreProtocol.fetch_run_row`."""
        return copy.deepcopy(self._run(thread_id, run_id))

    async def list_run_rows(
        self, thread_id: str, *, limit: int, offset: int, status_value: RunStatus | None
    ) -> list[RunRow]:
        """See `MetadataStoreProtocol.list_run_rows`."""
        key = check_uuid(thread_id, "thread_id")
        check_page(limit, offset)
        if status_value is not None:
            check_run_status(status_value)
        found = [row for row in self._runs_of(key) if status_value in (None, row["status"])]
        found.sort(key=lambda row: (row["created_at"], row["run_id"]), reverse=True)
        return copy.deepcopy(found[offset : offset + limit])

    async def delete_run(self, thread_id: str, run_id: str) -> None:
        """See `MetadataStoreProtocol.delete_run`."""
        row = self._run(thread_id, run_id)
        if row is not None:
            del self._runs[row["run_id"]]

    async def touch_runs(self, run_ids: Sequence[str]) -> None:
        """See `MetadataStoreProtocol.touch_runs`."""
        for key in check_uuids(run_ids, "run_ids"):
            row = self._runs.get(key)
            if row is not None and row["status"] in IN_FLIGHT:
                self._runs[key] = _with(row, {"updated_at": _now()})

    async def fail_stale_runs(
        self, *, stale_after_seconds: float, exclude_run_ids: Collection[str], error: str
    ) -> list[RunRow]:
        """See `MetadataStoreProtocol.fail_stale_runs`."""
        check_seconds(stale_after_seconds, "stale_after_seconds")
        excluded = set(check_uuids(exclude_run_ids, "exclude_run_ids"))
        error = storable_error(error)
        now = _now()
        cutoff = now - timedelta(seconds=stale_after_seconds)
        failed = [
            _with(row, {"status": "error", "error": error, "updated_at": now})
            for row in self._runs.values()
            if row["status"] in IN_FLIGHT
            and row["updated_at"] < cutoff
            and row["run_id"] not in excluded
        ]
        self._runs.update((row["run_id"], row) for row in failed)
        return copy.deepcopy(failed)

    async def release_busy_thread(
        self,
        thread_id: str,
        status_value: ThreadStatus = "error",
        *,
        mark_state_updated: bool = False,
    ) -> bool:
        """See `MetadataStoreProtocol.release_busy_thread`."""
        key = check_thread_update(thread_id, status_value, None, None)
        row = self._threads.get(key)
        if row is None or row["status"] != "busy" or self._has_run_in_flight(key):
            return False
        now = _now()
        changed: dict[str, Any] = {"status": status_value, "updated_at": now}
        if mark_state_updated:
            changed["state_updated_at"] = now
        self._threads[key] = _with(row, changed)
        return True

    async def expire_threads(self, *, limit: int = 100) -> list[ExpiredThread]:
        """See `MetadataStoreProtocol.expire_threads`.

        Raises:
            Exception: the checkpointer's error; that thread is left unchanged.
        """
        check_count(limit, "limit", least=1)
        now = time_text(_now())
        times = ((key, row["ttl"]) for key, row in self._threads.items())
        due = sorted((ttl["expires_at"], key) for key, ttl in times if ttl is not None)
        keys = [key for end, key in due if end <= now and not self._has_run_in_flight(key)]
        handled = [await self._expire(key, now) for key in keys[:limit]]
        return [expired for expired in handled if expired is not None]

    async def _expire(self, key: UUID, now: str) -> ExpiredThread | None:
        """Expire one thread, unless another task changed it while this one waited."""
        row = self._threads.get(key)
        ttl = row["ttl"] if row is not None else None
        if row is None or ttl is None or ttl["expires_at"] > now or self._has_run_in_flight(key):
            return None
        if ttl["strategy"] == "delete":
            await self._delete_expired(key)
        else:
            renewed = {**ttl, "expires_at": expires_at(_now(), ttl["ttl_minutes"])}
            self._threads[key] = _with(row, {"ttl": renewed})
            await self._prune(key)
        return ExpiredThread(key, ttl["strategy"])

    async def _delete_expired(self, key: UUID) -> None:
        # Removed before waiting: no run can start, and no other task expires the thread.
        row, runs = self._pop(key)
        try:
            if self._checkpointer is not None:
                await self._checkpointer.adelete_thread(str(key))
        except BaseException:
            self._threads.setdefault(key, cast("ThreadRow", row))
            self._runs.update((run["run_id"], run) for run in runs)
            raise

    async def _prune(self, key: UUID) -> None:
        if self._checkpointer is not None:
            with suppress(NotImplementedError):  # LangGraph's InMemorySaver cannot
                await self._checkpointer.aprune([str(key)], strategy="keep_latest")

    def _pop(self, key: UUID) -> tuple[ThreadRow | None, list[RunRow]]:
        runs = list(self._runs_of(key))
        for run in runs:
            del self._runs[run["run_id"]]
        return self._threads.pop(key, None), runs

    def _runs_of(self, key: UUID) -> Iterable[RunRow]:
        return (row for row in self._runs.values() if row["thread_id"] == key)

    def _run(self, thread_id: str, run_id: str) -> RunRow | None:
        thread_key, key = check_uuid(thread_id, "thread_id"), check_uuid(run_id, "run_id")
        row = self._runs.get(key)
        return row if row is not None and row["thread_id"] == thread_key else None

    def _has_run_in_flight(self, key: UUID) -> bool:
        return any(row["status"] in IN_FLIGHT for row in self._runs_of(key))


def _now() -> datetime:
    return datetime.now(UTC)


def _with(row: RowT, changed: dict[str, Any]) -> RowT:
    return cast("RowT", {**row, **changed})


def _sorted_by(column: str) -> Callable[[ThreadRow], tuple[Any, ...]]:
    """Return the key to sort by a column, then by thread_id; None sorts before every time."""

    def key(row: ThreadRow) -> tuple[Any, ...]:
        value = cast("dict[str, Any]", row)[column]
        return (value is not None, value, row["thread_id"])

    return key


def _matches(metadata: dict[str, Any], key: str, value: Any) -> bool:
    found = metadata.get(key, _MISSING)
    return value is None if found is _MISSING else _equal(found, value)


def _equal(one: Any, other: Any) -> bool:
    """Return True if two JSON values are equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
