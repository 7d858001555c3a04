"""Append messages to threads: all of an append or none, exactly once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, Final, TypeAlias, cast

from threadlog.encoding.statement_size import (
    ROW_OVERHEAD,
    STATEMENT_OVERHEAD,
    VALUE_OVERHEAD,
    Batch,
    in_batches,
)
from threadlog.encoding.validation import check_id, check_list
from threadlog.errors import RunAlreadyCompletedError
from threadlog.events import BatchSent
from threadlog.log.conditions import AppendConditions, require_control
from threadlog.log.framework_types import FrameworkTypes
from threadlog.log.message_codec import MessageT
from threadlog.log.owners import lock_for, resolve_owner
from threadlog.log.search_rows import insert_search_rows, search_rows
from threadlog.repositories import UnitOfWork
from threadlog.repositories.log.message import NewMessage, PlacedMessages
from threadlog.repositories.log.search import SearchValues
from threadlog.repositories.log.thread import NO_TAIL, ThreadTail
from threadlog.runtime.batcher import Busy
from threadlog.runtime.transactions import TransactionRunner

# Messages that are appended in one statement, and bytes of their rows: its text differs with their
# number, and the server copies long ones more often. The ids stand in it seven times.
_FEW: Final = 8
_SHORT: Final = 200_000
_IDS: Final = 8_000

# Run ids in one statement: few enough for every server.
_RUNS_AT_ONCE: Final = 500

# Called for each batch of an append, where a lambda would be one function more.
_ROWS: Final = attrgetter("rows")


@dataclass
class AppendRequest:
    """One caller's messages for one thread, checked and encoded."""

    thread_id: str
    messages: Sequence[NewMessage]
    """In order."""

    batches: Sequence[Batch[NewMessage]]
    """The same messages, each batch for one statement."""

    size: int | None = None
    """Bytes of the rows in a statement; None if the append needs a transaction of its own."""

    conditions: AppendConditions | None = None
    """Conditions that are checked under the thread's lock; None if there are none."""

    is_withdrawn: bool = False
    """True if the caller was cancelled: no further attempt stores the messages."""

    @cached_property
    def run_ids(self) -> list[str]:
        """The runs that the messages belong to, in order of their ids."""
        return sorted({message.run_id for message in self.messages if message.run_id})

    def busy_reason(self, seconds: float) -> str:
        """Return the reason of the `PoolTimeoutError` of an append that waited for so long."""
        thread = f"thread id {self.thread_id!r}"
        return f"No connection was free, or {thread} was busy, for {seconds:g} s"


Outcome: TypeAlias = range | RunAlreadyCompletedError | Busy
"""The outcome of one append of a batch; the seqs of its messages if it is stored. `Busy` if the
thread is locked by another transaction, or is new.
"""


def encode_append(
    types: FrameworkTypes[MessageT, Any, Any],
    thread_id: str,
    messages: Sequence[MessageT],
    statement_limit: int,
    conditions: AppendConditions | None = None,
) -> AppendRequest | None:
    """Check and encode the arguments of `Checkpointer.append`.

    Returns:
        The request; None if there are no messages.
    """
    check_list(messages, "messages")
    if not messages:
        return None
    check_id(thread_id)
    if conditions is not None:
        conditions.check_arguments(thread_id)
    rows = types.messages.encode(messages)
    batches = _divide(rows, statement_limit)
    size = batches[0].size if len(batches) == 1 and conditions is None else None
    return AppendRequest(thread_id, rows, batches, size, conditions)


def append_messages(
    transactions: TransactionRunner,
    types: FrameworkTypes[MessageT, Any, Any],
    thread_id: str,
    messages: Sequence[MessageT],
    conditions: AppendConditions | None = None,
) -> list[int]:
    """Append messages, all or none; see `Checkpointer.append`."""
    request = encode_append(types, thread_id, messages, transactions.statement_limit, conditions)
    if request is None:
        return []
    runner, _ = resolve_owner(transactions, None)  # the scope is among the conditions
    (outcome,) = append_together(runner, [request])
    if isinstance(outcome, RunAlreadyCompletedError):
        raise outcome
    return list(cast("range", outcome))


def append_together(
    transactions: TransactionRunner, requests: Sequence[AppendRequest]
) -> list[Outcome]:
    """Run appends in one transaction, each all or none; a refused one does not affect the others.

    Several need sessions that read at READ COMMITTED, and one batch each, all of which fit
    into one statement.

    Returns:
        The outcome of each. One alone is never `Busy`: it waits for its thread.
    """
    facts = transactions.facts
    transaction = AppendTransaction(requests, facts.statement_limit, has_search=facts.has_search)
    if transactions.on_event is not None:
        transactions.on_event(BatchSent(len(requests)))
    return transactions.write(transaction, idempotent=True)


