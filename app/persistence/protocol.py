"""The interface of metadata stores."""

from collections.abc import Collection, Sequence
from typing import Any, Protocol, runtime_checkable

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


@runtime_checkable
class MetadataStoreProtocol(Protocol):
    """Stores the rows of threads and runs of an agent server.

    Ids are UUIDs as text in lower case; JSON values are objects. A value that cannot be stored
    raises `InvalidInputError` before anything is written. Each method is one transaction: when
    it returns, its writes are durable, if the store is; when it raises, nothing was written.
    All times are from one clock, the database's if there is a database. Returned rows are
    copies: changing a row does not change the store.

    A store with these methods works with skeino 4.0.0, which calls all but the last three.
    """

    async def setup(self) -> None:
        """Create the tables or upgrade them."""

    async def fetch_thread_row(self, thread_id: str) -> ThreadRow | None:
        """Return a thread's row. Return None if not found."""

    async def create_thread(
        self,
        thread_id: str,
        *,
        metadata: dict[str, Any],
        config: dict[str, Any],
        ttl: TimeToLive | None,
        if_exists: IfExists,
    ) -> ThreadRow:
        """Create an idle thread and return its row.

        Args:
            thread_id: the thread's id.
            metadata: values for searches.
            config: the configuration of the thread's runs.
            ttl: the time to live; None, or one without minutes, for no expiry.
            if_exists: ``do_nothing`` returns the row of an existing thread unchanged.

        Raises:
            ThreadAlreadyExistsError: the thread exists, and `if_exists` is ``raise``.
        """

    async def update_thread(
        self,
        thread_id: str,
        *,
        status_value: ThreadStatus | None = None,
        config: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        mark_state_updated: bool = False,
    ) -> None:
        """Replace the given values and set ``updated_at``, if the thread exists.

        `config` and `metadata` replace the stored values and are not merged: ``{}`` empties
        them. An update without values changes nothing, not even ``updated_at``.
        """

    async def search_thread_rows(self, request: Search) -> list[ThreadRow]:
        """Return a page of the matching threads, sorted.

        All conditions apply before paging. A member of `request.metadata` matches an equal
        member of the thread's: ``1`` equals ``1.0``, but not ``true``; None also matches a
        missing member. Threads with an equal sort value are sorted by thread_id, in the same
        direction. A ``state_updated_at`` of None sorts before every time.
        """

    async def delete_thread(self, thread_id: str) -> None:
        """Delete a thread and its runs, if it exists; the checkpointer deletes graph state."""

    async def create_run(
        self,
        run_id: str,
        thread_id: str,
        assistant_id: str,
        metadata: dict[str, Any],
        kwargs: dict[str, Any],
        multitask_strategy: MultitaskStrategy,
    ) -> RunRow:
        """Create a pending run of a thread and return its row.

        Raises:
            ThreadNotFoundError: the thread does not exist.
            RunAlreadyExistsError: a run of this or another thread has this id.
        """

    async def update_run_status(
        self, run_id: str, status_value: RunStatus, *, error: str | None = None
    ) -> bool:
        """Set the status and the error of a pending or running run.

        Every other status is final. NUL and half a surrogate pair in `error` are stored as
        U+FFFD, so that every failure can be recorded.

        Returns:
            True if the run exists and was pending or running.
        """

    async def fetch_run_row(self, thread_id: str, run_id: str) -> RunRow | None:
        """Return the row of a thread's run. Return None if not found."""

    async def list_run_rows(
        self, thread_id: str, *, limit: int, offset: int, status_value: RunStatus | None
    ) -> list[RunRow]:
        """Return a page of a thread's runs, newest first; equal times sorted by run_id."""

    async def delete_run(self, thread_id: str, run_id: str) -> None:
        """Delete a run of a thread, if that thread has it."""

    async def touch_runs(self, run_ids: Sequence[str]) -> None:
        """Set ``updated_at`` of those runs that are in flight, to mark them as alive."""

    async def fail_stale_runs(
        self, *, stale_after_seconds: float, exclude_run_ids: Collection[str], error: str
    ) -> list[RunRow]:
        """Set the status ``error`` of runs in flight whose ``updated_at`` is too old.

        Any number of processes may call this at once: each run is failed and returned by one
        of them. A run that another transaction has locked is alive and is skipped.

        Args:
            stale_after_seconds: the age, by the clock that wrote ``updated_at``.
            exclude_run_ids: runs that are never failed, such as the caller's own.
            error: the error text of the failed runs; see `update_run_status`.

        Returns:
            The failed runs' new rows.
        """

    async def release_busy_thread(
        self,
        thread_id: str,
        status_value: ThreadStatus = "error",
        *,
        mark_state_updated: bool = False,
    ) -> bool:
        """Set the status of a busy thread without a run in flight, in one statement.

        Args:
            thread_id: the thread.
            status_value: its new status.
            mark_state_updated: set ``state_updated_at`` too.

        Returns:
            True if the thread was busy and had no run in flight.
        """

    async def expire_threads(self, *, limit: int = 100) -> list[ExpiredThread]:
        """Apply the `ThreadTtl` strategy of expired threads, earliest expiry first.

        Each thread is its own transaction, and is expired by exactly one of any number of
        callers, never while it has a run in flight. ``updated_at`` is not changed.

        Args:
            limit: the maximum number of threads to read.

        Returns:
            The threads that this call expired.
        """

    async def aclose(self) -> None:
        """Close the connections that `setup` opened, if any."""
