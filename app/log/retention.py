"""Delete threads, or their oldest messages, that were not written to for long."""

from collections import Counter, deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

from threadlog.encoding.times import from_epoch
from threadlog.encoding.validation import check_count, check_id
from threadlog.errors import InvalidInputError, ThreadReferencedError
from threadlog.log.conditions import require_control
from threadlog.log.reading import END_OF_THREAD
from threadlog.log.references import name_referring_table
from threadlog.log.results import PruneSummary
from threadlog.models.tables import THREADS
from threadlog.repositories import UnitOfWork
from threadlog.repositories.log.retention import OldMessage, OldThreadState
from threadlog.repositories.log.thread import ThreadKey, ThreadOrder, ThreadSummaryRow
from threadlog.runtime.transactions import TransactionRunner

_THREADS: Final = 500
"""Threads in a page."""

BATCH: Final = 2_000
"""The most messages that one transaction deletes."""

BATCH_BYTES: Final = 32 * 2**20
"""The most bytes of payloads that one transaction deletes, if it deletes several messages."""


class _Step(NamedTuple):
    """The work of one transaction on a thread."""

    messages: int = 0
    bytes: int = 0
    last_seq: int = 0
    """The last seq that was deleted."""

    deletes_thread: bool = False
    parent_thread_id: str | None = None
    """The thread that the deleted thread was forked from; only in a dry run."""

    goes_on: bool = False
    """Whether the thread has more messages to delete."""

    left_out: str | None = None
    """The count of `PruneSummary` to increase, if nothing was deleted."""


_IN_USE: Final = _Step(left_out="in_use")


