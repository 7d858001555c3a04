"""Run units of work in transactions: attempt, translate the error, retry or raise."""

import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Concatenate, Final, ParamSpec, TypeAlias, TypeVar, cast

from sqlalchemy import Connection, Engine, QueuePool
from sqlalchemy.exc import DBAPIError, PendingRollbackError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolLimitError
from sqlalchemy.orm import Session

from threadlog.databases.base import Backend, DatabaseFacts
from threadlog.errors import (
    CheckpointerLockTimeoutError,
    CommitOutcomeUnknownError,
    ConnectionLostError,
    NoPrimaryError,
    PoolTimeoutError,
    StorageError,
    ThreadlogError,
    TransactionFailedError,
)
from threadlog.events import CommitLost, ConnectionAwaited, Event, OnEvent, TransactionRetried
from threadlog.models import SchemaPart
from threadlog.repositories import JoinedUnitOfWork, OwnedUnitOfWork, UnitOfWork
from threadlog.repositories.unit_of_work import (
    WRITES_OPTION,
    CommitLostError,
    EngineUnitOfWork,
    bind_arguments,
    compiled_statements,
)

_LOG: Final = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# Attempts are not counted, as a server that is away refuses many in a second. Several writers of
# one thread on three members of a group fail in two of three attempts.
_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 1.0

# A group notices after five seconds that its primary is gone, expels it after five more and
# elects another; a machine that has much to catch up with takes longer.
_ELECTION_FACTOR: Final = 2
_BETWEEN_LOOKS: Final = (0.1, 0.5)


# A ping may find connections that the server has closed since, and a new one is opened then.
_PING_SECONDS: Final = 2.0

_UNKNOWN: Final = DatabaseFacts()

_READ_COMMITTED: Final = {"isolation_level": "READ COMMITTED"}


class TransactionRunner(ABC):
    """Runs units of work for one operation; the operations are functions that take one."""

    on_event: OnEvent | None = None
    """Gets the events of `threadlog.observe`; None if nobody observes."""

    def __init__(self, backend: Backend, part: SchemaPart, facts: DatabaseFacts) -> None:
        """Create a runner.

        Args:
            backend: the kind of database.
            part: the part of the schema that the operations work on.
            facts: facts about the database.
        """
        self.backend = backend
        self.part = part
        self.facts = facts

    @property
    def statement_limit(self) -> int:
        """The most bytes that one statement may have."""
        return self.facts.statement_limit

    @abstractmethod
    def read(self, work: Callable[[UnitOfWork], T], *, snapshot: bool = False) -> T:
        """Run a block that only reads, in one transaction.

        Args:
            work: the block.
            snapshot: whether all statements read the same point in time, unless the transaction
                is the application's.

        Raises:
            StorageError: the database refused or failed.
        """

    @abstractmethod
    def write(
        self, work: Callable[[UnitOfWork], T], *, idempotent: bool = False, single: bool = False
    ) -> T:
        """Run a block that writes, in one transaction.

        Args:
            work: the block.
            idempotent: whether running the block again stores no more than running it once.
                It is then run again after a COMMIT whose outcome is unknown; the block finds
                such earlier runs in `UnitOfWork.lost_commits`.
            single: whether the block is idempotent and runs one `Statement` only, which needs
                no BEGIN and no COMMIT on a connection in autocommit mode.

        Raises:
            StorageError: the database refused or failed.
        """


Operation: TypeAlias = Callable[Concatenate[TransactionRunner, P], T]
"""A function that a client runs; it runs units of work with the runner that it gets."""


