"""Truncations: removing the newest messages of a thread, and keeping a trace of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, select

from threadlog.models.dialects.locking import Lock, LockingRead, may_miss_commits
from threadlog.models.dialects.time import utc_now
from threadlog.models.dialects.types import id_equals
from threadlog.models.dialects.upsert import insert_or_replace
from threadlog.models.tables import MESSAGES, RUNS, THREADS, TRUNCATIONS
from threadlog.repositories.base import (
    Repository,
    execute_in_order,
    locking_statements,
    rowcount,
)
from threadlog.repositories.log.thread import last_seq, truncated_seq

_THREAD_ID: Final = bindparam("thread_id", type_=THREADS.c.thread_id.type)


def _state(lock: Lock) -> Sequence[ColumnElement[Any]]:
    other_run = select(func.min(RUNS.c.run_id)).where(
        RUNS.c.thread_id == bindparam("thread_id"),
        RUNS.c.completed_at.is_(None),
        ~id_equals(RUNS.c.run_id, bindparam("run_id")),
    )
    return (
        last_seq(lock),
        truncated_seq(lock),
        lock(other_run).scalar_subquery(),
        THREADS.c.pending_request.is_not(None),
    )


_LOCK: Final = LockingRead(THREADS, _THREAD_ID, _state)
_OF_THREAD: Final = TRUNCATIONS.c.thread_id == bindparam("thread_id")
_ALL: Final = select(
    *(column for column in TRUNCATIONS.columns if column.name != "thread_id")
).where(_OF_THREAD)
_REMOVE: Final = delete(MESSAGES).where(
    MESSAGES.c.thread_id == bindparam("thread_id"), MESSAGES.c.seq > bindparam("after_seq")
)


class ThreadState(NamedTuple):
    """State of a locked thread, for removing its newest messages."""

    last_seq: int
    """Seq of the newest message, 0 if the thread has none."""

    truncated_seq: int
    """The highest seq that was removed, 0 if none was."""

    open_run: str | None
    """An open run other than the given one, if any."""

    has_question: bool
    """Whether a question waits for an answer."""


class TruncationRow(NamedTuple):
    """A stored truncation, without its thread."""

    last_seq: int
    after_seq: int
    message_count: int
    run_id: str | None
    truncated_at: datetime


class TruncationRepository(Repository):
    """Statements on truncations, bound to one session."""

    def lock_thread(self, thread_id: str, run_id: str | None) -> ThreadState | None:
        """Lock a thread, and return its state; None if not found.

        Args:
            thread_id: the thread.
            run_id: a run that does not count as open.
        """
        key = {"thread_id": thread_id, "run_id": run_id or ""}
        row = execute_in_order(self.uow, locking_statements(_LOCK, self.uow.dialect), key)
        return None if row is None else ThreadState(row[0], row[1], row[2], bool(row[3]))

    def remove(
        self, thread_id: str, after_seq: int, run_id: str | None, state: ThreadState
    ) -> None:
        """Delete a locked thread's messages after a seq, and insert the truncation.

        Raises:
            IntegrityError: the transaction's snapshot misses messages, which would stay.
        """
        probes = 0
        if may_miss_commits(self.uow.dialect) and not self.uow.read_committed:
            # A message that the snapshot misses has this seq: the key is a duplicate.
            probes = 1
            free = max(state.last_seq, state.truncated_seq) + 1
            probe = {"thread_id": thread_id, "seq": free, "role": "user", "payload": b""}
            self.uow.execute(insert(MESSAGES), {**probe, "metadata": {}})
        key = {"thread_id": thread_id, "after_seq": after_seq}
        removed = rowcount(self.uow.execute(_REMOVE, key)) - probes
        row = {
            **key,
            "last_seq": state.last_seq,
            "message_count": removed,
            "run_id": run_id,
            "truncated_at": utc_now(self.uow.dialect),
        }
        # A framework's own backend, which knows no truncations, may have allocated the seq again.
        self.uow.execute(insert_or_replace(TRUNCATIONS, self.uow.dialect, row))

    def get(self, thread_id: str, last_seq: int) -> TruncationRow | None:
        """Return the truncation that removed a seq as its last one; None if not found."""
        one = _ALL.where(TRUNCATIONS.c.last_seq == bindparam("last_seq"))
        row = self.uow.execute(one, {"thread_id": thread_id, "last_seq": last_seq}).first()
        return None if row is None else TruncationRow(*row)

    def of_thread(self, thread_id: str) -> list[TruncationRow]:
        """Return a thread's truncations, first removed first."""
        rows = self.uow.execute(
            _ALL.order_by(TRUNCATIONS.c.truncated_at, TRUNCATIONS.c.last_seq.desc()),
            {"thread_id": thread_id},
        )
        return [TruncationRow(*row) for row in rows]
