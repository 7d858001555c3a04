"""Arguments and results of metadata stores: rows of threads and runs, times to live, searches.

Rows have the keys of the skeino package 4.0.0; its request classes satisfy the protocols
`TimeToLive` and `Search`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias, TypedDict
from uuid import UUID

ThreadStatus: TypeAlias = Literal["idle", "busy", "interrupted", "error"]
RunStatus: TypeAlias = Literal["pending", "running", "error", "success", "timeout", "interrupted"]
MultitaskStrategy: TypeAlias = Literal["reject", "rollback", "interrupt", "enqueue"]
IfExists: TypeAlias = Literal["raise", "do_nothing"]
TtlStrategy: TypeAlias = Literal["delete", "keep_latest"]
ThreadSort: TypeAlias = Literal[
    "thread_id", "status", "created_at", "updated_at", "state_updated_at"
]
SortOrder: TypeAlias = Literal["asc", "desc"]


class ThreadRow(TypedDict):
    """A thread; times are aware, in UTC, to the microsecond."""

    thread_id: UUID
    created_at: datetime
    updated_at: datetime
    state_updated_at: datetime | None
    metadata: dict[str, Any]
    config: dict[str, Any]
    status: str
    """A `ThreadStatus`, unless another program wrote another value."""
    ttl: dict[str, Any] | None
    """``strategy``, ``ttl_minutes`` and ``expires_at`` (ISO 8601, UTC); None for no expiry."""


class RunRow(TypedDict):
    """A run; times are aware, in UTC, to the microsecond."""

    run_id: UUID
    thread_id: UUID
    assistant_id: str
    created_at: datetime
    updated_at: datetime
    status: str
    """A `RunStatus`, unless another program wrote another value."""
    metadata: dict[str, Any]
    kwargs: dict[str, Any]
    multitask_strategy: str
    error: str | None


class TimeToLive(Protocol):
    """A thread's time to live: `ThreadTtl`, or skeino's ThreadTtlConfig."""

    @property
    def ttl(self) -> float | None:
        """Minutes until the thread expires, from 0 on; None for no expiry."""

    @property
    def strategy(self) -> str:
        """A `TtlStrategy`."""


class Search(Protocol):
    """A search for threads: `ThreadSearch`, or skeino's ThreadSearchRequest."""

    @property
    def ids(self) -> Collection[UUID | str] | None:
        """Return only these threads; None or empty for all."""

    @property
    def metadata(self) -> Mapping[str, Any] | None:
        """Return only threads whose metadata has all these members, each equal."""

    @property
    def status(self) -> str | None:
        """Return only threads with this `ThreadStatus`."""

    @property
    def limit(self) -> int:
        """The maximum number of rows, at least 1."""

    @property
    def offset(self) -> int:
        """The number of rows of the sorted result to skip."""

    @property
    def sort_by(self) -> str | None:
        """A `ThreadSort`; None for ``updated_at``."""

    @property
    def sort_order(self) -> str | None:
        """A `SortOrder`; None for ``desc``."""


@dataclass(frozen=True, slots=True)
class ThreadTtl:
    """How long a thread lives, and whether it is then deleted or pruned."""

    ttl: float | None
    """Minutes, from 0 on; None for no expiry."""

    strategy: TtlStrategy = "delete"
    """``delete``: delete the thread with its runs and its graph state. ``keep_latest``: prune its
    graph state to the latest checkpoints, again after each further `ttl`.
    """


@dataclass(frozen=True, slots=True)
class ThreadSearch:
    """The conditions, the order and the page of a search for threads; see `Search`."""

    ids: Collection[UUID | str] | None = None
    metadata: Mapping[str, Any] | None = None
    status: ThreadStatus | None = None
    limit: int = 10
    offset: int = 0
    sort_by: ThreadSort | None = None
    sort_order: SortOrder | None = None


@dataclass(frozen=True, slots=True)
class ExpiredThread:
    """An expired thread, and the strategy that was applied."""

    thread_id: UUID
    strategy: TtlStrategy
