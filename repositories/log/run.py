"""Runs: claiming, completing, releasing and listing them."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from threadlog.models.dialects.locking import Lock, LockingRead, bump_row_version
from threadlog.models.dialects.time import age, statement_time, to_epoch, utc_now
from threadlog.models.dialects.types import id_equals
from threadlog.models.tables import LEASES, MESSAGES, OWNERS, RUNS, THREADS
from threadlog.repositories.base import (
    Repository,
    Statement,
    chunks,
    execute_in_order,
    locking_statements,
)

if TYPE_CHECKING:
    from threadlog.repositories.base import Rows

_THREAD_ID: Final = bindparam("thread_id", type_=THREADS.c.thread_id.type)
_IS_THREAD: Final = THREADS.c.thread_id == _THREAD_ID
_OF_THREAD: Final = RUNS.c.thread_id == bindparam("thread_id")
_IS_RUN: Final = and_(_OF_THREAD, id_equals(RUNS.c.run_id, bindparam("run_id")))

# Compared by the column's own collation: a key that is equal by it cannot be inserted. All reads
# lock, as a plain read would see the transaction's snapshot under REPEATABLE READ.
_NEW_RUN: Final = bindparam("run_id", type_=RUNS.c.run_id.type)
_IS_TAKEN: Final = exists(
    select(RUNS.c.run_id).where(_OF_THREAD, RUNS.c.run_id == _NEW_RUN).with_for_update()
)
_CLAIM: Final = Statement(
    insert(RUNS)
    .from_select(
        ["thread_id", "run_id"],
        select(THREADS.c.thread_id, _NEW_RUN).where(_IS_THREAD, ~_IS_TAKEN),
    )
    .execution_options(preserve_rowcount=True)
)
_IS_COMPLETED: Final = Statement(
    select(RUNS.c.completed_at.is_not(None)).where(_IS_RUN).with_for_update()
)


def _completion(lock: Lock) -> Sequence[ColumnElement[Any]]:
    completed = lock(select(RUNS.c.completed_at.is_not(None)).where(_IS_RUN))
    last_seq = lock(select(func.coalesce(func.max(RUNS.c.completion_seq), 0)).where(_OF_THREAD))
    return completed.scalar_subquery(), last_seq.scalar_subquery()


def _completion_with_lease(lock: Lock) -> Sequence[ColumnElement[Any]]:
    of_run = id_equals(LEASES.c.run_id, bindparam("run_id"))
    token = select(LEASES.c.token).where(LEASES.c.thread_id == bindparam("thread_id"), of_run)
    return *_completion(lock), lock(token).scalar_subquery()


_LOCK_COMPLETION: Final = LockingRead(THREADS, _THREAD_ID, _completion)
_LOCK_COMPLETION_AND_LEASE: Final = LockingRead(THREADS, _THREAD_ID, _completion_with_lease)
_COMPLETE: Final = (
    update(RUNS)
    .where(
        RUNS.c.thread_id == bindparam("of_thread"),
        id_equals(RUNS.c.run_id, bindparam("of_run")),
    )
    .values(completed_at=statement_time(), completion_seq=bindparam("seq"))
)
_COMPLETED: Final = select(RUNS.c.thread_id, RUNS.c.run_id).where(
    tuple_(RUNS.c.thread_id, RUNS.c.run_id).in_(bindparam("keys", expanding=True)),
    RUNS.c.completed_at.is_not(None),
)
_RELEASE: Final = delete(RUNS).where(_IS_RUN)

# Runs in one statement: below every server's limit.
_RUNS_AT_ONCE: Final = 400

# A question without a run id may belong to any open run.
_WAITS: Final = and_(
    THREADS.c.pending_request.is_not(None),
    or_(THREADS.c.run_id.is_(None), id_equals(THREADS.c.run_id, RUNS.c.run_id)),
)


def _summaries() -> Select[Any]:
    thread = RUNS.join(THREADS, THREADS.c.thread_id == RUNS.c.thread_id)
    return (
        select(
            RUNS.c.thread_id,
            RUNS.c.run_id,
            to_epoch(RUNS.c.claimed_at),
            to_epoch(RUNS.c.completed_at),
            RUNS.c.completion_seq,
            case((_WAITS, 1), else_=0),
        )
        .select_from(thread)
        .order_by(RUNS.c.claimed_at, RUNS.c.thread_id, RUNS.c.run_id)
    )


_LIST: Final = _summaries().where(_OF_THREAD)


_IS_OWNED: Final = RUNS.c.thread_id.in_(
    select(OWNERS.c.thread_id).where(OWNERS.c.owner == bindparam("owner"))
)


@cache
def _stale(dialect: str, *, locking: bool, has_control: bool) -> Select[Any]:
    recent_message = select(MESSAGES.c.seq).where(
        MESSAGES.c.thread_id == RUNS.c.thread_id,
        id_equals(MESSAGES.c.run_id, RUNS.c.run_id),
        age(MESSAGES.c.created_at) < bindparam("seconds"),
    )
    lease = select(LEASES.c.run_id).where(
        LEASES.c.thread_id == RUNS.c.thread_id, id_equals(LEASES.c.run_id, RUNS.c.run_id)
    )
    now = utc_now(dialect, seconds_ago=bindparam("no_seconds"))
    lasting, ended = lease.where(LEASES.c.expires_at > now), lease.where(LEASES.c.expires_at <= now)
    statement = _summaries()
    if locking:
        recent_message = recent_message.with_for_update()
        lasting, ended = lasting.with_for_update(), ended.with_for_update()
        statement = statement.where(_IS_RUN).with_for_update()
    is_old = and_(age(RUNS.c.claimed_at) >= bindparam("seconds"), ~exists(recent_message))
    if has_control:
        is_old = or_(exists(ended), and_(is_old, ~exists(lasting)))
    return statement.where(RUNS.c.completed_at.is_(None), ~_WAITS, is_old)


class RunSummaryRow(NamedTuple):
    """A row of a listing of runs; times in seconds since 1970 UTC."""

    thread_id: str
    run_id: str
    claimed_at: float
    completed_at: float | None
    completion_seq: int | None
    waits: int
    """1 if the run is open and its thread's pending question is, or may be, the run's; else 0."""


class Completion(NamedTuple):
    """State of a run of a locked thread, for completing it."""

    completed: bool | None
    """Whether the run is completed; None if it was never claimed."""

    last_seq: int
    """The highest completion_seq of the thread, 0 if no run is completed."""

    lease_token: int | None = None
    """The token of the run's latest lease; None if it was never leased, or was not asked for."""


