"""What every metadata store promises."""

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
    """Keeps the rows of threads and runs for a server of agents.

    Ids are UUIDs in their text form, in lower case; JSON values are objects. What cannot be
    stored is refused with an `InvalidInputError` before anything is written. Each method is
    one transaction: when it returns what it wrote is durable, as far as the store is; when
    it raises nothing was written. Times are of one clock, the database's where there is one.
    Rows that are given back are the caller's: changing them changes nothing that is stored.

    A store with these methods fits skeino 4.0.0, which calls all but the last three.
    """

    async def setup(self) -> None:
        """Get ready for use: create the tables, or bring them up to date."""

    async def fetch_thread_row(self, thread_id: str) -> ThreadRow | None:
        """Give a thread's row; None where there is none."""

    async def create_thread(
        self,
        thread_id: str,
        *,
        metadata: dict[str, Any],
        config: dict[str, Any],
        ttl: TimeToLive | None,
        if_exists: IfExists,
    ) -> ThreadRow:
        """Create an idle thread and give its row.

        Args:
            thread_id: the thread.
            metadata: what to search it by.
            config: the configuration of its runs.
            ttl: when it expires; None, or one without minutes: never.
            if_exists: ``do_nothing`` gives the row of a thread that exists, as it is.

        Raises:
            ThreadAlreadyExistsError: there is such a thread, and `if_exists` is ``raise``.
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
        """Replace what is given and set ``updated_at``; a thread that does not exist stays so.

        `config` and `metadata` replace the stored ones, they are not merged: ``{}`` empties
        them. An update with nothing in it changes nothing, ``updated_at`` included.
        """

    async def search_thread_rows(self, request: Search) -> list[ThreadRow]:
        """Give a page of the threads that fit, sorted.

        All conditions are looked at before the page is cut. A member of `request.metadata`
        fits if the thread's is wholly equal: ``1`` and ``1.0`` are, ``1`` and ``true`` are
        not; None fits a member that is missing too. Threads that are equal in what is sorted
        by are sorted by thread_id, in the same order. A ``state_updated_at`` of None counts
        as earlier than every time.
        """

    async def delete_thread(self, thread_id: str) -> None:
        """Delete a thread and its runs, if there is one; graph state is the checkpointer's."""

    async def create_run(
        self,
        run_id: str,
        thread_id: str,
        assistant_id: str,
        metadata: dict[str, Any],
        kwargs: dict[str, Any],
        multitask_strategy: MultitaskStrategy,
    ) -> RunRow:
        """Create a pending run of a thread and give its row.

        Raises:
            ThreadNotFoundError: there is no such thread.
            RunAlreadyExistsError: there is a run of this id, of this thread or another.
        """

    async def update_run_status(
        self, run_id: str, status_value: RunStatus, *, error: str | None = None
    ) -> bool:
        """Set the status, and the error, of a run that is pending or running.

        Any other status is final: whoever comes late cannot change it.

        Returns:
            Whether there was such a run, still in flight.
        """

    async def fetch_run_row(self, thread_id: str, run_id: str) -> RunRow | None:
        """Give the row of a run of a thread; None where that thread has no such run."""

    async def list_run_rows(
        self, thread_id: str, *, limit: int, offset: int, status_value: RunStatus | None
    ) -> list[RunRow]:
        """Give a page of a thread's runs, newest first; those of one instant by run_id."""

    async def delete_run(self, thread_id: str, run_id: str) -> None:
        """Delete a run of a thread, if that thread has it."""

    async def touch_runs(self, run_ids: Sequence[str]) -> None:
        """Say that these runs are alive: set ``updated_at`` of those that are in flight."""

    async def fail_stale_runs(
        self, *, stale_after_seconds: float, exclude_run_ids: Collection[str], error: str
    ) -> list[RunRow]:
        """Give runs in flight whose ``updated_at`` is too long ago the status ``error``.

        Any number of processes may call it at once: each run is given to one of them. A run
        that another transaction is working on at the moment is alive, and left alone.

        Args:
            stale_after_seconds: how long ago, by the clock that wrote ``updated_at``.
            exclude_run_ids: runs that are never taken, such as the caller's own.
            error: what to say of them.

        Returns:
            The runs as they are now.
        """

    async def release_busy_thread(
        self, thread_id: str, status_value: ThreadStatus = "error"
    ) -> bool:
        """Give a busy thread without a run in flight another status, in one statement.

        Returns:
            Whether it was busy and had none.
        """

    async def expire_threads(self, *, limit: int = 100) -> list[ExpiredThread]:
        """Do to threads whose time is over what their `ThreadTtl` says, longest over first.

        Each is a transaction of its own, and is handled by exactly one of any number of
        callers; none while it has a run in flight. ``updated_at`` is left as it is.

        Args:
            limit: the most threads to look at.

        Returns:
            Those that this call handled.
        """

    async def aclose(self) -> None:
        """Give up what `setup` opened; nothing where nothing is open."""