class AppendTransaction:
    """Appends as one unit of work, which may be run again after a lost COMMIT.

    After a lost COMMIT it looks, under the threads' locks, whether the rows that it inserted
    are there. The lock also waits for the lost transaction, if the server still has it. Rows
    of the same bytes at the same seqs, which another writer inserted in between, would be
    taken for these.
    """

    def __init__(
        self,
        requests: Sequence[AppendRequest],
        statement_limit: int,
        *,
        has_search: bool = False,
    ) -> None:
        """Create the unit of work; see `append_together`."""
        self._requests = requests
        self._statement_limit = statement_limit
        self._search: list[list[list[SearchValues]]] | None = None
        """The rows of the search index, by request and message; None if the database has none."""
        if has_search:
            self._search = [
                [search_rows(message, statement_limit) for message in request.messages]
                for request in requests
            ]
        self._is_short = (
            len(requests) == 1
            and len(requests[0].messages) <= _FEW
            and len(requests[0].batches) == 1
            and len(requests[0].run_ids) <= 1
            and requests[0].conditions is None
            and requests[0].batches[0].size + _IDS <= min(statement_limit, _SHORT)
        )
        self._stored: dict[int, range] = {}
        """By number of the request: the seqs of the messages that are found to be stored."""
        self._after_seqs: dict[int, int] = {}
        """By number of the request: the seq that its messages follow, in the latest attempt."""
        self._doubtful: dict[int, int] = {}
        """As `_after_seqs`, for an attempt whose COMMIT has an unknown outcome."""
        self._lost_commits = 0

    def __call__(self, uow: UnitOfWork) -> list[Outcome]:
        """Lock the threads, and insert the messages that are not stored yet."""
        if len(uow.lost_commits) > self._lost_commits:
            self._lost_commits, self._doubtful = len(uow.lost_commits), self._after_seqs
        # One statement cannot look for messages of a lost COMMIT.
        in_one = self._is_short and not uow.lost_commits and uow.can_lock_and_append
        if in_one and (seqs := self._lock_and_append(uow)):
            return [seqs]
        tails, completed = self._lock(uow, is_new=in_one)
        self._find_stored(uow)
        self._after_seqs = {}
        if self._requests[0].conditions is not None:
            self._check_conditions(uow, tails)
        ends = {thread_id: tail.allocated_seq for thread_id, tail in tails.items()}
        outcomes = [self._place(number, ends, completed) for number in range(len(self._requests))]
        self._insert(uow)
        if self._search is not None:
            self._insert_search(uow, self._search)
        written = (self._requests[number].thread_id for number in self._after_seqs)
        if touched := {thread_id for thread_id in written if tails[thread_id].needs_touch}:
            uow.threads.touch(*touched)
        if self._requests[0].conditions is not None and self._after_seqs:
            self._store_conditions(uow, tails, outcomes)
        return outcomes

    def _lock_and_append(self, uow: UnitOfWork) -> range | None:
        """Lock the thread and insert the messages in one statement.

        Returns:
            Their seqs; None if there is no such thread, or the messages' run is completed.
        """
        (request,) = self._requests
        run_id = next(iter(request.run_ids), None)
        search = self._search[0] if self._search and uow.can_index_appended else ()
        tail = uow.messages.lock_and_append(request.thread_id, request.messages, run_id, search)
        if tail is None:
            return None
        self._after_seqs = {0: tail.last_seq}
        if self._search is not None and not search:
            self._insert_search(uow, self._search)
        if tail.needs_touch:
            uow.threads.touch(request.thread_id)
        return _seqs_after(tail.last_seq, request)

    def _lock(
        self, uow: UnitOfWork, *, is_new: bool
    ) -> tuple[Mapping[str, ThreadTail], set[tuple[str, str]]]:
        """Lock the threads, and return their ends and the completed runs among the requests'."""
        if len(self._requests) == 1:
            return _lock_one(uow, self._requests[0], is_new=is_new)
        # Messages that may be stored already must not be left to another unit of work, which
        # would not know of it.
        wait = bool(self._doubtful)
        tails = uow.threads.lock_tails({r.thread_id for r in self._requests}, wait=wait)
        runs = {(r.thread_id, run) for r in self._requests for run in r.run_ids}
        return tails, uow.runs.completed_among(key for key in runs if key[0] in tails)

    def _find_stored(self, uow: UnitOfWork) -> None:
        """Find the requests that an attempt stored whose COMMIT was lost."""
        for number, after_seq in self._doubtful.items():
            request = self._requests[number]
            placed = PlacedMessages(request.thread_id, after_seq, request.messages)
            if uow.messages.are_stored(placed):
                self._stored[number] = _seqs_after(after_seq, request)
        self._doubtful = {}

    def _check_conditions(self, uow: UnitOfWork, tails: Mapping[str, ThreadTail]) -> None:
        """Check the conditions of the only request, or find that its messages are stored.

        Not if they were stored by an attempt whose COMMIT was lost: then its own messages and key
        would fail the conditions.
        """
        (request,) = self._requests
        if request.conditions is None or self._stored:
            return
        tail = tails[request.thread_id]
        stored = request.conditions.check_tail(request.thread_id, tail, len(request.messages))
        if stored is not None:
            placed = PlacedMessages(request.thread_id, stored[0] - 1, request.messages)
            request.conditions.check_replay(uow, placed)
            self._stored[0] = stored

    def _store_conditions(
        self, uow: UnitOfWork, tails: Mapping[str, ThreadTail], outcomes: Sequence[Outcome]
    ) -> None:
        """Store the owner and the key of the only request, whose messages were inserted."""
        (request,), (seqs,) = self._requests, outcomes
        if request.conditions is not None and isinstance(seqs, range):
            request.conditions.store(uow, request.thread_id, tails[request.thread_id], seqs)

    def _place(self, number: int, ends: dict[str, int], completed: set[tuple[str, str]]) -> Outcome:
        """Allocate the seqs of a request, unless it is stored or cannot be."""
        request = self._requests[number]
        if number in self._stored:
            return self._stored[number]
        if request.is_withdrawn:
            return range(0)
        if request.thread_id not in ends:
            return Busy()
        for run_id in request.run_ids:
            if (request.thread_id, run_id) in completed:
                return RunAlreadyCompletedError(thread_id=request.thread_id, run_id=run_id)
        self._after_seqs[number] = ends[request.thread_id]
        ends[request.thread_id] += len(request.messages)
        return _seqs_after(self._after_seqs[number], request)

    def _insert(self, uow: UnitOfWork) -> None:
        if len(self._requests) == 1:
            for number, seq in self._after_seqs.items():
                request = self._requests[number]
                uow.messages.insert(request.thread_id, seq, map(_ROWS, request.batches))
        elif self._after_seqs:
            placed = [(self._requests[number], seq) for number, seq in self._after_seqs.items()]
            uow.messages.insert_together(
                PlacedMessages(request.thread_id, seq, request.messages) for request, seq in placed
            )

    def _insert_search(
        self, uow: UnitOfWork, found: Sequence[Sequence[Sequence[SearchValues]]]
    ) -> None:
        """Insert the rows of the search index for the messages that were inserted."""
        placed = (
            (self._requests[number].thread_id, after_seq + place, rows)
            for number, after_seq in self._after_seqs.items()
            for place, rows in enumerate(found[number], start=1)
        )
        insert_search_rows(uow, placed, self._statement_limit)


