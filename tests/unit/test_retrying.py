"""How often a unit of work is run again, by what ended it."""

import pytest
from sqlalchemy import create_engine

from threadlog.databases.sqlite import SQLiteBackend
from threadlog.errors import (
    ConnectionLostError,
    DeadlockError,
    NotWritableError,
    StorageError,
)
from threadlog.models import MESSAGES
from threadlog.repositories import UnitOfWork
from threadlog.runtime.transactions import OwnedRunner


class Failing:
    """Fails so many times, and counts."""

    def __init__(self, kind: type[StorageError], failures: int) -> None:
        self.calls = 0
        self._kind = kind
        self._failures = failures

    def __call__(self, uow: UnitOfWork) -> str:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._kind("once more")
        return "done"


def run(work: Failing) -> str:
    """Run a unit of work on an SQLite database in memory, without waiting between attempts."""
    engine = create_engine("sqlite://")
    runner = OwnedRunner(engine, SQLiteBackend(), MESSAGES, sleep=lambda seconds: None)
    try:
        return runner.read(work)
    finally:
        engine.dispose()


@pytest.mark.parametrize("kind", [ConnectionLostError, NotWritableError])
def test_a_server_that_is_away_is_tried_ten_times(kind: type[StorageError]) -> None:
    """A wrong address is told within seconds."""
    work = Failing(kind, 100)
    with pytest.raises(kind):
        run(work)
    assert work.calls == 10


def test_a_deadlock_is_tried_again_for_as_long_as_there_is_time() -> None:
    """Writers who meet again and again are not counted out: others went on."""
    work = Failing(DeadlockError, 50)
    assert run(work) == "done"


def test_what_cannot_succeed_is_not_tried_again() -> None:
    """Other errors are raised at once."""
    work = Failing(StorageError, 1)
    with pytest.raises(StorageError):
        run(work)
    assert work.calls == 1