class RunRepository(Repository):
    """Statements on runs, bound to one session."""

    def claim(self, thread_id: str, run_id: str) -> bool:
        """Insert an open run if the id is free; the caller holds the thread's lock.

        Returns:
            True if the run was inserted.
        """
        claimed = self.uow.run(_CLAIM, {"thread_id": thread_id, "run_id": run_id})
        return claimed.rowcount == 1

    def completed(self, thread_id: str, run_id: str) -> bool | None:
        """Lock a run, and return True if it is completed; None if not found."""
        key = {"thread_id": thread_id, "run_id": run_id}
        row = self.uow.run(_IS_COMPLETED, key).first()
        return None if row is None else bool(row[0])

    def completed_among(self, keys: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return the completed runs among `keys`; the caller holds the locks of their threads.

        One statement for every 400 runs, no statement without runs.

        Args:
            keys: pairs of a thread and a run.
        """
        found: set[tuple[str, str]] = set()
        for some in chunks(sorted(keys), _RUNS_AT_ONCE):
            rows = self.uow.execute(_COMPLETED, {"keys": some})
            found.update((row[0], row[1]) for row in rows)
        return found

    def lock_completion(
        self, thread_id: str, run_id: str, *, with_lease: bool = False
    ) -> Completion:
        """Lock a thread, and return the state of one of its runs, and of the run's lease."""
        key = {"thread_id": thread_id, "run_id": run_id}
        read = _LOCK_COMPLETION_AND_LEASE if with_lease else _LOCK_COMPLETION
        row = execute_in_order(self.uow, locking_statements(read, self.uow.dialect), key)
        if row is None:
            return Completion(None, 0)
        completed, *rest = row
        return Completion(None if completed is None else bool(completed), *rest)

    def complete(self, thread_id: str, run_id: str, completion_seq: int) -> None:
        """Mark a run as completed now; the caller holds the thread's lock."""
        values = {"of_thread": thread_id, "of_run": run_id, "seq": completion_seq}
        self.uow.run(_completing(self.uow.dialect), values)

    def release(self, thread_id: str, run_id: str) -> None:
        """Delete a run; the caller holds the thread's lock."""
        self.uow.execute(_RELEASE, {"thread_id": thread_id, "run_id": run_id})

    def of_thread(self, thread_id: str) -> list[RunSummaryRow]:
        """Return a thread's runs in the order in which they were claimed."""
        return _rows(self.uow.execute(_LIST, {"thread_id": thread_id}).all())

    def is_stale(self, thread_id: str, run_id: str, seconds: int) -> bool:
        """Return True if `stale` would return the run; the caller holds the thread's lock."""
        key = {"thread_id": thread_id, "run_id": run_id}
        return self._execute_stale(seconds, key, locking=True).first() is not None

    def stale(self, seconds: int, owner: str | None) -> list[RunSummaryRow]:
        """Return open runs whose process seems dead, and which do not wait for a person.

        A run with a lease: whose lease has ended. Another run: which was inactive for `seconds`;
        the claim and each message of the run count as activity. Reads all runs, or those of the
        owner's threads.
        """
        key = {} if owner is None else {"owner": owner}
        return _rows(self._execute_stale(seconds, key, locking=False).all())

    def _execute_stale(self, seconds: int, key: Mapping[str, str], *, locking: bool) -> "Rows":
        has_control = self.uow.has_control
        statement = _stale(self.uow.dialect, locking=locking, has_control=has_control)
        if "owner" in key:
            statement = statement.where(_IS_OWNED)
        given = {"no_seconds": 0} if has_control else {}
        return self.uow.execute(statement, {**key, "seconds": seconds, **given})


@cache
def _completing(dialect: str) -> Statement:
    is_thread = THREADS.c.thread_id == bindparam("of_thread")
    return Statement(bump_row_version(_COMPLETE, THREADS, is_thread, dialect))


def _rows(rows: Sequence[Any]) -> list[RunSummaryRow]:
    return [RunSummaryRow(*row) for row in rows]
