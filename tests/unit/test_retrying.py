"""How long a unit of work is run again, by what ended it."""

import itertools
from collections.abc import Callable
from typing import Final

import pytest
from sqlalchemy import create_engine

from threadlog.databases.sqlite import SQLiteBackend
from threadlog.errors import (
    CommitOutcomeUnknownError,
    ConnectionFailedError,
    ConnectionLostError,
    DeadlockError,
    NoPrimaryError,
    NotWritableError,
    ServerUnreachableError,
    StorageError,
    TooManyConnectionsError,
)
from threadlog.models import MESSAGES
from threadlog.repositories import UnitOfWork
from threadlog.repositories.unit_of_work import CommitLostError
from threadlog.runtime import transactions
from threadlog.runtime.transactions import OwnedRunner

RETRYABLE: Final = (
    ConnectionLostError,
    DeadlockError,
    NotWritableError,
    ServerUnreachableError,
    TooManyConnectionsError,
)


class Clock:
    """A clock that only pauses move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace the clock of the runner."""
        self.now = 0.0
        self.pauses: list[float] = []
        monkeypatch.setattr(transactions, "time", self)

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of the runner."""
    return Clock(monkeypatch)


class Failing:
    """Fails so many times, and counts."""

    def __init__(self, kind: type[StorageError], failures: float) -> None:
        self.calls = 0
        self._kind = kind
        self._failures = failures

    def __call__(self, uow: UnitOfWork) -> str:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._kind("once more.")
        return "done"


def run(
    work: Callable[[UnitOfWork], str],
    sleep: Callable[[float], bool | None],
    seconds: float = 30,
    *,
    idempotent: bool = False,
) -> str:
    """Run a unit of work on an SQLite database in memory."""
    engine = create_engine("sqlite://")
    runner = OwnedRunner(engine, SQLiteBackend(), MESSAGES, sleep=sleep, retry_seconds=seconds)
    try:
        return runner.write(work, idempotent=idempotent)
    finally:
        engine.dispose()


@pytest.mark.parametrize("kind", RETRYABLE)
def test_retry_ends_after_the_time_and_names_it(kind: type[StorageError], clock: Clock) -> None:
    work = Failing(kind, float("inf"))
    with pytest.raises(kind, match=r"^once more, after retrying for 30 seconds\. ") as caught:
        run(work, clock.sleep)
    assert type(caught.value) is kind
    assert clock.now == 30
    assert max(clock.pauses) <= 1
    assert work.calls == len(clock.pauses) + 1 > 30


@pytest.mark.parametrize("kind", RETRYABLE)
def test_retry_that_succeeds_before_the_time_returns(
    kind: type[StorageError], clock: Clock
) -> None:
    assert run(Failing(kind, 30), clock.sleep) == "done"


@pytest.mark.parametrize("kind", [*RETRYABLE, NoPrimaryError])
def test_retry_of_zero_seconds_raises_the_first_error(
    kind: type[StorageError], clock: Clock
) -> None:
    work = Failing(kind, 1)
    with pytest.raises(kind, match=r"^once more\. "):
        run(work, clock.sleep, 0)
    assert (work.calls, clock.pauses) == (1, [])


@pytest.mark.parametrize("kind", [StorageError, ConnectionFailedError])
def test_retry_of_what_cannot_succeed_raises_the_first_error(
    kind: type[StorageError], clock: Clock
) -> None:
    work = Failing(kind, 1)
    with pytest.raises(kind, match=r"^once more\. "):
        run(work, clock.sleep)
    assert work.calls == 1


def test_retry_during_an_election_takes_twice_as_long(clock: Clock) -> None:
    with pytest.raises(NoPrimaryError, match="after retrying for 20"):
        run(Failing(NoPrimaryError, float("inf")), clock.sleep, 10)
    assert 20 <= clock.now < 21
    assert max(clock.pauses) <= 0.5


def test_retry_after_an_election_has_its_whole_time_again(clock: Clock) -> None:
    def work(uow: UnitOfWork) -> str:
        raise (NoPrimaryError if clock.now < 15 else ConnectionLostError)("once more")

    with pytest.raises(ConnectionLostError):
        run(work, clock.sleep, 10)
    assert 24 < clock.now <= 25.5


def test_retry_ends_when_the_client_was_closed(clock: Clock) -> None:
    pauses = itertools.count(1)
    work = Failing(ConnectionLostError, float("inf"))
    with pytest.raises(ConnectionLostError):
        run(work, lambda _: next(pauses) == 3)
    assert work.calls == 3


def test_retry_that_gives_up_after_a_lost_commit_says_that_the_outcome_is_unknown(
    clock: Clock,
) -> None:
    kinds = itertools.chain([CommitLostError], itertools.repeat(ServerUnreachableError))

    def work(uow: UnitOfWork) -> str:
        raise next(kinds)("once more")

    with pytest.raises(CommitOutcomeUnknownError, match="after retrying for 30 seconds"):
        run(work, clock.sleep, idempotent=True)