class OwnedRunner(TransactionRunner):
    """Runs each unit of work in a transaction of its own.

    A unit is run again from its start after a deadlock, a lock timeout or a lost connection,
    as long as nothing was committed; it must have no other effect than on the database.
    """

    def __init__(
        self,
        source: Engine | Session,
        backend: Backend,
        part: SchemaPart,
        facts: DatabaseFacts = _UNKNOWN,
        *,
        sleep: Callable[[float], bool | None],
        retry_seconds: float,
        autocommit: bool = False,
    ) -> None:
        """Create a runner.

        Args:
            source: an engine that threadlog owns, or a session that threadlog may end.
            backend: the kind of database.
            part: the part of the schema that the operations work on.
            facts: facts about the database.
            sleep: waits so many seconds between two attempts; returns True to end the attempts.
            retry_seconds: how long a unit that failed is run again; 0 for one attempt.
            autocommit: whether the engine's connections are in autocommit mode.
        """
        super().__init__(backend, part, facts)
        self._source = source
        self._autocommit = autocommit
        if isinstance(source, Engine):  # an option of the engine costs a transaction nothing
            options = {} if backend.embedded or not autocommit else _READ_COMMITTED
            self._compiled = compiled_statements(source.dialect)
            self._writing_engine = source.execution_options(**{WRITES_OPTION: True}, **options)
        self.sleep = sleep
        self._retry_seconds = retry_seconds
        self._dialect: str | None = None

    def read(self, work: Callable[[UnitOfWork], T], *, snapshot: bool = False) -> T:
        """Run a block in one transaction and end it; see `TransactionRunner.read`."""
        if snapshot:
            work = partial(self._in_snapshot, work)
        single = self._autocommit and not snapshot
        attempt = partial(self._attempt, work, writes=False, single=single, snapshot=snapshot)
        return self._run(attempt, idempotent=False)

    def _in_snapshot(self, work: Callable[[UnitOfWork], T], uow: UnitOfWork) -> T:
        self.backend.begin_snapshot(uow.connection)
        return work(uow)

    def write(
        self, work: Callable[[UnitOfWork], T], *, idempotent: bool = False, single: bool = False
    ) -> T:
        """Run a block in one transaction and commit it; see `TransactionRunner.write`.

        Raises:
            CommitOutcomeUnknownError: the connection was lost during COMMIT, and the block is
                not idempotent or could not be run again.
        """
        single = single and self._autocommit
        attempt = partial(self._attempt, work, writes=True, single=single)
        return self._run(attempt, idempotent=idempotent)

    def ping(self) -> None:
        """Run one statement that reads, again for two seconds at most.

        Raises:
            StorageError: the database does not answer.
        """
        attempt = partial(
            self._attempt, lambda uow: uow.catalogue.now(), writes=False, single=self._autocommit
        )
        self._run(attempt, idempotent=False, retry_seconds=min(self._retry_seconds, _PING_SECONDS))

    def connect(self) -> Connection:
        """Return a new connection, without a transaction, to the engine that writes."""
        if isinstance(self._source, Engine):
            return self._writing_engine.connect()
        return self._source.get_bind(**bind_arguments(self.part)).engine.connect()

    def open_connections(self, count: int) -> None:
        """Open connections until the engine's pool has so many.

        Raises:
            StorageError: one cannot be opened.
        """

        def connect(_: object) -> None:
            with translate_errors(self.backend), ExitStack() as opened:
                for _ in range(count):
                    opened.enter_context(cast("Engine", self._source).connect())

        self._run(connect, idempotent=True)

    def _run(
        self,
        attempt: Callable[[tuple[CommitLostError, ...]], T],
        *,
        idempotent: bool,
        retry_seconds: float | None = None,
    ) -> T:
        lost_commits: tuple[CommitLostError, ...] = ()
        pauses: _Pauses | None = None
        seconds = self._retry_seconds if retry_seconds is None else retry_seconds
        began = time.monotonic()
        while True:
            try:
                return attempt(lost_commits)
            except CommitLostError as lost:
                if not idempotent:
                    raise CommitOutcomeUnknownError(lost.reason) from lost.__cause__
                lost_commits = (*lost_commits, lost)
                failure: StorageError = ConnectionLostError(lost.reason)
                failure.__cause__ = lost
                _LOG.warning("The connection was lost during COMMIT: %s", lost.reason)
                self._report(CommitLost(lost.reason))
            except CommitOutcomeUnknownError:
                raise  # by the block, which looked for the outcome
            except StorageError as error:
                failure = error
            pauses = pauses or _Pauses(seconds)
            pause = pauses.after(failure)
            if isinstance(failure, CheckpointerLockTimeoutError) and self._waited(began):
                pause = None
            if pause is None or self.sleep(pause):
                reason = f"{failure.reason.rstrip('.')}{pauses.text}"
                if lost_commits:  # "nothing was committed" is true of the last attempt alone
                    raise CommitOutcomeUnknownError(reason) from failure
                if not pauses.text:
                    raise failure
                raise type(failure)(reason) from failure.__cause__
            _LOG.warning("Running a transaction again: %s", failure.reason)
            self._report(TransactionRetried(failure))

    def _report(self, event: Event) -> None:
        if self.on_event is not None:
            self.on_event(event)

    def _report_wait(self, began: float) -> None:
        self._report(ConnectionAwaited(time.monotonic() - began))

    def _waited(self, began: float) -> bool:
        """Return True if the driver itself waited for a lock for as long as the URL says."""
        if not isinstance(self._source, Engine):
            return False
        seconds = self.backend.lock_seconds(self._source.url)
        return seconds is not None and time.monotonic() - began >= 0.9 * seconds

    def _attempt(
        self,
        work: Callable[[UnitOfWork], T],
        lost_commits: tuple[CommitLostError, ...],
        *,
        writes: bool,
        single: bool,
        snapshot: bool = False,
    ) -> T:
        """Run the block once.

        Raises:
            CommitLostError: the connection was lost during COMMIT, or during a single statement
                that commits by itself.
            StorageError: the database refused or failed.
        """
        uow: EngineUnitOfWork | OwnedUnitOfWork
        waiting_since: float | None = None
        if isinstance(self._source, Engine):
            if self.on_event is not None and is_busy(self._source):
                waiting_since = time.monotonic()
            engine = self._writing_engine if writes and not single else self._source
            uow = EngineUnitOfWork(
                engine,
                self._compiled,
                writes=writes,
                single=single,
                read_committed=self.backend.read_committed,
                dialect=self._dialect,
            )
        else:
            uow = OwnedUnitOfWork(self._source, writes=writes, part=self.part)
        uow.lost_commits = lost_commits
        uow.has_control = self.facts.has_control
        uow.has_search = self.facts.has_search
        uow.snapshot = snapshot and not self.backend.embedded  # SQLite has no other transactions
        uow.encryption = self.facts.encryption
        try:
            with uow:
                if waiting_since is not None:
                    self._report_wait(waiting_since)
                    waiting_since = None
                if writes and isinstance(uow, OwnedUnitOfWork):
                    self.backend.lock_for_writing(uow, self.part)
                result = work(uow)
                self._dialect = uow.dialect
                return result
        except CommitLostError:
            raise  # its cause must not be taken for an error before the COMMIT
        except Exception as error:
            if waiting_since is not None:  # for nothing
                self._report_wait(waiting_since)
            translated = translate_error(error, self.backend)
            if translated is error:
                raise
            was_sent = writes and single and "connection" in vars(uow)
            if was_sent and isinstance(translated, ConnectionLostError):
                raise CommitLostError(translated.reason) from error
            raise translated from error


