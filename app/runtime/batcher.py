"""Run requests that wait at the same moment in one transaction."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from threadlog.databases.base import Backend
from threadlog.encoding.statement_size import STATEMENT_OVERHEAD
from threadlog.errors import (
    CheckpointerLockTimeoutError,
    CommitOutcomeUnknownError,
    ConnectionFailedError,
    ConnectionLostError,
    NotWritableError,
    PoolTimeoutError,
    StorageError,
    ThreadlogError,
    restored,
)
from threadlog.events import ConnectionAwaited
from threadlog.runtime.client import (
    GRACE_SECONDS,
    ConnectionPool,
    EngineClient,
    finish_abandoned,
    pausing,
)
from threadlog.runtime.external import closed_before, not_open
from threadlog.runtime.transactions import TransactionRunner

_LOG: Final = logging.getLogger(__name__)

# While so many batches run, a request goes to the queue even if its thread and a connection are
# free, so that others can join its transaction.
_AT_ONCE: Final = 2

# The most of a batch. Each number of threads is a statement of its own to prepare, and the
# time for one statement is what the others of its batch wait for.
_MOST_REQUESTS: Final = 64
_MOST_BYTES: Final = 1_000_000

# Errors that concern every request of a batch.
_OF_ALL: Final = (
    CommitOutcomeUnknownError,
    ConnectionFailedError,
    ConnectionLostError,
    NotWritableError,
)


class Request(Protocol):
    """Work that can share a transaction with other work of its kind."""

    thread_id: str
    """Requests of one thread run in the order of the calls, one transaction after the other."""

    size: int | None
    """Bytes of the rows in a statement; None if the request needs a transaction of its own."""

    is_withdrawn: bool
    """True if the caller was cancelled."""

    def busy_reason(self, seconds: float) -> str:
        """Return the reason of the `PoolTimeoutError` of a request that waited for so long."""


class Busy:
    """The outcome of a request in a batch that would have waited for a lock; it wrote nothing."""


RequestT = TypeVar("RequestT", bound=Request)
ResultT = TypeVar("ResultT")


@dataclass(eq=False, slots=True)
class QueuedRequest(Generic[RequestT]):
    """One request of a queue."""

    request: RequestT


QueuedT = TypeVar("QueuedT", bound=QueuedRequest[Any])


class RequestQueue(Generic[QueuedT]):
    """The requests that wait, and the threads of the batches that run."""

    def __init__(self) -> None:
        """Create an empty queue."""
        self.waiting: dict[str, deque[QueuedT]] = {}
        """By thread id."""
        self._busy: set[str] = set()
        self.running = 0
        """How many batches run."""

    def first_runnable(self) -> QueuedT | None:
        """Return the first request that waits and whose thread is not in use."""
        return next((q[0] for key, q in self.waiting.items() if key not in self._busy), None)

    def may_start(self, thread_id: str) -> bool:
        """Return True if a request overtakes no other and need not wait for its thread."""
        return not self.waiting and thread_id not in self._busy and self.running < _AT_ONCE

    def put(self, queued: QueuedT) -> None:
        """Add a request behind the others."""
        self.waiting.setdefault(queued.request.thread_id, deque()).append(queued)

    def put_back(self, queued: QueuedT) -> None:
        """Add a request that is to run by itself, before those of its thread that came later."""
        queued.request.size = None
        self.waiting.setdefault(queued.request.thread_id, deque()).appendleft(queued)

    def withdraw(self, queued: QueuedT) -> bool:
        """Remove a request; return False if it does not wait."""
        thread_id = queued.request.thread_id
        waiting = self.waiting.get(thread_id, ())
        if queued not in waiting:
            return False
        self.waiting[thread_id].remove(queued)
        if not waiting:
            del self.waiting[thread_id]
        return True

    def clear(self) -> list[QueuedT]:
        """Remove all requests, and return them."""
        removed = [queued for waiting in self.waiting.values() for queued in waiting]
        self.waiting.clear()
        return removed

    def next_batch(self, statement_limit: int) -> list[QueuedT]:
        """Remove requests that fit together from the queue, the first of each thread first."""
        taken: list[QueuedT] = []
        room = min(_MOST_BYTES, statement_limit) - STATEMENT_OVERHEAD
        for thread_id in [each for each in self.waiting if each not in self._busy]:
            waiting, before = self.waiting[thread_id], len(taken)
            while waiting and len(taken) < _MOST_REQUESTS:
                size = waiting[0].request.size
                if taken and (size is None or size > room):
                    break
                taken.append(waiting.popleft())
                room = -1 if size is None else room - size  # -1: no room for one of size 0
            if len(taken) > before:  # the rest waits after other threads
                del self.waiting[thread_id]
                if waiting:
                    self.waiting[thread_id] = waiting
        return taken

    def start(self, batch: Iterable[QueuedT]) -> None:
        """Note that the transaction of a batch runs."""
        self.running += 1
        for queued in batch:
            self._busy.add(queued.request.thread_id)

    def finish(self, batch: Iterable[QueuedT]) -> None:
        """Note that the transaction of a batch has ended."""
        self.running -= 1
        for queued in batch:
            self._busy.discard(queued.request.thread_id)


def must_run_alone(batch: Sequence[QueuedRequest[Any]], error: Exception, backend: Backend) -> bool:
    """Return True, and log it, if the requests of a batch that failed are to run one by one."""
    if len(batch) == 1 or isinstance(error, _OF_ALL):
        return False
    if backend.embedded and isinstance(error, CheckpointerLockTimeoutError):
        return False  # the whole database is locked
    reason = error.reason if isinstance(error, StorageError) else type(error).__name__
    _LOG.warning("Running the %d calls of a batch one by one: %s", len(batch), reason)
    return True


def copy_error(error: Exception) -> Exception:
    """Copy an error that one of several callers may raise: tracebacks are not to be shared."""
    if not isinstance(error, ThreadlogError):
        return error
    copy = restored(type(error), error.args, dict(vars(error)))
    copy.__cause__ = error
    return copy


# Called for each request of a batch, where a comprehension would be one function more.
_REQUEST: Final = attrgetter("request")


@dataclass(eq=False, slots=True)
class _Pending(QueuedRequest[RequestT]):
    """One request, and the future that its caller waits for."""

    done: asyncio.Future[Any]
    batch: "_Batch[RequestT] | None" = None
    no_connection_since: float | None = None
    """When it began to wait for a connection; None if one was free, or it waits for its thread."""


@dataclass(eq=False)
class _Batch(Generic[RequestT]):
    """Requests whose transaction runs."""

    requests: Sequence[_Pending[RequestT]]
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


class Batcher(Generic[RequestT, ResultT]):
    """Runs requests as soon as a connection is free, and those that wait in one transaction.

    No batching delay: a request starts as soon as a connection is free. Requests of one thread
    run in the order of the calls, one transaction after the other, and never keep two
    connections. A request of a batch that would have to wait for another transaction's lock is
    run again alone, as is each request of a batch that the database refused.
    """

    def __init__(
        self,
        client: EngineClient,
        pool: ConnectionPool,
        run_together: Callable[[TransactionRunner, Sequence[RequestT]], Sequence[Any]],
    ) -> None:
        """Create a batcher.

        Args:
            client: the open client; its name stands in errors.
            pool: the client's writing connections; their slots are shared with other work.
            run_together: runs requests in one transaction; returns the result of each, an error
                or `Busy`.
        """
        self._client = client
        self.pool = pool
        self._run_together = run_together
        self._queue: RequestQueue[_Pending[RequestT]] = RequestQueue()
        self.waiting = self._queue.waiting
        """The requests that wait, by thread id: empty if a request would wait behind no other."""
        self._batches: set[_Batch[RequestT]] = set()  # asyncio itself does not keep tasks
        self._dispatcher: asyncio.Task[None] | None = None
        self._is_closed = False

    async def submit(self, request: RequestT) -> ResultT:
        """Run a request; return its result when it is durable.

        Cancelling removes a request that waits. One whose transaction runs is stored wholly or
        not at all.

        Raises:
            PoolTimeoutError: no connection was free, or the thread was in use, for too long.
            NotOpenError: the client is not open.
            ThreadlogError: the request was refused, or the database failed.
        """
        home = self._client.home
        if home is None:
            raise not_open(self._client)
        if asyncio.get_running_loop() is not home.loop:
            return await home.run(self._client, partial(self.submit, request))
        done = asyncio.get_running_loop().create_future()
        queued = _Pending(request, done)
        if self._queue.may_start(request.thread_id) and not self.pool.slots.locked():
            await self.pool.slots.acquire()  # returns at once: it is not locked
            self._start([queued])
        else:
            self._queue.put(queued)
            self._ensure_dispatcher()
        if queued.batch is None:  # no timer where nobody waits
            self._limit_waiting(queued)
            if self.pool.slots.locked():
                queued.no_connection_since = time.monotonic()
        try:
            return cast("ResultT", await queued.done)
        except asyncio.CancelledError:
            request.is_withdrawn = True
            if queued.batch is None:
                self._queue.withdraw(queued)
            else:
                await queued.batch.finish_after_cancellation()
            raise

    def close(self) -> None:
        """Refuse queued requests; batches that run are finished."""
        self._is_closed = True
        for queued in self._queue.clear():
            _resolve(queued, closed_before(self._client))

    def _limit_waiting(self, queued: _Pending[RequestT]) -> None:
        seconds = self.pool.wait_seconds
        timer = asyncio.get_running_loop().call_later(seconds, self._give_up, queued)
        queued.done.add_done_callback(lambda _: timer.cancel())

    def _give_up(self, queued: _Pending[RequestT]) -> None:
        if queued.batch is None:
            self._queue.withdraw(queued)
            if queued.no_connection_since is not None:
                self._report_wait(queued.no_connection_since)
            seconds = self.pool.wait_seconds
            error = PoolTimeoutError(queued.request.busy_reason(seconds))
            error.__cause__ = TimeoutError()
            _resolve(queued, error)

    def _report_wait(self, since: float) -> None:
        if self.pool.runner.on_event is not None:
            self.pool.runner.on_event(ConnectionAwaited(time.monotonic() - since))

    def _ensure_dispatcher(self) -> None:
        """Start the dispatcher if requests wait that may run, and it does not run yet."""
        if self._client.writing is not self.pool:
            self.close()  # no slot of a closed client is free again
        if self._dispatcher is not None and not self._dispatcher.done():
            return
        if self._queue.first_runnable() is not None:
            self._dispatcher = asyncio.create_task(self._dispatch())

    async def _dispatch(self) -> None:
        while self._queue.first_runnable() is not None:
            await self.pool.slots.acquire()
            if self._client.writing is not self.pool:
                self.close()  # its connections may be closed
            batch = self._queue.next_batch(self.pool.runner.statement_limit)
            if batch:
                self._start(batch)
            else:
                self.pool.slots.release()

    def _start(self, requests: Sequence[_Pending[RequestT]]) -> None:
        """Start the transaction of a batch, whose slot is held."""
        batch = _Batch(requests, waiting=len(requests))
        self._batches.add(batch)
        self._queue.start(requests)
        for queued in requests:
            queued.batch = batch
            if queued.no_connection_since is not None:
                self._report_wait(queued.no_connection_since)
                queued.no_connection_since = None
        batch.task = asyncio.create_task(self._run_batch(batch))

    async def _run_batch(self, batch: _Batch[RequestT]) -> None:
        """Run the transaction of a batch, resolve its requests, and start the next batch."""
        requests = tuple(map(_REQUEST, batch.requests))
        again: Sequence[_Pending[RequestT]] = ()
        try:
            outcomes = await self.pool.run(self._run_together, requests)
            for queued, outcome in zip(batch.requests, outcomes, strict=True):
                if isinstance(outcome, Busy):
                    again = [*again, queued]
                else:
                    _resolve(queued, outcome)
        except Exception as error:  # noqa: BLE001 - it is the callers' to handle
            if must_run_alone(batch.requests, error, self._client.backend):
                again = batch.requests
            else:
                for queued in batch.requests:
                    _resolve(queued, copy_error(error) if len(batch.requests) > 1 else error)
        finally:
            self._finish(batch, again)

    def _finish(self, batch: _Batch[RequestT], again: Iterable[_Pending[RequestT]]) -> None:
        self._batches.discard(batch)
        self._queue.finish(batch.requests)
        for queued in reversed(tuple(again)):
            if not queued.done.done():
                self._put_back(queued)
        for queued in batch.requests:
            if queued.batch is batch and not queued.done.done():
                queued.done.cancel()  # the batch was cancelled itself: the application ends
        if self._queue.waiting:
            self._ensure_dispatcher()

    def _put_back(self, queued: _Pending[RequestT]) -> None:
        """Queue a request to run by itself, before those of its thread that came later."""
        if self._is_closed:
            _resolve(queued, closed_before(self._client))
            return
        queued.batch = None
        self._queue.put_back(queued)
        self._limit_waiting(queued)


def _resolve(queued: _Pending[Any], outcome: Any) -> None:
    """Set the result of a request, unless its caller was cancelled meanwhile."""
    if queued.done.done():
        return
    if isinstance(outcome, Exception):
        queued.done.set_exception(outcome)
    else:
        queued.done.set_result(outcome)