def _lock_one(
    uow: UnitOfWork, request: AppendRequest, *, is_new: bool
) -> tuple[Mapping[str, ThreadTail], set[tuple[str, str]]]:
    """Lock one thread, creating it if need be, and look for completed runs."""
    run_ids, conditions = request.run_ids, request.conditions
    control = None if conditions is None else conditions.keys
    if control is not None:
        require_control(uow)
    # In a session of the application a refused append would leave a new thread behind.
    creates = conditions is None or not conditions.needs_thread
    if conditions is not None and conditions.scope is not None:
        scope = conditions.scope
        locked = lock_for(uow, request.thread_id, scope, adopt=False, creates=creates)
        if locked is None:
            return {request.thread_id: NO_TAIL}, set()
        if locked.owner is None:
            uow.owners.insert(request.thread_id, scope)
    tail = uow.threads.lock_tail(
        request.thread_id,
        run_ids[:_RUNS_AT_ONCE],
        is_new=is_new,
        control=control,
        # Its key encrypts the messages.
        with_owner=uow.encryption is not None and uow.has_control,
        creates=creates,
    )
    if uow.encryption is not None:
        named = None if conditions is None else conditions.owner
        uow.key_owners.setdefault(request.thread_id, tail.owner or named)
    completed = tail.completed_run
    for start in range(_RUNS_AT_ONCE, len(run_ids), _RUNS_AT_ONCE):
        some = run_ids[start : start + _RUNS_AT_ONCE]
        completed = completed or uow.threads.lock_tail(request.thread_id, some).completed_run
    found = set() if completed is None else {(request.thread_id, completed)}
    return {request.thread_id: tail}, found


def _seqs_after(seq: int, request: AppendRequest) -> range:
    """Return the seqs of a request's messages, which follow a seq."""
    return range(seq + 1, seq + 1 + len(request.messages))


def _divide(rows: list[NewMessage], statement_limit: int) -> list[Batch[NewMessage]]:
    """Divide rows into batches; exact sizes are computed only where a bound does not fit."""
    bound = 0
    for row in rows:
        metadata = len(json.dumps(row.metadata)) if row.metadata else 0
        bound += 2 * (len(row.payload) + metadata + VALUE_OVERHEAD) + ROW_OVERHEAD
    if bound <= statement_limit - STATEMENT_OVERHEAD:
        return [Batch(rows, bound)]
    return in_batches(rows, statement_limit)