class JoinedRunner(TransactionRunner):
    """Runs units of work in the transaction of a session that the application opened, once."""

    def __init__(
        self, session: Session, backend: Backend, part: SchemaPart, facts: DatabaseFacts
    ) -> None:
        """Create a runner; see `TransactionRunner` for the other arguments.

        Args:
            session: the application's session.
            backend: the kind of database.
            part: the part of the schema.
            facts: facts about the database.
        """
        super().__init__(backend, part, facts)
        self._session = session

    def read(self, work: Callable[[UnitOfWork], T], *, snapshot: bool = False) -> T:
        """Run a block in the application's transaction."""
        with translate_errors(self.backend), JoinedUnitOfWork(self._session, part=self.part) as uow:
            uow.has_control = self.facts.has_control
            uow.has_search = self.facts.has_search
            uow.encryption = self.facts.encryption
            return work(uow)

    def write(
        self, work: Callable[[UnitOfWork], T], *, idempotent: bool = False, single: bool = False
    ) -> T:
        """Run a block in the application's transaction, which the application commits."""
        with translate_errors(self.backend), JoinedUnitOfWork(self._session, part=self.part) as uow:
            uow.has_control = self.facts.has_control
            uow.has_search = self.facts.has_search
            uow.encryption = self.facts.encryption
            self.backend.verify_transaction(uow)
            self.backend.lock_for_writing(uow, self.part)
            return work(uow)


