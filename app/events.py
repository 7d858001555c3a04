"""Events that a checkpointer, a saver or a store reports to `threadlog.observe`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A public method returned or raised."""

    method: str
    """The name of the method."""

    thread_id: str | None
    """The thread that the call was about; None if it was about none, or several."""

    seconds: float
    """How long it took, with waiting and retries."""

    error: BaseException | None
    """The error that it raised, or the cancellation; None if it returned."""


@dataclass(frozen=True, slots=True)
class TransactionRetried:
    """A transaction failed and runs again."""

    error: Exception
    """The error of the attempt: a `threadlog.errors.StorageError`."""


@dataclass(frozen=True, slots=True)
class CommitLost:
    """The connection was lost during COMMIT; the outcome is looked up."""

    reason: str
    """The driver's text."""


@dataclass(frozen=True, slots=True)
class BatchSent:
    """A transaction of appends begins."""

    appends: int
    """How many calls share it."""


@dataclass(frozen=True, slots=True)
class ConnectionAwaited:
    """A call waited for a connection because all of threadlog's pool were in use."""

    seconds: float
    """How long it waited."""


Event: TypeAlias = CallEnded | TransactionRetried | CommitLost | BatchSent | ConnectionAwaited
"""One of the events."""

OnEvent: TypeAlias = Callable[[Event], None]
"""A function that gets events, in the thread or event loop in which they happen."""
