"""Appends that wait at the same moment, and share a transaction."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from sqlalchemy.orm import Session

from threadlog.encoding.statement_size import STATEMENT_OVERHEAD
from threadlog.errors import (
    CommitOutcomeUnknownError,
    ConnectionFailedError,
    ConnectionLostError,
    NotWritableError,
    PoolTimeoutError,
    ThreadlogError,
    restored,
)
from threadlog.log.append import AppendRequest, Outcome, ThreadBusy

Work: TypeAlias = Callable[[Session, Sequence[AppendRequest]], list[Outcome]]
"""Runs appends in one transaction, and says what became of each."""

Run: TypeAlias = Callable[[Callable[[Session], list[Outcome]]], Awaitable[list[Outcome]]]
"""Runs synchronous work on a session of its own."""

# While so many groups run, the next append waits a turn of the event loop: for others that
# come in the same turn. With fewer it starts at once, so that one alone waits for nobody.
_AT_ONCE: Final = 2

# A group's most. Each number of threads is a statement of its own to prepare, and what one
# statement holds the others of its group wait for.
_MOST_APPENDS: Final = 64
_MOST_BYTES: Final = 1_000_000

# What says nothing against one append of a group more than against another.
_OF_ALL: Final = (
    CommitOutcomeUnknownError,
    ConnectionFailedError,
    ConnectionLostError,
    NotWritableError,
)


@dataclass(eq=False, slots=True)
class _PendingAppend:
    """One append, and who waits for it."""

    append: AppendRequest
    work: Work
    size: int | None
    """Bytes that its rows are in a statement; None where it needs a transaction of its own."""
    done: asyncio.Future[None]
    group: "_Batch | None" = None


@dataclass(eq=False)
class _Batch:
    """Appends whose transaction runs."""

    callers: Sequence[_PendingAppend]
    task: asyncio.Task[None] = field(init=False)
    cared_for: int = field(init=False)

    def __post_init__(self) -> None:
        self.cared_for = len(self.callers)
        for caller in self.callers:
            caller.group = self

    async def outlast(self, seconds: float) -> None:
        """Let it finish although a caller was cancelled; cancel it when nobody waits any more."""
        try:
            await asyncio.wait({self.task}, timeout=seconds)
        finally:
            self.cared_for -= 1
            if not self.cared_for:
                self.task.cancel()


class AppendBatcher:
    """Gives appends that wait to whatever connection is free, all that may go together.

    Nobody waits for company: an append that finds a connection goes. Those of one thread go
    in the order in which they came, one transaction after the other, and never keep two
    connections. A group does not wait for locks of others: what would, goes by itself, and so
    does each append of a group that the database refused.
    """

    def __init__(
        self,
        slots: asyncio.Semaphore,
        run: Run,
        grace_seconds: float,
        wait_seconds: float,
    ) -> None:
        """Take what gives out connections, and what runs work on one.

        Args:
            slots: one for each connection; shared with other work.
            run: runs work on a session, while a slot is held.
            wait_seconds: for how long an append may wait for its turn.
            grace_seconds: for how long a transaction may still run when its callers are
                cancelled.
        """
        self._slots = slots
        self._run = run
        self._grace_seconds = grace_seconds
        self._wait_seconds = wait_seconds
        self._most_bytes = _MOST_BYTES
        self._waiting: dict[str, deque[_PendingAppend]] = {}
        self._busy: set[str] = set()
        self._running: set[_Batch] = set()
        self._leader: asyncio.Task[None] | None = None
        self._refusal: Callable[[], ThreadlogError] | None = None

    async def put(self, append: AppendRequest, work: Work, statement_limit: int) -> None:
        """Append; returns when it is stored.

        Cancelling takes an append that waits out of the queue. One whose transaction runs is
        stored wholly or not at all.

        Args:
            append: what to append.
            work: runs appends; the same for all that are put here.
            statement_limit: the most bytes that one statement may have.

        Raises:
            RunAlreadyCompletedError: a message belongs to a completed run.
            PoolTimeoutError: its turn did not come for as long as one may wait.
            StorageError: the database refused or failed.
        """
        self._most_bytes = min(_MOST_BYTES, statement_limit)
        size = append.batches[0].size if len(append.batches) == 1 else None
        done = asyncio.get_running_loop().create_future()
        caller = _PendingAppend(append, work, size, done)
        if self._may_go(append.thread_id):
            await self._slots.acquire()  # returns at once: it is not locked
            self._start([caller])
        else:
            self._waiting.setdefault(append.thread_id, deque()).append(caller)
            self._ensure_dispatcher()
        if caller.group is None:  # sparing the timer where nobody waits
            self._limit_waiting(caller)
        try:
            await caller.done
        except asyncio.CancelledError:
            if caller.group is None:
                self._withdraw(caller)
            else:
                await caller.group.outlast(self._grace_seconds)
            raise

    def _limit_waiting(self, caller: _PendingAppend) -> None:
        timer = asyncio.get_running_loop().call_later(self._wait_seconds, self._give_up, caller)
        caller.done.add_done_callback(lambda _: timer.cancel())

    def _give_up(self, caller: _PendingAppend) -> None:
        """Tell an append that still waits that it has waited for too long."""
        if caller.group is None:
            self._withdraw(caller)
            reason = f"Connections, or the thread, were in use for {self._wait_seconds:g} s"
            error = PoolTimeoutError(reason)
            error.__cause__ = TimeoutError()
            _resolve(caller, error)

    def close(self, refusal: Callable[[], ThreadlogError]) -> None:
        """Refuse what waits, and what would have to wait again; let finish what runs."""
        self._refusal = refusal
        for callers in self._waiting.values():
            for caller in callers:
                _resolve(caller, refusal())
        self._waiting.clear()

    def _may_go(self, thread_id: str) -> bool:
        """Say whether an append goes at once, as it overtakes nobody and waits for nobody."""
        if self._waiting or thread_id in self._busy:
            return False
        return len(self._running) < _AT_ONCE and not self._slots.locked()

    def _has_free(self) -> bool:
        return any(thread_id not in self._busy for thread_id in self._waiting)

    def _ensure_dispatcher(self) -> None:
        """See to it that what waits, and may go, goes when connections are free."""
        if (self._leader is None or self._leader.done()) and self._has_free():
            self._leader = asyncio.create_task(self._take_slots())

    async def _take_slots(self) -> None:
        while self._has_free():
            await self._slots.acquire()
            callers = self._next_batch()
            if callers:
                self._start(callers)
            else:
                self._slots.release()

    def _start(self, callers: Sequence[_PendingAppend]) -> None:
        """Start the transaction of a group, whose slot is held."""
        group = _Batch(callers)
        self._running.add(group)
        self._busy.update(caller.append.thread_id for caller in callers)
        group.task = asyncio.create_task(self._run_batch(group))

    def _next_batch(self) -> list[_PendingAppend]:
        """Take what may go together out of the queue; of each thread what came first."""
        taken: list[_PendingAppend] = []
        room = self._most_bytes - STATEMENT_OVERHEAD
        for thread_id in [each for each in self._waiting if each not in self._busy]:
            callers, before = self._waiting[thread_id], len(taken)
            while callers and len(taken) < _MOST_APPENDS:
                size = callers[0].size
                if taken and (size is None or size > room):
                    break
                taken.append(callers.popleft())
                room = 0 if size is None else room - size
            if len(taken) > before:  # what is left goes behind other threads
                del self._waiting[thread_id]
                if callers:
                    self._waiting[thread_id] = callers
        return taken

    async def _run_batch(self, group: _Batch) -> None:
        """Run a group's transaction, tell its callers, and make way for the next."""
        appends = [caller.append for caller in group.callers]
        work = group.callers[0].work
        again: list[_PendingAppend] = []
        try:
            outcomes = await self._run(lambda session: work(session, appends))
            for caller, outcome in zip(group.callers, outcomes, strict=True):
                if isinstance(outcome, ThreadBusy):
                    again.append(caller)
                else:
                    _resolve(caller, outcome)
        except Exception as error:  # noqa: BLE001 - it is the callers' to handle
            again = self._split_failure(group.callers, error)
        finally:
            self._finish(group, again)

    def _split_failure(
        self, callers: Sequence[_PendingAppend], error: Exception
    ) -> list[_PendingAppend]:
        """Give an error to those whom it concerns; give those who are to try by themselves."""
        if len(callers) == 1:
            _resolve(callers[0], error)
        elif isinstance(error, _OF_ALL):
            for caller in callers:
                _resolve(caller, _copy(error))
        else:
            return list(callers)
        return []

    def _finish(self, group: _Batch, again: Iterable[_PendingAppend]) -> None:
        self._slots.release()
        self._running.discard(group)
        self._busy.difference_update(caller.append.thread_id for caller in group.callers)
        for caller in reversed([each for each in again if not each.done.done()]):
            self._put_back(caller)
        for caller in group.callers:
            if caller.group is group and not caller.done.done():
                caller.done.cancel()  # the group was cancelled itself: the program ends
        self._ensure_dispatcher()

    def _put_back(self, caller: _PendingAppend) -> None:
        """Let an append go by itself, before those of its thread that came later."""
        if self._refusal is not None:
            _resolve(caller, self._refusal())
            return
        caller.group, caller.size = None, None
        self._waiting.setdefault(caller.append.thread_id, deque()).appendleft(caller)
        self._limit_waiting(caller)

    def _withdraw(self, caller: _PendingAppend) -> None:
        callers = self._waiting.get(caller.append.thread_id)
        if callers is not None and caller in callers:
            callers.remove(caller)
            if not callers:
                del self._waiting[caller.append.thread_id]


def _resolve(caller: _PendingAppend, error: Exception | None) -> None:
    """Tell a caller, unless it was cancelled meanwhile."""
    if caller.done.done():
        return
    if error is None:
        caller.done.set_result(None)
    else:
        caller.done.set_exception(error)


def _copy(error: ThreadlogError) -> ThreadlogError:
    """Make an error that one of several callers may raise: tracebacks are not to be shared."""
    copy = restored(type(error), error.args, dict(vars(error)))
    copy.__cause__ = error
    return copy
