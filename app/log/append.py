"""Messages: appending and reading them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

from threadlog.encoding.gc_pause import gc_paused
from threadlog.encoding.statement_size import Batch, in_batches
from threadlog.encoding.times import from_epoch
from threadlog.encoding.validation import check_count, check_id, check_list
from threadlog.errors import RunAlreadyCompletedError
from threadlog.log.framework_types import DataT, FrameworkTypes
from threadlog.log.message_codec import MessageT
from threadlog.log.results import StoredMessage
from threadlog.repositories import UnitOfWork
from threadlog.repositories.log.message import NewMessage, PlacedMessages
from threadlog.repositories.log.thread import ThreadTail, parse_extra
from threadlog.runtime.transactions import Store

# Bytes: sending a long message as digits takes longer than one statement more.
_SHORT: Final = 300_000

# Run ids in one statement: few enough for every server.
_RUNS_AT_ONCE: Final = 500


def load(
    store: Store,
    vocabulary: FrameworkTypes[MessageT, Any, DataT],
    thread_id: str,
    *,
    last: int | None,
) -> DataT | None:
    """Read a thread at one point in time; see `Checkpointer.load`."""
    check_id(thread_id)
    if last is not None:
        check_count(last, "last", least=1)
    log = store.read(lambda uow: uow.messages.log(thread_id, last=last))
    if log is None:
        return None
    return vocabulary.data(
        messages=vocabulary.messages.decode_all(thread_id, log.messages),
        extra={} if log.extra is None else parse_extra(thread_id, log.extra),
        parent_thread_id=log.parent_thread_id,
    )


@dataclass(frozen=True)
class AppendRequest:
    """What one caller wants to have behind a thread: checked and encoded."""

    thread_id: str
    batches: Sequence[Batch[NewMessage]]
    """The messages in order, each batch for one statement."""

    @cached_property
    def messages(self) -> list[NewMessage]:
        """All messages, in order."""
        return [message for batch in self.batches for message in batch.rows]

    @cached_property
    def run_ids(self) -> list[str]:
        """The runs that the messages belong to, in order of their ids."""
        return sorted({message.run_id for message in self.messages if message.run_id})


class ThreadBusy:
    """What became of an append that would have made others wait for its thread.

    The thread is locked by a transaction of somebody else's, or is new. Nothing was written.
    """


Outcome: TypeAlias = RunAlreadyCompletedError | ThreadBusy | None
"""What became of one append of several: None where it is stored."""


def encode_append(
    vocabulary: FrameworkTypes[MessageT, Any, Any],
    thread_id: str,
    messages: Sequence[MessageT],
    statement_limit: int,
) -> AppendRequest | None:
    """Check and encode what `append` is given; None where there is nothing to append."""
    check_list(messages, "messages")
    if not messages:
        return None
    check_id(thread_id)
    return AppendRequest(
        thread_id, in_batches(vocabulary.messages.encode(messages), statement_limit)
    )


def append(
    store: Store,
    vocabulary: FrameworkTypes[MessageT, Any, Any],
    thread_id: str,
    messages: Sequence[MessageT],
) -> None:
    """Append messages, all or none; see `Checkpointer.append`."""
    new = encode_append(vocabulary, thread_id, messages, store.statement_limit)
    if new is not None:
        _raise_refused(*append_together(store, [new]))


def append_together(store: Store, appends: Sequence[AppendRequest]) -> list[Outcome]:
    """Run appends in one transaction, each all or none; a refused one does not hinder others.

    Several are only for sessions that read at READ COMMITTED, and each of them has one batch;
    all of these fit into one statement.

    Returns:
        What became of each. One alone is never `ThreadBusy`: it waits for its thread.
    """
    return store.write(AppendTransaction(appends, store.statement_limit), idempotent=True)


class AppendTransaction:
    """Appends as one unit of work, which may be run again whatever became of its COMMIT.

    Where that was lost, it looks under the threads' locks whether the rows that it inserted
    are there. The lock also waits for the lost transaction, if the server still has it. Rows
    of the same bytes at the same seqs, which another writer inserted in between, would be
    taken for ours.
    """

    def __init__(self, appends: Sequence[AppendRequest], statement_limit: int) -> None:
        self._appends = appends
        self._is_short = _is_short(appends, statement_limit)
        self._stored: set[int] = set()
        self._places: dict[int, int] = {}
        """The seq that each append was put behind, in the try that was made last."""
        self._doubtful: dict[int, int] = {}
        """The same of a try of which nobody knows whether it was committed."""
        self._lost_commits = 0

    def __call__(self, uow: UnitOfWork) -> list[Outcome]:
        """Lock the threads, and insert what is not stored yet."""
        if len(uow.lost_commits) > self._lost_commits:
            self._lost_commits, self._doubtful = len(uow.lost_commits), self._places
        # It does not look for what may be stored already.
        at_once = self._is_short and not uow.lost_commits and uow.can_lock_and_append
        if at_once and self._insert_at_once(uow):
            return [None]
        tails, completed = self._lock(uow, is_new=at_once)
        self._look_back(uow)
        self._places = {}
        ends = {thread_id: tail.last_seq for thread_id, tail in tails.items()}
        outcomes = [self._place(number, ends, completed) for number in range(len(self._appends))]
        self._insert(uow)
        written = {self._appends[number].thread_id for number in self._places}
        if behind := [thread_id for thread_id in written if tails[thread_id].behind]:
            uow.threads.touch(*behind)
        return outcomes

    def _insert_at_once(self, uow: UnitOfWork) -> bool:
        """Lock and insert in one statement; False where there is no thread, or a completed run."""
        (new,) = self._appends
        tail = uow.messages.lock_and_append(new.thread_id, *new.messages)
        if tail is None:
            return False
        self._places = {0: tail.last_seq}
        if tail.behind:
            uow.threads.touch(new.thread_id)
        return True

    def _lock(
        self, uow: UnitOfWork, *, is_new: bool
    ) -> tuple[Mapping[str, ThreadTail], set[tuple[str, str]]]:
        """Lock the threads; give their ends, and the completed ones of the appends' runs."""
        if len(self._appends) == 1:
            return _lock_one(uow, self._appends[0], is_new=is_new)
        # What may be stored already must not be left for another unit that does not know.
        wait = bool(self._doubtful)
        tails = uow.threads.lock_tails({a.thread_id for a in self._appends}, wait=wait)
        runs = {(a.thread_id, run) for a in self._appends for run in a.run_ids}
        return tails, uow.runs.completed_among(key for key in runs if key[0] in tails)

    def _look_back(self, uow: UnitOfWork) -> None:
        """Find out which appends a try has stored that was lost during COMMIT."""
        for number, after_seq in self._doubtful.items():
            new = self._appends[number]
            if uow.messages.are_stored(PlacedMessages(new.thread_id, after_seq, new.messages)):
                self._stored.add(number)
        self._doubtful = {}

    def _place(self, number: int, ends: dict[str, int], completed: set[tuple[str, str]]) -> Outcome:
        """Give an append its place behind its thread, unless it is stored, or cannot be."""
        new = self._appends[number]
        if number in self._stored:
            return None
        if new.thread_id not in ends:
            return ThreadBusy()
        for run_id in new.run_ids:
            if (new.thread_id, run_id) in completed:
                return RunAlreadyCompletedError(thread_id=new.thread_id, run_id=run_id)
        self._places[number] = ends[new.thread_id]
        ends[new.thread_id] += len(new.messages)
        return None

    def _insert(self, uow: UnitOfWork) -> None:
        placed = [(self._appends[number], seq) for number, seq in self._places.items()]
        if len(self._appends) == 1:
            for new, seq in placed:
                uow.messages.insert(new.thread_id, seq, (batch.rows for batch in new.batches))
        elif placed:
            uow.messages.insert_together(
                PlacedMessages(new.thread_id, seq, new.messages) for new, seq in placed
            )


