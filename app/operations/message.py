"""Messages: appending and reading them."""

from collections.abc import Sequence
from typing import Any, Final

from threadlog.codec import MessageT
from threadlog.errors import RunAlreadyCompletedError
from threadlog.operations.times import moment
from threadlog.packing import in_batches
from threadlog.repositories import UnitOfWork
from threadlog.repositories.message import NewMessage
from threadlog.repositories.thread import parse_extra
from threadlog.store import Store
from threadlog.validation import check_count, check_id, check_list
from threadlog.values import StoredMessage
from threadlog.vocabulary import DataT, Vocabulary

# Run ids in one statement: few enough for every server.
_RUNS_AT_ONCE: Final = 500


def load(
    store: Store,
    vocabulary: Vocabulary[MessageT, Any, DataT],
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
        messages=[vocabulary.messages.decode(thread_id, *row) for row in log.messages],
        extra={} if log.extra is None else parse_extra(thread_id, log.extra),
        parent_thread_id=log.parent_thread_id,
    )


def append(
    store: Store,
    vocabulary: Vocabulary[MessageT, Any, Any],
    thread_id: str,
    messages: Sequence[MessageT],
) -> None:
    """Append messages, all or none; see `Checkpointer.append`."""
    check_list(messages, "messages")
    if not messages:
        return
    check_id(thread_id)
    batches = in_batches(vocabulary.messages.encode(messages), store.statement_limit)
    store.write(lambda uow: insert_behind(uow, thread_id, batches))


def insert_behind(uow: UnitOfWork, thread_id: str, batches: Sequence[Sequence[NewMessage]]) -> None:
    """Lock a thread and insert encoded messages behind its last seq.

    Raises:
        RunAlreadyCompletedError: a message belongs to a completed run.
    """
    run_ids = sorted({m.run_id for batch in batches for m in batch if m.run_id})
    tail = uow.threads.lock_tail(thread_id, run_ids[:_RUNS_AT_ONCE])
    completed = tail.completed_run
    for start in range(_RUNS_AT_ONCE, len(run_ids), _RUNS_AT_ONCE):
        some = run_ids[start : start + _RUNS_AT_ONCE]
        completed = completed or uow.threads.lock_tail(thread_id, some).completed_run
    if completed is not None:
        raise RunAlreadyCompletedError(thread_id=thread_id, run_id=completed)
    uow.messages.insert(thread_id, tail.last_seq, batches)
    if tail.behind:
        uow.threads.touch(thread_id)


def read(
    store: Store,
    vocabulary: Vocabulary[MessageT, Any, Any],
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
    return [
        StoredMessage(seq, moment(created_at), decode(thread_id, seq, role, meta, payload))
        for seq, created_at, role, meta, payload in rows
    ]
