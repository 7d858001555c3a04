"""Every error that threadlog raises on purpose; all are `ThreadlogError`.

Attributes carry what a program needs; the message says what to do next. Where another
exception caused one, it is in ``__cause__``. No error's own text holds a password or the
content of a message; a cause may quote what its library was given.
"""

from typing import Any, ClassVar


class ThreadlogError(Exception):
    """Root of all errors of threadlog."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it pass between processes, with its attributes but without its cause."""
        return restored, (type(self), self.args, vars(self))


def restored(
    kind: type[ThreadlogError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> ThreadlogError:
    """Make an error again that was pickled; its own ``__init__`` takes other arguments."""
    error = kind.__new__(kind, *args)
    vars(error).update(attributes)
    return error


# --- Set-up ------------------------------------------------------------------------


class ConfigurationError(ThreadlogError):
    """A URL or an option cannot be used as given."""


class MissingExtraError(ConfigurationError, ImportError):
    """A package that an optional feature needs is not installed."""

    def __init__(self, package: str, extra: str | None) -> None:
        """Name the missing package and the extra of threadlog that brings it, if one does."""
        line = package if extra is None else f"'threadlog[{extra}]'"
        super().__init__(f"The package {package!r} is not installed. Run: pip install {line}")
        self.package = package
        self.extra = extra


class NotOpenError(ThreadlogError):
    """A checkpointer was used outside its ``async with`` block."""


class UnsupportedServerError(ThreadlogError):
    """The server is of the wrong kind or too old."""

    def __init__(self, *, found: str, required: str) -> None:
        """Name the server that answered and the one that is needed."""
        super().__init__(f"The server is {found}; threadlog needs {required}.")
        self.found = found
        self.required = required


class CubepiSchemaError(ThreadlogError):
    """The database's schema does not fit this release."""


class CubepiSchemaUninitialized(CubepiSchemaError):  # noqa: N818 - a name of the checkpointer API
    """The tables, or the row that gives their version, are missing."""


class CubepiSchemaMismatch(CubepiSchemaError):  # noqa: N818 - a name of the checkpointer API
    """The database holds another schema version (0: tables without a version)."""

    def __init__(self, *, expected: int, actual: int, hint: str = "") -> None:
        """Name both versions and what to do about it."""
        super().__init__(
            f"The database has schema version {actual}; {expected} is needed. {hint}".rstrip()
        )
        self.expected = expected
        self.actual = actual
        self.hint = hint


class CopyEndError(ThreadlogError):
    """One of the two databases of a copy cannot be used; ``__cause__`` says why."""

    def __init__(self, *, end: str, url: str, reason: str) -> None:
        """Name the end, ``source`` or ``target``, its URL without a password, and the fault."""
        super().__init__(f"The {end}, {url}: {reason}")
        self.end = end
        self.url = url
        self.reason = reason


# --- Input -------------------------------------------------------------------------


class InvalidInputError(ThreadlogError, ValueError):
    """A value cannot be stored as given; nothing was written."""


class InvalidIdError(InvalidInputError):
    """An id of a thread, run or question cannot be a key in every supported database."""

    def __init__(self, *, name: str, reason: str) -> None:
        """Name the argument and say what is wrong with it."""
        super().__init__(f"{name} {reason}.")
        self.name = name
        self.reason = reason


class InvalidJsonError(InvalidInputError):
    """A value cannot be kept in a JSON column without changing it."""

    def __init__(self, *, path: str, reason: str) -> None:
        """Name the place in the value, such as ``extra["a"][0]``, and what is wrong there."""
        super().__init__(f"{path} {reason}.")
        self.path = path
        self.reason = reason


class InvalidMessageError(InvalidInputError):
    """A message cannot be stored; nothing of its batch was written."""

    def __init__(self, *, index: int, reason: str) -> None:
        """Give the message's position in the batch, from 0, and what is wrong with it."""
        super().__init__(f"messages[{index}] {reason}. Nothing of the batch was written.")
        self.index = index
        self.reason = reason


class ConversationError(InvalidInputError):
    """A conversation that is to be imported cannot be kept as it is."""


class TooLargeError(InvalidInputError):
    """A value does not fit into one statement to the server."""

    def __init__(self, *, what: str, size: int, limit: int) -> None:
        """Name the value, its size when sent and the most that the server takes, in bytes."""
        super().__init__(
            f"{what} needs {size:,} bytes in a statement, the server takes {limit:,}. Nothing "
            "was written. Raise the server's limit (max_allowed_packet on MySQL), or keep "
            "large content elsewhere and store a reference."
        )
        self.what = what
        self.size = size
        self.limit = limit


# --- Outcomes ----------------------------------------------------------------------


class CheckpointerError(ThreadlogError):
    """An operation did not succeed because of what the log holds."""


class CheckpointCorruptionError(CheckpointerError):
    """A stored row cannot be read back. It is never skipped."""

    def __init__(self, *, table: str, thread_id: str, seq: int | None, reason: str) -> None:
        """Name the row: its table, thread and, for a message, its seq."""
        row = f"thread {thread_id!r}" + (f", seq {seq}" if seq is not None else "")
        super().__init__(
            f"Corrupt row in {table} ({row}): {reason}. Restore that row from a backup."
        )
        self.table = table
        self.thread_id = thread_id
        self.seq = seq
        self.reason = reason


class ThreadNotFoundError(CheckpointerError):
    """There is no such thread."""

    def __init__(self, *, thread_id: str) -> None:
        """Name the thread."""
        super().__init__(f"There is no thread {thread_id!r}.")
        self.thread_id = thread_id


class ThreadAlreadyExistsError(CheckpointerError):
    """A thread, maybe a fork, was to be created under the id of one that exists."""

    def __init__(self, *, thread_id: str) -> None:
        """Name the thread."""
        super().__init__(f"Thread {thread_id!r} exists already. Give the new one another id.")
        self.thread_id = thread_id


class RunError(CheckpointerError):
    """A run is not in the state that the operation needs."""

    problem: ClassVar[str] = "is not in the right state."

    def __init__(self, *, thread_id: str, run_id: str) -> None:
        """Name the run and its thread."""
        super().__init__(f"Run {run_id!r} of thread {thread_id!r} {self.problem}")
        self.thread_id = thread_id
        self.run_id = run_id


class RunAlreadyClaimedError(RunError):
    """A run was to be claimed that somebody works on, or died working on."""

    problem = (
        "is claimed already. Use another run id; if the process that claimed it is dead, "
        "release_run() frees it."
    )


class RunIdCollisionError(RunAlreadyClaimedError):
    """A run's id is one with another's in a column that another tool made."""

    problem = (
        "cannot be told from another run's id by the column's collation. Run: threadlog check "
        "URL. It shows the statement that mends the column."
    )


class RunAlreadyExistsError(RunError):
    """A run was to be created under the id of one that exists. Nothing was written."""

    problem = "cannot be created: this or another thread has a run of that id. Use another run id."


class RunAlreadyCompletedError(RunError):
    """A run was to be claimed or added to that is completed. Nothing was written."""

    problem = "is completed already; nothing can be added to it. Use another run id."


class RunNotClaimedError(RunError):
    """A run was to be completed or released that nobody claimed."""

    problem = "is not claimed: it never was, or was released. claim_run() claims it."


class RunNotCompletedError(RunError):
    """A fork was to end at a run that is not completed."""

    problem = "is not completed. Fork after a run that is: runs() lists them."


class ThreadHasForksError(CheckpointerError):
    """A thread cannot be deleted while forks point at it."""

    def __init__(self, *, thread_id: str) -> None:
        """Name the thread."""
        super().__init__(
            f"Thread {thread_id!r} has forks. Delete them first, or pass detach_forks=True to "
            "keep them without their link to it."
        )
        self.thread_id = thread_id


# --- The database ------------------------------------------------------------------


class StorageError(ThreadlogError):
    """The database refused or failed; ``__cause__`` is what the driver raised."""

    retryable: ClassVar[bool] = False
    """Whether the whole unit of work may succeed when it is run again from its start."""

    advice: ClassVar[str] = "See the cause for what the server said."

    def __init__(self, reason: str) -> None:
        """Give the driver's own words, without statement or parameters."""
        super().__init__(f"{reason.rstrip('.')}. {self.advice}")
        self.reason = reason


class ConnectionFailedError(StorageError):
    """The server let nobody in: wrong address of the database, account or password."""

    advice = "Check what the URL names: host, database, account and privileges, or the file."


class ConnectionLostError(StorageError):
    """The server could not be reached, or went away before anything was committed."""

    retryable = True
    advice = "Nothing was committed. Check that the server runs, then run the operation again."


class StatementTimeoutError(ConnectionLostError):
    """The server did not answer a statement within the limit; the connection was ended."""

    advice = (
        "Nothing was committed. Check that the server runs and can be reached; where the "
        "statement needs that long, raise read_timeout in the URL."
    )


class PoolTimeoutError(StorageError):
    """All connections were in use for too long."""

    advice = (
        "Nothing was begun. Raise max_pool_size, or find what holds the connections: "
        "SHOW PROCESSLIST on MySQL; pool_timeout in the URL is how long is waited."
    )


class NotWritableError(StorageError):
    """The server takes no writes: it is read-only, or no primary of its group any more."""

    retryable = True
    advice = (
        "Nothing was committed. Find out why the server is read-only; where another is the "
        "primary now, name all of them in the URL."
    )


class NoPrimaryError(NotWritableError):
    """None of the hosts in the URL takes writes, as while a group elects its primary."""

    advice = (
        "Nothing was committed. Look at performance_schema.replication_group_members on each "
        "host; a group elects a primary by itself as long as most of its members run."
    )


class DeadlockError(StorageError):
    """The server rolled the transaction back so that others could go on."""

    retryable = True
    advice = "Nothing was committed. Roll back and run the whole transaction again."


class CheckpointerLockTimeoutError(StorageError):
    """Another transaction held a lock for longer than the server waits."""

    retryable = True
    advice = (
        "Nothing was committed. Roll back, find the transaction that takes so long, and run this "
        "whole one again."
    )


class ColumnTooShortError(StorageError):
    """A column is shorter than the value; nothing was cut.

    Of threadlog's own no column is: it is another tool's, or one that a host added.
    """

    advice = (
        "Widen the column: run threadlog check URL where the framework's migrations made the "
        "table, or see the type of your metadata_column()."
    )


class CommitOutcomeUnknownError(StorageError):
    """The connection was lost during COMMIT: what was written is stored wholly or not at all."""

    advice = (
        "Load the thread, or list its runs(), to see whether the last write is there before "
        "writing it again; threadlog could not find out."
    )
