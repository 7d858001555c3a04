"""Put appends that wait at the same moment into one transaction."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Final, Generic, TypeVar

from threadlog.encoding.statement_size import STATEMENT_OVERHEAD
from threadlog.errors import (
    CommitOutcomeUnknownError,
    ConnectionFailedError,
    ConnectionLostError,
    NotWritableError,
    PoolTimeoutError,
    StorageError,
    ThreadlogError,
    restored,
)
from threadlog.log.append import AppendRequest, ThreadBusy, append_together
from threadlog.runtime.client import (
    GRACE_SECONDS,
    ConnectionPool,
    EngineClient,
    finish_abandoned,
    pausing,
)
from threadlog.runtime.external import closed_before

_LOG: Final = logging.getLogger(__name__)

# While so many batches run, an append goes to the queue even if its thread and a connection are
# free, so that others can join its transaction.
_AT_ONCE: Final = 2

# The most of a batch. Each number of threads is a statement of its own to prepare, and the
# time for one statement is what the others of its batch wait for.
_MOST_APPENDS: Final = 64
_MOST_BYTES: Final = 1_000_000

# Errors that concern every append of a batch.
_OF_ALL: Final = (
    CommitOutcomeUnknownError,
    ConnectionFailedError,
    ConnectionLostError,
    NotWritableError,
)


@dataclass(eq=False, slots=True)
class QueuedAppend:
    """One append of a queue."""

    request: AppendRequest

    def busy_reason(self, seconds: float) -> str:
        """Return the reason of the error of an append that waited for so long."""
        thread_id = self.request.thread_id
        return f"No connection was free, or thread id {thread_id!r} was busy, for {seconds:g} s"


AppendT = TypeVar("AppendT", bound=QueuedAppend)


class AppendQueue(Generic[AppendT]):
    """The appends that wait, and the threads that the running batches append to.

    Appends to one thread run in the order of the calls, one transaction after the other.
    """

    def __init__(self) -> None:
        """Create an empty queue."""
        self.waiting: dict[str, deque[AppendT]] = {}
        """By thread id."""
        self._busy: set[str] = set()
        self.running = 0
        """How many batches run."""

    def first_runnable(self) -> AppendT | None:
        """Return the first append that waits and whose thread is not in use."""
        return next((q[0] for key, q in self.waiting.items() if key not in self._busy), None)

    def may_start(self, thread_id: str) -> bool:
        """Return True if an append overtakes no other and need not wait for its thread."""
        return not self.waiting and thread_id not in self._busy and self.running < _AT_ONCE

    def put(self, append: AppendT) -> None:
        """Add an append behind the others."""
        self.waiting.setdefault(append.request.thread_id, deque()).append(append)

    def put_back(self, append: AppendT) -> None:
        """Add an append that is to run by itself, before those of its thread that came later."""
        append.request.size = None
        self.waiting.setdefault(append.request.thread_id, deque()).appendleft(append)

    def withdraw(self, append: AppendT) -> bool:
        """Remove an append; return False if it does not wait."""
        thread_id = append.request.thread_id
        appends = self.waiting.get(thread_id, ())
        if append not in appends:
            return False
        self.waiting[thread_id].remove(append)
        if not appends:
            del self.waiting[thread_id]
        return True

    def clear(self) -> list[AppendT]:
        """Remove all appends, and return them."""
        appends = [append for waiting in self.waiting.values() for append in waiting]
        self.waiting.clear()
        return appends

    def next_batch(self, statement_limit: int) -> list[AppendT]:
        """Remove appends that fit together from the queue, the first of each thread first."""
        taken: list[AppendT] = []
        room = min(_MOST_BYTES, statement_limit) - STATEMENT_OVERHEAD
        for thread_id in [each for each in self.waiting if each not in self._busy]:
            appends, before = self.waiting[thread_id], len(taken)
            while appends and len(taken) < _MOST_APPENDS:
                size = appends[0].request.size
                if taken and (size is None or size > room):
                    break
                taken.append(appends.popleft())
                room = 0 if size is None else room - size
            if len(taken) > before:  # the rest waits after other threads
                del self.waiting[thread_id]
                if appends:
                    self.waiting[thread_id] = appends
        return taken

    def start(self, appends: Iterable[AppendT]) -> None:
        """Note that the transaction of a batch runs."""
        self.running += 1
        for append in appends:
            self._busy.add(append.request.thread_id)

    def finish(self, appends: Iterable[AppendT]) -> None:
        """Note that the transaction of a batch has ended."""
        self.running -= 1
        for append in appends:
            self._busy.discard(append.request.thread_id)


def must_run_alone(appends: Sequence[QueuedAppend], error: Exception) -> bool:
    """Return True, and log it, if the appends of a batch that failed are to run one by one."""
    if len(appends) == 1 or isinstance(error, _OF_ALL):
        return False
    reason = error.reason if isinstance(error, StorageError) else type(error).__name__
    _LOG.warning("Running the %d appends of a batch one by one: %s", len(appends), reason)
    return True


def copy_error(error: Exception) -> Exception:
    """Copy an error that one of several callers may raise: tracebacks are not to be shared."""
    if not isinstance(error, ThreadlogError):
        return error
    copy = restored(type(error), error.args, dict(vars(error)))
    copy.__cause__ = error
    return copy


# Called for each append of a batch, where a comprehension would be one function more.
_REQUEST: Final = attrgetter("request")


@dataclass(eq=False, slots=True)
class _PendingAppend(QueuedAppend):
    """One append, and the future that its caller waits for."""

    done: asyncio.Future[range]
    batch: "_Batch | None" = None


@dataclass(eq=False)
class _Batch:
    """Appends whose transaction runs."""

    appends: Sequence[_PendingAppend]
    waiting: int
    """How many of the callers were not cancelled."""

    task: asyncio.Task[None] = field(init=False)

    async def finish_after_cancellation(self) -> None:
        """Wait for the transaction, but not for other attempts; cancel it after the last caller."""
        self.waiting -= 1
        if not self.waiting:
            await finish_abandoned(self.task)
        elif self.task not in pausing:
            await asyncio.wait({self.task}, timeout=GRACE_SECONDS)


class AppendBatcher:
    """Runs appends as soon as a connection is free, and those that wait in one transaction.

    No batching delay: an append starts as soon as a connection is free. Appends to one thread
    run in the order of the calls, one transaction after the other, and never keep two
    connections. A batch does not wait for locks of other transactions: an append that would
    have to wait is run again alone, as is each append of a batch that the database refused.
    """

    def __init__(self, client: EngineClient, pool: ConnectionPool) -> None:
        """Create a batcher.

        Args:
            client: the open client; its name stands in errors.
            pool: the client's writing connections; their slots are shared with other work.
        """
        self._client = client
        self.pool = pool
        self._queue: AppendQueue[_PendingAppend] = AppendQueue()
        self._batches: set[_Batch] = set()  # asyncio itself does not keep tasks
        self._dispatcher: asyncio.Task[None] | None = None
        self._is_closed = False

    async def submit(self, request: AppendRequest) -> range:
        """Append; return the seqs of the messages when they are durable.

        Cancelling removes an append that waits. One whose transaction runs is stored wholly or
        not at all.

        Raises:
            RunAlreadyCompletedError: a message belongs to a completed run.
            PoolTimeoutError: no connection was free, or the thread was in use, for too long.
            StorageError: the database refused or failed.
        """
        home = self._client.home
        if home is not None and asyncio.get_running_loop() is not home.loop:
            return await home.run(self._client, partial(self.submit, request))
        done = asyncio.get_running_loop().create_future()
        append = _PendingAppend(request, done)
        if self._queue.may_start(request.thread_id) and not self.pool.slots.locked():
            await self.pool.slots.acquire()  # returns at once: it is not locked
            self._start([append])
        else:
            self._queue.put(append)
            self._ensure_dispatcher()
        if append.batch is None:  # no timer where nobody waits
            self._limit_waiting(append)
        try:
            return await append.done
        except asyncio.CancelledError:
            request.is_withdrawn = True
            if append.batch is None:
                self._queue.withdraw(append)
            else:
                await append.batch.finish_after_cancellation()
            raise

    def close(self) -> None:
        """Refuse queued appends; batches that run are finished."""
        self._is_closed = True
        for append in self._queue.clear():
            _resolve(append, closed_before(self._client))

    def _limit_waiting(self, append: _PendingAppend) -> None:
        seconds = self.pool.wait_seconds
        timer = asyncio.get_running_loop().call_later(seconds, self._give_up, append)
        append.done.add_done_callback(lambda _: timer.cancel())

    def _give_up(self, append: _PendingAppend) -> None:
        if append.batch is None:
            self._queue.withdraw(append)
            seconds = self.pool.wait_seconds
            error = PoolTimeoutError(append.busy_reason(seconds))
            error.__cause__ = TimeoutError()
            _resolve(append, error)

    def _ensure_dispatcher(self) -> None:
        """Start the dispatcher if appends wait that may run, and it does not run yet."""
        if self._dispatcher is not None and not self._dispatcher.done():
            return
        if self._queue.first_runnable() is not None:
            self._dispatcher = asyncio.create_task(self._dispatch())

    async def _dispatch(self) -> None:
        while self._queue.first_runnable() is not None:
            await self.pool.slots.acquire()
            appends = self._queue.next_batch(self.pool.runner.statement_limit)
            if appends:
                self._start(appends)
            else:
                self.pool.slots.release()

    def _start(self, appends: Sequence[_PendingAppend]) -> None:
        """Start the transaction of a batch, whose slot is held."""
        batch = _Batch(appends, waiting=len(appends))
        self._batches.add(batch)
        self._queue.start(appends)
        for append in appends:
            append.batch = batch
        batch.task = asyncio.create_task(self._run_batch(batch))

    async def _run_batch(self, batch: _Batch) -> None:
        """Run the transaction of a batch, resolve its appends, and start the next batch."""
        requests = tuple(map(_REQUEST, batch.appends))
        again: Sequence[_PendingAppend] = ()
        try:
            outcomes = await self.pool.run(append_together, requests)
            for append, outcome in zip(batch.appends, outcomes, strict=True):
                if isinstance(outcome, ThreadBusy):
                    again = [*again, append]
                else:
                    _resolve(append, outcome)
        except Exception as error:  # noqa: BLE001 - it is the callers' to handle
            if must_run_alone(batch.appends, error):
                again = batch.appends
            else:
                for append in batch.appends:
                    _resolve(append, copy_error(error) if len(batch.appends) > 1 else error)
        finally:
            self._finish(batch, again)

    def _finish(self, batch: _Batch, again: Iterable[_PendingAppend]) -> None:
        self._batches.discard(batch)
        self._queue.finish(batch.appends)
        for append in reversed(tuple(again)):
            if not append.done.done():
                self._put_back(append)
        for append in batch.appends:
            if append.batch is batch and not append.done.done():
                append.done.cancel()  # the batch was cancelled itself: the application ends
        if self._queue.waiting:
            self._ensure_dispatcher()

    def _put_back(self, append: _PendingAppend) -> None:
        """Queue an append to run by itself, before those of its thread that came later."""
        if self._is_closed:
            _resolve(append, closed_before(self._client))
            return
        append.batch = None
        self._queue.put_back(append)
        self._limit_waiting(append)


def _resolve(append: _PendingAppend, outcome: range | Exception) -> None:
    """Set the result of an append, unless its caller was cancelled meanwhile."""
    if append.done.done():
        return
    if isinstance(outcome, range):
        append.done.set_result(outcome)
    else:
        append.done.set_exception(outcome)
