"""Put appends of several threads that wait at the same moment into one transaction."""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from threadlog.errors import CommitOutcomeUnknownError, PoolTimeoutError
from threadlog.log.append import AppendRequest, append_together
from threadlog.runtime.batcher import (
    Busy,
    QueuedRequest,
    RequestQueue,
    copy_error,
    must_run_alone,
)
from threadlog.runtime.external import closed_before
from threadlog.runtime.sync_client import SyncEngineClient

# While two batches run, others wait for one of them to end, or for so many seconds: a batch
# that waits for a lock must not keep back appends to other threads.
_FIRST_WAIT: Final = 0.02
_LONGEST_WAIT: Final = 0.1


@dataclass(eq=False, slots=True)
class _PendingAppend(QueuedRequest[AppendRequest]):
    """One append, and how its thread learns of the outcome."""

    woken: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    """True if the append's thread is to run the next batch."""

    outcome: range | Exception | None = None
    """The seqs of the messages, or an error; None while it is not known."""

    def resolve(self, outcome: range | Exception) -> None:
        """Set the outcome, and wake the thread that waits for it."""
        self.outcome = outcome
        self.woken.set()


class _Shared:
    """The queue of one process, and its lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.queue: RequestQueue[_PendingAppend] = RequestQueue()
        self.is_closed = False

    def wake_next(self) -> None:
        """Wake the thread of an append that waits, to run a batch; the lock is held.

        It chooses the batch itself: until it runs, more appends may come.
        """
        append = self.queue.first_runnable()
        if append is not None and not append.leads:
            append.leads = True
            append.woken.set()


class SyncAppendBatcher:
    """Runs appends of any number of threads; those that wait share a transaction.

    A transaction runs in the thread of one of its appends, while the threads of the others wait.
    The rules are those of `Batcher`.
    """

    def __init__(self, client: SyncEngineClient) -> None:
        """Create a batcher of an open client."""
        self._client = client
        self._by_process: dict[int, _Shared] = {}

    def submit(self, request: AppendRequest) -> range:
        """Append; return the seqs of the messages when they are durable.

        Raises:
            RunAlreadyCompletedError: a message belongs to a completed run.
            PoolTimeoutError: no connection was free, or the thread was in use, for too long.
            StorageError: the database refused or failed.
        """
        shared = self._shared()
        append = _PendingAppend(request)
        try:
            with shared.lock:
                append.leads = shared.queue.may_start(request.thread_id)
                shared.queue.put(append)
            while append.outcome is None:
                if append.leads:
                    self._run_batch(shared, append)
                else:
                    self._wait(shared, append)
        except BaseException:  # as Ctrl-C raises it in any place
            self._abandon(shared, append)
            raise
        if isinstance(append.outcome, Exception):
            raise append.outcome
        return append.outcome

    def close(self) -> None:
        """Refuse queued appends; batches that run are finished."""
        shared = self._shared()
        with shared.lock:
            shared.is_closed = True
            for append in shared.queue.clear():
                append.resolve(closed_before(self._client))

    def _shared(self) -> _Shared:
        """Return the queue of this process: a forked child does not run its parent's appends."""
        process = os.getpid()
        return self._by_process.get(process) or self._by_process.setdefault(process, _Shared())

    def _wait(self, shared: _Shared, append: _PendingAppend) -> None:
        """Wait until the append is done, or its thread is to run a batch.

        Raises:
            PoolTimeoutError: it waited for longer than for a connection.
        """
        seconds = self._client.limits.pool
        gives_up, pause = time.monotonic() + seconds, _FIRST_WAIT
        while not append.woken.wait(pause):
            pause = min(2 * pause, _LONGEST_WAIT)
            with shared.lock:
                if time.monotonic() >= gives_up and shared.queue.withdraw(append):
                    raise PoolTimeoutError(append.request.busy_reason(seconds)) from TimeoutError()
                if shared.queue.running < self._client.writing_size.most:
                    shared.wake_next()

    def _run_batch(self, shared: _Shared, leader: _PendingAppend) -> None:
        """Run the transaction of a batch, resolve its appends, and start the next batch."""
        batch: Sequence[_PendingAppend] = ()
        again: Sequence[_PendingAppend] = ()
        unresolved: Exception = CommitOutcomeUnknownError("The thread that wrote was interrupted")
        try:
            with shared.lock:
                leader.leads = False
                leader.woken.clear()
                batch = shared.queue.next_batch(self._client.facts.statement_limit)
                if not batch:
                    return
                shared.queue.start(batch)
            outcomes = self._client.write(append_together, [each.request for each in batch])
            again = [a for a, o in zip(batch, outcomes, strict=True) if isinstance(o, Busy)]
            for append, outcome in zip(batch, outcomes, strict=True):
                if not isinstance(outcome, Busy):
                    append.resolve(outcome)
        except Exception as error:  # noqa: BLE001 - it is the callers' to handle
            unresolved = error
            if must_run_alone(batch, error, self._client.backend):
                again = batch
        finally:
            if batch:
                self._finish(shared, batch, again, unresolved)

    def _finish(
        self,
        shared: _Shared,
        batch: Sequence[_PendingAppend],
        again: Sequence[_PendingAppend],
        unresolved: Exception,
    ) -> None:
        """Queue appends again, resolve those without an outcome, and start the next batch."""
        with shared.lock:
            shared.queue.finish(batch)
            for append in reversed(again):
                self._put_back(shared, append)
            for append in batch:
                if append not in again and append.outcome is None:
                    append.resolve(copy_error(unresolved) if len(batch) > 1 else unresolved)
            shared.wake_next()

    def _put_back(self, shared: _Shared, append: _PendingAppend) -> None:
        if append.request.is_withdrawn:
            return
        if shared.is_closed:
            append.resolve(closed_before(self._client))
            return
        shared.queue.put_back(append)

    def _abandon(self, shared: _Shared, append: _PendingAppend) -> None:
        """Leave the queue, and let another thread run the batch that this one was to run."""
        with shared.lock:
            append.request.is_withdrawn = True
            shared.queue.withdraw(append)
            if append.leads:
                shared.wake_next()
