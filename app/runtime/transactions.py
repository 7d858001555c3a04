"""Runs units of work on a session, and speaks threadlog's errors."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolLimitError
from sqlalchemy.orm import Session
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_delay,
    wait_random,
    wait_random_exponential,
)

from threadlog.databases.base import Backend
from threadlog.errors import (
    CommitOutcomeUnknownError,
    ConnectionLostError,
    DeadlockError,
    NoPrimaryError,
    PoolTimeoutError,
    StorageError,
)
from threadlog.models import SchemaPart
from threadlog.repositories import JoinedUnitOfWork, OwnedUnitOfWork, UnitOfWork

T = TypeVar("T")

# Not for deadlocks: each means that another's transaction went on, and writers that meet in one
# thread on three members of a group lose two times in three.
_ATTEMPTS: Final = 10
_SECONDS: Final = 30.0

# A group notices after five seconds that its primary is gone, expels it after five more and
# elects another; a machine that has much to catch up with takes longer. Asking is cheap.
_ELECTION_SECONDS: Final = 60.0
_BETWEEN_LOOKS: Final = (0.1, 0.5)


def retry_policy(sleep: Callable[[float], None]) -> Retrying:
    """Build what runs units of work again after errors that are `StorageError.retryable`.

    Args:
        sleep: waits so many seconds between two attempts.
    """
    return Retrying(
        retry=retry_if_exception(_may_succeed_again),
        wait=wait_random_exponential(multiplier=0.01, max=1),
        stop=_gives_up,
        sleep=sleep,
        reraise=True,
    )


def election_policy(sleep: Callable[[float], None]) -> Retrying:
    """Build what runs units of work again while none of several hosts takes writes.

    Attempts are not counted, as those of `retry_policy` are: each is a look at the hosts, and
    only time tells whether there will be a primary.

    Args:
        sleep: waits so many seconds between two attempts.
    """
    return Retrying(
        retry=retry_if_exception_type(NoPrimaryError),
        wait=wait_random(*_BETWEEN_LOOKS),
        stop=stop_after_delay(_ELECTION_SECONDS),
        sleep=sleep,
        reraise=True,
    )


class Store(ABC):
    """What operations run on: units of work on one session."""

    def __init__(
        self,
        session: Session,
        backend: Backend,
        part: SchemaPart,
        statement_limit: int,
    ) -> None:
        """Take what one operation needs.

        Args:
            session: what its statements run on.
            backend: what knows the session's database.
            part: the part of the schema that they work on.
            statement_limit: the most bytes that one statement may have.
        """
        self.part = part
        self.statement_limit = statement_limit
        self._session = session
        self._backend = backend

    @abstractmethod
    def read(self, work: Callable[[UnitOfWork], T]) -> T:
        """Run a block that only reads; see `write`."""

    @abstractmethod
    def write(self, work: Callable[[UnitOfWork], T], *, idempotent: bool = False) -> T:
        """Run a block that writes, as one unit.

        Args:
            work: the block.
            idempotent: whether it stores no more when it is run again than when it is run
                once: it is then, where nobody knows whether a COMMIT was done. A block that
                must know finds it in `UnitOfWork.lost_commits`.

        Raises:
            StorageError: the database refused or failed.
        """


class OwnedStore(Store):
    """Runs each unit in a transaction of its own, on a session that threadlog opened.

    A unit is run again from its start after a deadlock, a lock timeout or a lost connection,
    as long as nothing was committed; it must have no other effect than on the database. It
    raises `CommitOutcomeUnknownError` where the connection was lost during COMMIT, unless it
    is idempotent.
    """

    _lost_commits: tuple[CommitOutcomeUnknownError, ...] = ()

    def __init__(
        self,
        session: Session,
        backend: Backend,
        part: SchemaPart,
        statement_limit: int,
        *,
        retrying: Retrying,
        engine_is_external: bool = False,
    ) -> None:
        """Take what one operation needs; see `Store`.

        Args:
            session: what its statements run on.
            backend: what knows the session's database.
            part: the part of the schema that they work on.
            statement_limit: the most bytes that one statement may have.
            retrying: runs a unit of work again; see `retry_policy`.
            engine_is_external: whether the host made the engine, with settings of its own.
        """
        super().__init__(session, backend, part, statement_limit)
        self._retrying = retrying
        self._hosts_engine = engine_is_external

    def read(self, work: Callable[[UnitOfWork], T]) -> T:
        """Run a block in one transaction and end it."""
        return self._run(self._once, work, writes=False)

    def write(self, work: Callable[[UnitOfWork], T], *, idempotent: bool = False) -> T:
        """Run a block in one transaction and commit it."""
        self._lost_commits = ()
        try:
            return self._run(self._once_more if idempotent else self._once, work, writes=True)
        except StorageError as error:
            # "Nothing was committed" would be true of the last try alone.
            if self._lost_commits:
                raise CommitOutcomeUnknownError(error.reason) from error
            raise

    def _run(self, once: Callable[..., Any], work: Callable[[UnitOfWork], T], *, writes: bool) -> T:
        result: T
        try:
            result = once(work, writes=writes)  # sparing the policy where nothing fails
        except StorageError as error:
            if not error.retryable:
                raise
            again = _raising_first(error, once)
        else:
            return result
        try:
            result = self._retrying(again, work, writes=writes)
        except NoPrimaryError:
            waiting = election_policy(self._retrying.sleep)
            result = waiting(self._retrying, once, work, writes=writes)
        return result

    def _once_more(self, work: Callable[[UnitOfWork], T], *, writes: bool) -> T:
        try:
            return self._once(work, writes=writes)
        except CommitOutcomeUnknownError as error:
            self._lost_commits = (*self._lost_commits, error)
            raise ConnectionLostError(error.reason) from error

    def _once(self, work: Callable[[UnitOfWork], T], *, writes: bool) -> T:
        read_committed = self._backend.read_committed and not self._hosts_engine
        unit = OwnedUnitOfWork(self._session, writes=writes, read_committed=read_committed)
        unit.lost_commits = self._lost_commits
        with translate_errors(self._backend), unit as uow:
            if writes and self._hosts_engine:
                self._backend.lock_for_writing(uow, self.part)
            return work(uow)


class JoinedStore(Store):
    """Runs units in the transaction of a session that the host opened, each once."""

    def read(self, work: Callable[[UnitOfWork], T]) -> T:
        """Run a block in the host's transaction."""
        with translate_errors(self._backend), JoinedUnitOfWork(self._session) as uow:
            return work(uow)

    def write(self, work: Callable[[UnitOfWork], T], *, idempotent: bool = False) -> T:
        """Run a block in the host's transaction, which the host commits."""
        with translate_errors(self._backend), JoinedUnitOfWork(self._session) as uow:
            self._backend.lock_for_writing(uow, self.part)
            return work(uow)