class SharedRunner(TransactionRunner):
    """Runs units of work in a transaction that several operations share, once."""

    def __init__(self, uow: UnitOfWork, runner: TransactionRunner) -> None:
        """Create a runner in a unit of work of another runner."""
        super().__init__(runner.backend, runner.part, runner.facts)
        self._uow = uow

    def read(self, work: Callable[[UnitOfWork], T], *, snapshot: bool = False) -> T:
        """Run a block in the shared transaction."""
        return work(self._uow)

    def write(
        self, work: Callable[[UnitOfWork], T], *, idempotent: bool = False, single: bool = False
    ) -> T:
        """Run a block in the shared transaction, which commits after the last operation."""
        return work(self._uow)


def is_busy(engine: Engine) -> bool:
    """Return True if all connections of an engine that threadlog owns are in use.

    With asyncio False for an operation that is about to take one: it holds a slot of the pool.
    """
    pool = cast("QueuePool", engine.pool)
    return pool.checkedout() >= pool.size()


def ping(transactions: TransactionRunner) -> None:
    """Check that the database answers; see `Checkpointer.ping`."""
    cast("OwnedRunner", transactions).ping()


class _Pauses:
    """How long to wait before the next attempt of one unit of work, and when to give up."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = time.monotonic()
        self._gives_up = self._began + seconds
        self._attempts = 0
        self._election_ends: float | None = None

    @property
    def text(self) -> str:
        """How long attempts were repeated; empty if there was one attempt."""
        seconds = max(0.1, round(time.monotonic() - self._began, 1))
        return f", after retrying for {seconds:g} seconds" if self._attempts else ""

    def after(self, error: StorageError) -> float | None:
        """Return the seconds to wait after a failed attempt; None to give up."""
        now = time.monotonic()
        if isinstance(error, NoPrimaryError):
            if self._election_ends is None:
                self._election_ends = now + _ELECTION_FACTOR * self._seconds
            if now >= self._election_ends:
                return None
            self._gives_up, self._attempts = now + self._seconds, 1  # limits start again
            return random.uniform(*_BETWEEN_LOOKS)  # noqa: S311 - spreads attempts, no secret
        if not error.retryable or now >= self._gives_up:
            return None
        self._attempts += 1
        longest = min(_FIRST_PAUSE * 2 ** min(self._attempts, 10), _LONGEST_PAUSE)
        # The last attempt is at the end of the time, not before it.
        return min(random.uniform(0, longest), self._gives_up - now)  # noqa: S311 - see above


def translate_error(error: Exception, backend: Backend) -> Exception:
    """Return the error to raise in place of one from SQLAlchemy or from a driver.

    The cause is set by the caller. An error that is not of the database is returned as it is.
    """
    if isinstance(error, ThreadlogError):
        return error
    if isinstance(error, DBAPIError):
        return backend.error_type(error)(_reason(error.orig))
    if refusal := backend.refusal(error):
        return refusal
    return _of_sqlalchemy(error) if isinstance(error, SQLAlchemyError) else error


def _of_sqlalchemy(error: SQLAlchemyError) -> StorageError:
    """Return the error to raise in place of one of SQLAlchemy's own."""
    if isinstance(error, PendingRollbackError):
        return TransactionFailedError("The session's transaction has failed")
    if isinstance(error, PoolLimitError):
        return PoolTimeoutError("All connections of the pool were in use for too long")
    return StorageError(f"SQLAlchemy raised {type(error).__name__}")


@contextmanager
def translate_errors(backend: Backend) -> Iterator[None]:
    """Raise what SQLAlchemy raises in the block as a `StorageError` with that as its cause."""
    try:
        yield
    except Exception as error:
        translated = translate_error(error, backend)
        if translated is error:
            raise
        raise translated from error


def _reason(error: BaseException | None) -> str:
    """Return the driver's own text, which names neither statement nor parameters.

    Only the first line of each argument: PostgreSQL's further lines show values of a row.
    An exception among the arguments repeats the text before it.
    """
    words = (arg for arg in getattr(error, "args", ()) if not isinstance(arg, BaseException))
    return ": ".join(str(word).partition("\n")[0] for word in words) or type(error).__name__