class Pruning:
    """A run of ``prune_older_than``: an operation for each of its transactions."""

    def __init__(
        self,
        age: timedelta,
        *,
        owner: str | None = None,
        keep_last: int | None = None,
        dry_run: bool = False,
        ignore_forks: bool = False,
        ignore_open_runs: bool = False,
        ignore_questions: bool = False,
    ) -> None:
        """Create a run; see `Checkpointer.prune_older_than`.

        Raises:
            InvalidInputError: an argument is not valid.
        """
        if not isinstance(age, timedelta) or age < timedelta(0):
            raise InvalidInputError(f"age must be a timedelta that is not negative, not {age!r}.")
        if owner is not None:
            check_id(owner, "owner")
        if keep_last is not None:
            check_count(keep_last, "keep_last", least=1)
        self._age, self._owner, self._keep_last, self._dry_run = age, owner, keep_last, dry_run
        self._ignored = {
            "with_forks": ignore_forks,
            "with_open_runs": ignore_open_runs,
            "with_questions": ignore_questions,
        }
        self._cutoff: datetime | None = None
        self._after: ThreadKey | None = None
        self._page = deque[str]()
        self._counts = Counter[str]()
        self._tables = set[str]()
        self._begun: str | None = None
        """The thread of which messages were deleted last."""
        self._deleted_forks = Counter[str]()
        """Of a dry run: how many forks of each thread would be deleted by then."""
        self.seen = 0
        """Number of threads that are done with."""

    @property
    def summary(self) -> PruneSummary:
        """The counts so far."""
        return PruneSummary(**self._counts, referring_tables=tuple(sorted(self._tables)))

    def count(self, transactions: TransactionRunner) -> int:
        """Return the number of threads that are old, which the run looks at."""
        cutoff = self._begin(transactions)
        return transactions.read(lambda uow: uow.retention.count(cutoff, self._owner))

    def step(self, transactions: TransactionRunner) -> bool:
        """Run the next transaction; return False if nothing is left to do."""
        cutoff = self._begin(transactions)
        if not self._page and not self._read_page(transactions, cutoff):
            return False
        thread_id = self._page[0]
        try:
            if self._dry_run:
                step = transactions.read(partial(self._count, thread_id, cutoff))
            else:
                step = self._prune(transactions, thread_id, cutoff)
        except ThreadReferencedError as error:
            self._tables.add(error.table)
            step = _Step(left_out="referenced")
        self._add(thread_id, step)
        return True

    def _begin(self, transactions: TransactionRunner) -> datetime:
        """Return the time before which a thread is old; read the clock the first time."""
        if self._cutoff is None:
            now = transactions.read(self._now)
            # No database has times before 1970, and Python none before the year 1.
            cutoff = now - min(self._age, now - from_epoch(0))
            # `updated_at` may be earlier than the last write, in the same second.
            self._cutoff = cutoff.replace(microsecond=0)
            if self._owner is None:
                self._after = ThreadKey("", self._cutoff)
        return self._cutoff

    def _now(self, uow: UnitOfWork) -> datetime:
        if self._owner is not None:
            require_control(uow)
        return uow.catalogue.now()

    def _read_page(self, transactions: TransactionRunner, cutoff: datetime) -> bool:
        """Read the next threads; return False if there are none.

        Last written to first: a fork, which is mostly younger, is deleted before its parent.
        """

        def read(uow: UnitOfWork) -> list[ThreadSummaryRow]:
            order: ThreadOrder = "recent" if self._owner is None else "id"  # the order of an index
            return uow.threads.page(
                owner=self._owner, waiting=False, after=self._after, limit=_THREADS, order=order
            )

        while not self._page:
            rows = transactions.read(read)
            last = ThreadKey(rows[-1].thread_id, from_epoch(rows[-1].updated_at)) if rows else None
            # Again the same: another writer's text in place of a time, on SQLite.
            if last is None or last == self._after:
                return False
            self._after = last
            self._page += [row.thread_id for row in rows if from_epoch(row.updated_at) < cutoff]
        return True

    def _prune(self, transactions: TransactionRunner, thread_id: str, cutoff: datetime) -> _Step:
        """Delete a thread or some of its oldest messages, in one transaction.

        Raises:
            ThreadReferencedError: a foreign key of the application's leads to it.
        """
        attempted: _Step | None = None

        def prune(uow: UnitOfWork) -> _Step:
            nonlocal attempted
            # Of the latest attempt whose COMMIT was lost, and which may still hold the lock.
            earlier = attempted if uow.lost_commits else None
            lock = uow.threads.try_lock if earlier is None else uow.threads.lock_existing
            if not lock(thread_id):
                return earlier or _IN_USE
            before_seq = self._first_kept(uow, thread_id)
            rows = uow.retention.oldest(thread_id, before_seq=before_seq, limit=BATCH + 1)
            if earlier is not None and (not rows or rows[0].seq > earlier.last_seq):
                return earlier
            if not rows and self._keep_last is not None:
                return _Step()
            state = uow.retention.state(thread_id, cutoff)
            if state is None:
                return _IN_USE
            if reason := self._reason(state):
                return _Step(left_out=reason)
            batch = _first_batch(rows)
            goes_on = len(batch) < len(rows)
            deletes_thread = self._keep_last is None and not goes_on
            if deletes_thread:
                uow.threads.delete_locked(thread_id, detach_forks=state.forks > 0)
            else:
                uow.retention.delete_messages(thread_id, last_seq=batch[-1].seq)
            attempted = _Step(
                messages=len(batch),
                bytes=sum(row.size for row in batch),
                last_seq=batch[-1].seq if batch else 0,
                deletes_thread=deletes_thread,
                goes_on=goes_on,
            )
            return attempted

        with name_referring_table(transactions, thread_id, [THREADS]):
            return transactions.write(prune, idempotent=True)

    def _count(self, thread_id: str, cutoff: datetime, uow: UnitOfWork) -> _Step:
        """Return what `_prune` would do with a thread, in all of its transactions."""
        before_seq = self._first_kept(uow, thread_id)
        messages, size = uow.retention.totals(thread_id, before_seq=before_seq)
        if not messages and self._keep_last is not None:
            return _Step()
        state = uow.retention.state(thread_id, cutoff)
        if state is None:
            return _IN_USE
        state = state._replace(forks=state.forks - self._deleted_forks[thread_id])
        if reason := self._reason(state):
            return _Step(left_out=reason)
        if self._keep_last is not None:
            return _Step(messages, size)
        return _Step(messages, size, deletes_thread=True, parent_thread_id=state.parent_thread_id)

    def _first_kept(self, uow: UnitOfWork, thread_id: str) -> int:
        """Return the seq of the first message to keep."""
        if self._keep_last is None:
            return END_OF_THREAD
        found = uow.retention.newest(thread_id, self._keep_last)
        if found is None:
            return 0
        seq, role = found
        return seq if role == "user" else uow.messages.turn_start(thread_id, seq)

    def _reason(self, state: OldThreadState) -> str | None:
        """Return the count of the first reason to leave a thread out; None if there is none."""
        found = {
            "with_forks": state.forks > 0,
            "with_open_runs": state.has_open_run,
            "with_questions": state.has_question,
        }
        return next((each for each, is_so in found.items() if is_so > self._ignored[each]), None)

    def _add(self, thread_id: str, step: _Step) -> None:
        """Count what a transaction has done."""
        if (step.messages or step.deletes_thread) and self._begun != thread_id:
            self._counts["threads"] += 1
            self._begun = thread_id
        self._counts["messages"] += step.messages
        self._counts["bytes"] += step.bytes
        if step.parent_thread_id is not None:
            self._deleted_forks[step.parent_thread_id] += 1
        if step.left_out is not None:
            self._counts[step.left_out] += 1
        if not step.goes_on:
            self._page.popleft()
            self.seen += 1


def _first_batch(rows: Sequence[OldMessage]) -> Sequence[OldMessage]:
    """Return the messages to delete in one transaction: all, or some up to a user message."""
    size = 0
    for place, row in enumerate(rows):
        size += row.size
        if place and (place == BATCH or size > BATCH_BYTES):
            starts = (start for start in range(place, 0, -1) if rows[start].role == "user")
            return rows[: next(starts, place)]
    return rows