def _is_short(appends: Sequence[AppendRequest], statement_limit: int) -> bool:
    """Say whether it is one message, that fits into `MessageRepository.lock_and_append` too."""
    if len(appends) > 1 or len(appends[0].messages) > 1:
        return False
    # Each byte is two digits there, and the statement has ids seven times, not twice.
    return 3 * appends[0].batches[0].size <= min(statement_limit, _SHORT)


def _lock_one(
    uow: UnitOfWork, new: AppendRequest, *, is_new: bool
) -> tuple[Mapping[str, ThreadTail], set[tuple[str, str]]]:
    """Lock one thread, creating it if need be, and look for completed runs, in one statement."""
    run_ids = new.run_ids
    tail = uow.threads.lock_tail(new.thread_id, run_ids[:_RUNS_AT_ONCE], is_new=is_new)
    completed = tail.completed_run
    for start in range(_RUNS_AT_ONCE, len(run_ids), _RUNS_AT_ONCE):
        some = run_ids[start : start + _RUNS_AT_ONCE]
        completed = completed or uow.threads.lock_tail(new.thread_id, some).completed_run
    return {new.thread_id: tail}, set() if completed is None else {(new.thread_id, completed)}


def _raise_refused(outcome: Outcome) -> None:
    if isinstance(outcome, RunAlreadyCompletedError):
        raise outcome


def read(
    store: Store,
    vocabulary: FrameworkTypes[MessageT, Any, Any],
    thread_id: str,
    *,
    after_seq: int,
    limit: int | None,
) -> list[StoredMessage[MessageT]]:
    """Read messages with their places; see `Checkpointer.read`."""
    check_id(thread_id)
    check_count(after_seq, "after_seq", least=0)
    if limit is not None:
        check_count(limit, "limit", least=1)
    rows = store.read(lambda uow: uow.messages.page(thread_id, after_seq=after_seq, limit=limit))
    decode = vocabulary.messages.decode
    with gc_paused():
        return [
            StoredMessage(seq, from_epoch(created_at), decode(thread_id, seq, role, meta, payload))
            for seq, created_at, role, meta, payload in rows
        ]
