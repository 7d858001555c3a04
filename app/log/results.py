"""The results of a checkpointer's methods."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias

from threadlog.log.message_codec import MessageT

RunState: TypeAlias = Literal["open", "waiting", "completed"]


@dataclass(slots=True)
class CheckpointData(Generic[MessageT]):
    """A thread at one point in time."""

    messages: list[MessageT] = field(default_factory=list)
    """In seq order."""

    extra: dict[str, Any] = field(default_factory=dict)
    parent_thread_id: str | None = None


@dataclass(frozen=True, slots=True)
class StoredMessage(Generic[MessageT]):
    """A message with its place in the thread."""

    seq: int
    created_at: datetime
    """Time of storing, in UTC, to the second."""

    message: MessageT


@dataclass(frozen=True, slots=True)
class Claim:
    """The lease of a run, by which its worker writes."""

    thread_id: str
    run_id: str
    token: int
    """Higher than that of every earlier lease of the run."""

    expires_at: datetime
    """Time from which on another worker may take the run over: in UTC, by the database's clock."""


@dataclass(frozen=True, slots=True)
class TruncationSummary:
    """A removal of a thread's newest messages."""

    thread_id: str
    after_seq: int
    """The seq after which all messages were removed."""

    last_seq: int
    """The seq of the last removed message."""

    message_count: int
    """The number of removed messages."""

    run_id: str | None
    """The run that removed them, as the caller named it."""

    truncated_at: datetime
    """Time of the removal, in UTC, by the database's clock."""


@dataclass(frozen=True, slots=True)
class PruneSummary:
    """Counts of what was pruned, or with a dry run of what would be, and of what was left out."""

    threads: int = 0
    """Threads that were deleted, or with `keep_last` of which messages were."""

    messages: int = 0
    bytes: int = 0
    """Bytes of the messages' payloads."""

    with_forks: int = 0
    """Old threads that were left out because they have forks. A thread is in one of these
    counts, in their order."""

    with_open_runs: int = 0
    """Left out because a run is claimed and not completed."""

    with_questions: int = 0
    """Left out because a question waits for an answer."""

    referenced: int = 0
    """Left out because a foreign key of the application's leads to them; 0 in a dry run."""

    in_use: int = 0
    """Left alone because another transaction had locked, changed or deleted them."""

    referring_tables: tuple[str, ...] = ()
    """The tables with those foreign keys."""


@dataclass(frozen=True, slots=True)
class ThreadSummary:
    """A thread in a list."""

    thread_id: str
    last_seq: int
    """Seq of the newest message, 0 if there are no messages."""

    parent_thread_id: str | None
    forked_at_seq: int | None
    created_at: datetime
    updated_at: datetime
    """Time of the last write, in UTC, to the second."""

    owner: str | None = None
    """None if the thread has no owner."""

    waiting: bool = False
    """True if the thread has a pending question."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in a list."""

    thread_id: str
    run_id: str
    state: RunState
    """``open``; ``waiting``, which is open with a question to a person (a question without a
    run counts for every open run of its thread); or ``completed``.
    """

    claimed_at: datetime
    completed_at: datetime | None = None
    """Both in UTC, to the second."""

    completion_seq: int | None = None
    """The run's number among the thread's completed runs: 1, 2, 3, …"""
