"""Every error that threadlog raises on purpose; all derive from `ThreadlogError`.

Attributes carry the values that a program needs. The text states what is wrong and, unless that
says it, what to do next. An exception that caused the error is its ``__cause__``. The error's own
text never contains a password or the content of a message; its cause may quote what its library
was given.
"""

from typing import Any, ClassVar, Final

# Threads in the text of an error; its attributes have all.
_SHOWN: Final = 3


class ThreadlogError(Exception):
    """Base class of all errors of threadlog."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the error with its attributes, without its cause."""
        return restored, (type(self), self.args, vars(self))


def restored(
    kind: type[ThreadlogError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> ThreadlogError:
    """Rebuild a pickled error without its ``__init__``, which takes other arguments."""
    error = kind.__new__(kind, *args)
    vars(error).update(attributes)
    return error


# --- Set-up ------------------------------------------------------------------------


class ConfigurationError(ThreadlogError):
    """A URL or an option is not valid."""


class MissingExtraError(ConfigurationError, ImportError):
    """A package that an optional feature needs is not installed."""

    def __init__(self, package: str, extra: str | None) -> None:
        """Create from the missing package and the extra of threadlog that installs it."""
        line = package if extra is None else f"'threadlog[{extra}]'"
        super().__init__(f"The package {package!r} is not installed. Run: pip install {line}")
        self.package = package
        self.extra = extra


class NotOpenError(ThreadlogError):
    """A checkpointer was used outside its ``async with`` block."""


class WrongEventLoopError(NotOpenError):
    """The call came from another event loop than the one that the checkpointer was opened in."""


class ForkedProcessError(NotOpenError):
    """The checkpointer was opened by the process that this one was forked from."""


class SessionInUseError(ThreadlogError):
    """Two calls used one session of the application at once; the second sent nothing."""

    def __init__(self) -> None:
        super().__init__(
            "Another call uses the session at this moment. This call sent nothing. Await one "
            "call before the next on the same session, or give each task a session of its own."
        )


class UnsupportedServerError(ThreadlogError):
    """The server is of the wrong kind or too old."""

    def __init__(self, *, found: str, required: str) -> None:
        super().__init__(f"The server is {found}. Use {required}.")
        self.found = found
        self.required = required


class CubepiSchemaError(ThreadlogError):
    """The database's schema does not match this release."""


class CubepiSchemaUninitialized(CubepiSchemaError):  # noqa: N818 - a name of the checkpointer API
    """The tables, or the row with their version, are missing."""


class CubepiSchemaMismatch(CubepiSchemaError):  # noqa: N818 - a name of the checkpointer API
    """The database holds another schema version (0: tables without a version)."""

    def __init__(self, *, expected: int, actual: int, hint: str = "") -> None:
        super().__init__(
            f"The database has schema version {actual}; {expected} is needed. {hint}".rstrip()
        )
        self.expected = expected
        self.actual = actual
        self.hint = hint


class CopyEndError(ThreadlogError):
    """The source or target database of a copy cannot be used; ``__cause__`` is the reason."""

    def __init__(self, *, end: str, url: str, reason: str) -> None:
        """Create from ``source`` or ``target``, its URL without a password, and the reason."""
        super().__init__(f"The {end}, {url}: {reason}")
        self.end = end
        self.url = url
        self.reason = reason


# --- Input -------------------------------------------------------------------------


class InvalidInputError(ThreadlogError, ValueError):
    """A value cannot be stored as given; nothing was written."""


class InvalidIdError(InvalidInputError):
    """The id of a thread, run or question cannot be a key in every supported database."""

    def __init__(self, *, name: str, reason: str) -> None:
        super().__init__(f"{name} {reason}.")
        self.name = name
        self.reason = reason


class InvalidJsonError(InvalidInputError):
    """A value cannot be stored in a JSON column unchanged."""

    def __init__(self, *, path: str, reason: str) -> None:
        """Create from the path in the value, such as ``extra["a"][0]``, and the reason."""
        super().__init__(f"{path} {reason}.")
        self.path = path
        self.reason = reason


class InvalidMessageError(InvalidInputError):
    """A message cannot be stored; no message of its batch was written."""

    def __init__(self, *, index: int, reason: str) -> None:
        """Create from the message's position in the batch, from 0, and the reason."""
        super().__init__(f"messages[{index}] {reason}. No message of the batch was written.")
        self.index = index
        self.reason = reason


class ConversationError(InvalidInputError):
    """A conversation cannot be imported unchanged."""


class TooLargeError(InvalidInputError):
    """A value does not fit into one statement to the server."""

    def __init__(self, *, what: str, size: int, limit: int) -> None:
        """Create from the value's name, its size and the server's limit, in bytes."""
        super().__init__(
            f"{what} needs {size:,} bytes in a statement, the server's limit is {limit:,}. Nothing "
            "was written. Raise the server's limit (max_allowed_packet on MySQL), or store "
            "large content elsewhere and a reference to it here."
        )
        self.what = what
        self.size = size
        self.limit = limit


# --- Outcomes ----------------------------------------------------------------------


class CheckpointerError(ThreadlogError):
    """An operation failed because of the data that the log contains."""


class CheckpointCorruptionError(CheckpointerError):
    """A stored row cannot be decoded. Corrupt rows are never skipped."""

    def __init__(self, *, table: str, thread_id: str, reason: str, seq: int | None = None) -> None:
        """Create from the row's table and thread, the reason and, for a message, seq."""
        row = f"thread {thread_id!r}" + (f", seq {seq}" if seq is not None else "")
        super().__init__(
            f"Corrupt row in {table} ({row}): {reason}. Restore that row from a backup."
        )
        self.table = table
        self.thread_id = thread_id
        self.seq = seq
        self.reason = reason


_TABLES: Final = {"payload": "cubepi_messages", "answer": "cubepi_hitl_answers"}


class EncryptionError(CheckpointerError):
    """An encrypted value of the log cannot be read, or a value cannot be encrypted."""

    problem: ClassVar[str] = "cannot be read."

    def __init__(
        self, *, value: str, thread_id: str, seq: int | None = None, key_id: str | None = None
    ) -> None:
        """Create an error about a value.

        Args:
            value: ``payload``, ``extra``, ``pending_request`` or ``answer``.
            thread_id: the thread.
            seq: the seq of the message.
            key_id: the id of the key, if it is known.
        """
        place = f"thread {thread_id!r}" + ("" if seq is None else f", seq {seq}")
        key = "" if key_id is None else f" (key {key_id!r})"
        # Not super(): one subclass has a second base, whose arguments are others.
        Exception.__init__(self, f"The {value} of {place}{key} {self.problem}")
        self.table = _TABLES.get(value, "cubepi_threads")
        self.value = value
        self.thread_id = thread_id
        self.seq = seq
        self.key_id = key_id
        self.reason = self.problem


class EncryptedRowError(EncryptionError):
    """A value is encrypted, and the checkpointer has no encryption."""

    problem = (
        "is encrypted. Read it in the application that has the keys, by a checkpointer with "
        "encryption=. The command line has no keys."
    )


class PlainRowError(EncryptionError):
    """A value is in plain text, and the checkpointer's encryption does not allow that."""

    problem = (
        "is in plain text. If the thread was stored before encryption was switched on, use "
        "Encryption(allow_plain=True) and reencrypt(). If not, find out who wrote it."
    )


class DecryptionError(EncryptionError):
    """A value was encrypted with another key, was changed, or was moved from another row."""

    problem = (
        "does not decrypt: it was encrypted with another key of this id, or was changed or moved. "
        "Check what key() returns for the id. If that is right, restore the row from a backup."
    )


class TruncatedRowError(EncryptionError, CheckpointCorruptionError):
    """The end of an encrypted value is missing."""

    problem = "is truncated. Restore the row from a backup."


class KeyForgottenError(EncryptionError):
    """The key of a value was forgotten: nobody can read the value any more."""

    problem = (
        "cannot be used without its key, which the application no longer has. If the key was "
        "forgotten to erase the data, delete the thread."
    )


class ThreadNotFoundError(CheckpointerError):
    """The thread does not exist."""

    def __init__(self, *, thread_id: str) -> None:
        super().__init__(f"There is no thread {thread_id!r}. Check the id and the database.")
        self.thread_id = thread_id


class ThreadAlreadyExistsError(CheckpointerError):
    """A thread or fork was to be created with the id of an existing thread."""

    def __init__(self, *, thread_id: str) -> None:
        super().__init__(f"Thread {thread_id!r} exists already. Use another id for the new thread.")
        self.thread_id = thread_id


class RunError(CheckpointerError):
    """A run is not in the state that the operation requires."""

    problem: ClassVar[str] = "is not in the right state."

    def __init__(self, *, thread_id: str, run_id: str) -> None:
        super().__init__(f"Run {run_id!r} of thread {thread_id!r} {self.problem}")
        self.thread_id = thread_id
        self.run_id = run_id


class RunAlreadyClaimedError(RunError):
    """A run to be claimed is claimed already, by a process that may be alive or dead."""

    problem = (
        "is claimed already. Use another run id; if the process that claimed the run is dead, "
        "release it with release_run()."
    )


class RunIdCollisionError(RunAlreadyClaimedError):
    """A run's id equals another run's id in a column that another tool created."""

    problem = (
        "has an id that the column's collation does not distinguish from another run's id. Run: "
        "threadlog check URL. It prints the statement that repairs the column."
    )


class RunAlreadyExistsError(RunError):
    """A run was to be created with the id of an existing run. Nothing was written."""

    problem = "cannot be created: a run of this or another thread has that id. Use another run id."


class RunAlreadyCompletedError(RunError):
    """A run to be claimed or appended to is completed. Nothing was written."""

    problem = "is completed already and accepts no more messages. Use another run id."


class RunNotClaimedError(RunError):
    """A run to be completed or released is not claimed."""

    problem = "is not claimed: it was never claimed, or was released. Claim it with claim_run()."


class LeaseLostError(RunError):
    """The lease of a claim was taken over, or ended with its run. Nothing was written."""

    problem = (
        "is no longer leased by this claim: another worker took it over, or it was released. Stop "
        "working on the run."
    )


class WriteOwnershipLostError(CheckpointerError):
    """Another saver claimed the writes of a thread's graph state, or the thread was deleted.

    Nothing was written. The attribute `is_stale_write_owner_error` is that of LangGraph's
    conformance suite.
    """

    is_stale_write_owner_error: ClassVar[bool] = True

    def __init__(self, *, thread_id: str) -> None:
        super().__init__(
            f"This saver no longer owns the writes of thread {thread_id!r}: another worker claimed "
            "them, or the thread was deleted. Stop the run; to go on, claim the writes again and "
            "run the graph from the newest checkpoint."
        )
        self.thread_id = thread_id


class RunNotCompletedError(RunError):
    """The run at which a fork was to end is not completed."""

    problem = "is not completed. Fork after a completed run; runs() lists them."


class ThreadOwnedError(CheckpointerError):
    """A thread was to be written to for an owner, and belongs to another. Nothing was written."""

    def __init__(self, *, thread_id: str) -> None:
        super().__init__(f"Thread {thread_id!r} belongs to another owner. Use another thread id.")
        self.thread_id = thread_id


class ThreadChangedError(CheckpointerError):
    """A thread does not end where the caller expected. Nothing was written."""

    def __init__(self, *, thread_id: str, expected: int, actual: int) -> None:
        super().__init__(
            f"Thread {thread_id!r} ends at seq {actual}, not at {expected}. Read the thread again, "
            "and append with its last seq."
        )
        self.thread_id = thread_id
        self.expected = expected
        self.actual = actual


class ThreadInUseError(CheckpointerError):
    """Messages were to be removed while a run is open or a question waits. Nothing was removed."""

    def __init__(self, *, thread_id: str, run_id: str | None) -> None:
        """Create from the thread, and the open run; None if a question waits for an answer."""
        found = "A question" if run_id is None else f"Run {run_id!r}"
        state = "waits for an answer. Answer it" if run_id is None else "is open. Complete it"
        super().__init__(
            f"{found} of thread {thread_id!r} {state} first, or pass ignore_open_runs=True to "
            "remove the messages all the same."
        )
        self.thread_id = thread_id
        self.run_id = run_id


class AppendKeyReusedError(CheckpointerError):
    """A key was used for an append of other messages. Nothing was written."""

    def __init__(self, *, thread_id: str, key: str) -> None:
        super().__init__(
            f"The key {key!r} was used in thread {thread_id!r} for other messages. Use a new key "
            "for each request."
        )
        self.thread_id = thread_id
        self.key = key


class ThreadHasForksError(CheckpointerError):
    """A thread cannot be deleted while it has forks."""

    def __init__(self, *, thread_id: str) -> None:
        super().__init__(
            f"Thread {thread_id!r} has forks. Delete them first, or pass detach_forks=True to "
            "keep them without their link to this thread; to erase_thread() and erase_owner() "
            "pass forks='erase' or forks='detach'."
        )
        self.thread_id = thread_id


class ThreadReferencedError(CheckpointerError):
    """A thread cannot be deleted while a row of the application refers to it."""

    def __init__(self, *, thread_id: str, table: str) -> None:
        super().__init__(
            f"A row of {table} refers to thread {thread_id!r} by a foreign key. Delete the row "
            "first, or create the key with ON DELETE CASCADE or ON DELETE SET NULL. In a session "
            "of your own, roll back."
        )
        self.thread_id = thread_id
        self.table = table


class ErasureIncompleteError(CheckpointerError):
    """Threads could not be erased; of these nothing was erased, and of the others everything."""

    def __init__(
        self, *, left: dict[str, str], owner: str | None = None, erased: Any = None
    ) -> None:
        """Create from the reason for each thread, the owner, and the counts of what was erased."""
        named = [f"thread {thread_id!r}: {reason}" for thread_id, reason in left.items()]
        shown = "; ".join(named[:_SHOWN]) + ("; …" if len(named) > _SHOWN else "")
        of = "" if owner is None else f" of owner {owner!r}"
        super().__init__(
            f"Threads{of} were not erased ({len(left):,}): {shown}. Remove the reasons, and erase "
            "again."
        )
        self.left = left
        self.owner = owner
        self.erased = erased


# --- The database ------------------------------------------------------------------


class StorageError(ThreadlogError):
    """The database refused or failed; ``__cause__`` is the driver's exception."""

    retryable: ClassVar[bool] = False
    """True if the whole unit of work may succeed when run again from its start."""

    advice: ClassVar[str] = "See the cause for the server's own message."

    def __init__(self, reason: str) -> None:
        """Create from the driver's message, without statement or parameters."""
        super().__init__(f"{reason.rstrip('.')}. {self.advice}")
        self.reason = reason


class ConnectionFailedError(StorageError):
    """The server refused the connection: wrong database, account or password."""

    advice = "Check the host, database, account and privileges in the URL, or the file."


class ConnectionLostError(StorageError):
    """The server could not be reached, or the connection was lost before the commit."""

    retryable = True
    advice = (
        "Nothing was committed. Check that the server runs, then run the operation again; in a "
        "session of your own, roll back and run the whole transaction again."
    )


class ServerUnreachableError(ConnectionLostError):
    """No server answered: the connection was refused, or the host not found or not reached."""

    advice = (
        "The server did not answer. Nothing was committed. Check that the server runs, and host "
        "and port in the URL. Of a SQL database, retry_seconds sets how long to wait for it."
    )


class TooManyConnectionsError(ConnectionLostError):
    """The server answered, and refused the connection because too many are open."""

    advice = (
        "The server has no free connection. Nothing was committed. Lower max_pool_size, or raise "
        "the limit of the server or of the account (max_connections)."
    )


class StatementTimeoutError(ConnectionLostError):
    """The server did not answer a statement within the limit; the connection was closed."""

    advice = (
        "Nothing was committed. Check that the server runs and can be reached; if the "
        "statement needs that long, raise read_timeout in the URL."
    )


class PoolTimeoutError(StorageError):
    """No connection of the pool became free within the timeout."""

    advice = (
        "No transaction was started. Raise max_pool_size, or find what holds the connections "
        "(SHOW PROCESSLIST on MySQL); pool_timeout in the URL sets the time to wait. If a session "
        "of your own is open, use bind(session)."
    )


class NotWritableError(StorageError):
    """The server accepts no writes: it is read-only, or no longer the primary of its group."""

    retryable = True
    advice = (
        "Nothing was committed. Find out why the server is read-only; if another server is the "
        "primary now, list all servers in the URL."
    )


class NoPrimaryError(NotWritableError):
    """No host in the URL accepts writes, for example while a group elects its primary."""

    advice = (
        "Nothing was committed. Check performance_schema.replication_group_members on each "
        "host; a group elects a primary by itself while most of its members run."
    )


class DeadlockError(StorageError):
    """The server rolled the transaction back to resolve a deadlock."""

    retryable = True
    advice = "Nothing was committed. Roll back and run the whole transaction again."


class TransactionFailedError(StorageError):
    """The transaction of an application's session failed before; the call sent nothing."""

    advice = (
        "An earlier call or statement in the transaction failed, and nothing of it is stored. "
        "Roll back the session, or to the savepoint if you began one, and run the whole "
        "transaction again."
    )


class CheckpointerLockTimeoutError(StorageError):
    """Another transaction held a lock for longer than the server waits."""

    retryable = True
    advice = (
        "Nothing was committed. Roll back, find the transaction that holds the lock, and run "
        "this whole transaction again."
    )


class ColumnTooShortError(StorageError):
    """A column is shorter than the value; nothing was truncated.

    threadlog's own columns are long enough: another tool or the application created this one.
    """

    advice = (
        "Widen the column: run threadlog check URL if the framework's migrations created the "
        "table, or change the type of your metadata_column()."
    )


class CommitOutcomeUnknownError(StorageError):
    """The connection was lost during COMMIT: all of the transaction is stored, or none of it."""

    advice = (
        "threadlog could not find out whether the last write is stored. Load the thread, or list "
        "its runs(), before writing it again."
    )
