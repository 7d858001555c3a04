"""What metadata stores take and give: rows of threads and runs, times to live, searches.

Rows have the keys that the skeino package 4.0.0 gives them; its own request classes are
taken wherever `TimeToLive` or `Search` is asked for.
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
    """A `ThreadStatus`, unless somebody else wrote another one."""
    ttl: dict[str, Any] | None
    """``strategy``, ``ttl_minutes`` and ``expires_at`` (ISO 8601, UTC); None: never expires."""


class RunRow(TypedDict):
    """A run; times are aware, in UTC, to the microsecond."""

    run_id: UUID
    thread_id: UUID
    assistant_id: str
    created_at: datetime
    updated_at: datetime
    status: str
    """A `RunStatus`, unless somebody else wrote another one."""
    metadata: dict[str, Any]
    kwargs: dict[str, Any]
    multitask_strategy: str
    error: str | None


class TimeToLive(Protocol):
    """What says when a thread expires: `ThreadTtl`, or skeino's ThreadTtlConfig."""

    @property
    def ttl(self) -> float | None:
        """Minutes that the thread lives, from 0 on; None: for ever."""

    @property
    def strategy(self) -> str:
        """A `TtlStrategy`."""


class Search(Protocol):
    """What threads are searched by: `ThreadSearch`, or skeino's ThreadSearchRequest."""

    @property
    def ids(self) -> Collection[UUID | str] | None:
        """Give only these threads; all where it is None or empty."""

    @property
    def metadata(self) -> Mapping[str, Any] | None:
        """Give only threads whose metadata have all these members, each wholly equal."""

    @property
    def status(self) -> str | None:
        """Give only threads of this `ThreadStatus`."""

    @property
    def limit(self) -> int:
        """The most rows to give, at least 1."""

    @property
    def offset(self) -> int:
        """How many rows of the sorted result to leave out."""

    @property
    def sort_by(self) -> str | None:
        """A `ThreadSort`; ``updated_at`` where it is None."""

    @property
    def sort_order(self) -> str | None:
        """A `SortOrder`; ``desc`` where it is None."""


@dataclass(frozen=True, slots=True)
class ThreadTtl:
    """How long a thread lives, and what becomes of it then."""

    ttl: float | None
    """Minutes, from 0 on; None: for ever."""

    strategy: TtlStrategy = "delete"
    """``delete``: the thread goes, with its runs and its graph state. ``keep_latest``: its
    graph state is pruned to the latest checkpoints, again after each further `ttl`.
    """


@dataclass(frozen=True, slots=True)
class ThreadSearch:
    """Which threads are searched, in which order, and which page of them; see `Search`."""

    ids: Collection[UUID | str] | None = None
    metadata: Mapping[str, Any] | None = None
    status: ThreadStatus | None = None
    limit: int = 10
    offset: int = 0
    sort_by: ThreadSort | None = None
    sort_order: SortOrder | None = None


@dataclass(frozen=True, slots=True)
class ExpiredThread:
    """A thread whose time was over, and what was done to it."""

    thread_id: UUID
    strategy: TtlStrategy