def known(outcome: T | CommitOutcomeUnknownError) -> T:
    """Give what a unit of work found out, unless that is that it cannot be found out.

    Raises:
        CommitOutcomeUnknownError: it cannot.
    """
    if isinstance(outcome, CommitOutcomeUnknownError):
        raise outcome
    return outcome


@contextmanager
def translate_errors(backend: Backend) -> Iterator[None]:
    """Turn what SQLAlchemy raises in the block into a `StorageError` with that as its cause."""
    try:
        yield
    except DBAPIError as error:
        raise backend.error_type(error)(_words(error.orig)) from error
    except PoolLimitError as error:
        raise PoolTimeoutError("All connections of the pool were in use for too long") from error
    except (SQLAlchemyError, RuntimeError) as error:
        if told := backend.refusal(error):
            raise told from error
        if isinstance(error, SQLAlchemyError):
            raise StorageError(type(error).__name__) from error
        raise


def _words(error: BaseException | None) -> str:
    """Give a driver's own words, which name neither statement nor parameters.

    Their first lines: in those behind, PostgreSQL tells what is in a row. An exception among
    them says again what stands before it.
    """
    words = (arg for arg in getattr(error, "args", ()) if not isinstance(arg, BaseException))
    return ": ".join(str(word).partition("\n")[0] for word in words) or type(error).__name__


def _raising_first(error: StorageError, once: Callable[..., T]) -> Callable[..., T]:
    """Make a block whose first try, which was made already, ends as it did."""
    errors = [error]

    def run(*args: Any, **kwargs: Any) -> T:
        if errors:
            raise errors.pop()
        return once(*args, **kwargs)

    return run


def _gives_up(state: RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    tried_often = state.attempt_number >= _ATTEMPTS and not isinstance(error, DeadlockError)
    return tried_often or stop_after_delay(_SECONDS)(state)


def _may_succeed_again(error: BaseException) -> bool:
    waits = isinstance(error, NoPrimaryError)  # see `election_policy`
    return isinstance(error, StorageError) and error.retryable and not waits
