"""What threadlog does, each verb once, as synchronous functions over a store.

The facades run them, an asynchronous one inside a greenlet, so that no body is written
twice. A function checks and encodes before it opens its unit of work and decodes after it:
no lock and no connection is held while Python works.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, get_args

from threadlog.backends import Backend
from threadlog.codec import MessageT
from threadlog.errors import InvalidInputError
from threadlog.packing import check_size, in_batches
from threadlog.repositories import UnitOfWork
from threadlog.repositories.message import NewMessage
from threadlog.repositories.thread import ThreadKey, ThreadOrder, ThreadRow, parse_extra
from threadlog.schema import verify_schema
from threadlog.store import OwnedStore
from threadlog.validation import check_count, check_id, check_json_object, check_list, check_text
from threadlog.values import CheckpointData, StoredMessage, ThreadSummary


def open_database(store: OwnedStore[MessageT], backend: Backend, *, warm: int) -> int:
    """Verify server and schema, and connect `warm` times; see `Checkpointer.__aenter__`.

    Returns:
        The most bytes that one statement may have.
    """

    def verify(uow: UnitOfWork) -> int:
        uow.connect_more(warm - 1)
        backend.verify_server(uow)
        backend.initialise_schema(uow)
        verify_schema(uow)
        return backend.statement_limit(uow)

    return store.write(verify)


def load(
    store: OwnedStore[MessageT], thread_id: str, *, last: int | None
) -> CheckpointData[MessageT] | None:
    """Read a thread at one point in time; see `Checkpointer.load`."""
    check_id(thread_id)
    if last is not None:
        check_count(last, "last", least=1)
    log = store.read(lambda uow: uow.messages.log(thread_id, last=last))
    if log is None:
        return None
    return CheckpointData(
        messages=[store.codec.decode(thread_id, *row) for row in log.messages],
        extra={} if log.extra is None else parse_extra(thread_id, log.extra),
        parent_thread_id=log.parent_thread_id,
    )


def append(store: OwnedStore[MessageT], thread_id: str, messages: Sequence[MessageT]) -> None:
    """Append messages, all or none; see `Checkpointer.append`."""
    check_list(messages, "messages")
    if not messages:
        return
    check_id(thread_id)
    batches = in_batches(store.codec.encode(messages), store.statement_limit)
    store.write(lambda uow: insert_behind(uow, thread_id, batches))


def insert_behind(uow: UnitOfWork, thread_id: str, batches: Sequence[Sequence[NewMessage]]) -> None:
    """Lock a thread and insert encoded messages behind its last seq."""
    tail = uow.threads.lock_tail(thread_id)
    uow.messages.insert(thread_id, tail.last_seq, batches)
    if tail.behind:
        uow.threads.touch(thread_id)


def save_extra(store: OwnedStore[MessageT], thread_id: str, extra: dict[str, Any]) -> None:
    """Merge `extra` into the thread's; see `Checkpointer.save_extra`."""
    check_id(thread_id)
    check_json_object(extra, "extra")
    store.write(lambda uow: merge_extra(uow, thread_id, extra, store.statement_limit))


def merge_extra(uow: UnitOfWork, thread_id: str, extra: dict[str, Any], limit: int) -> None:
    """Lock a thread and merge `extra` into its own, as long as both fit into a statement."""
    merged = {**uow.threads.lock_extra(thread_id), **extra}
    check_size(merged, "extra", limit)
    uow.threads.write_extra(thread_id, merged)


def read(
    store: OwnedStore[MessageT], thread_id: str, *, after_seq: int, limit: int | None
) -> list[StoredMessage[MessageT]]:
    """Read messages with their places; see `Checkpointer.read`."""
    check_id(thread_id)
    check_count(after_seq, "after_seq", least=0)
    if limit is not None:
        check_count(limit, "limit", least=1)
    rows = store.read(lambda uow: uow.messages.page(thread_id, after_seq=after_seq, limit=limit))
    return [
        StoredMessage(
            seq, _moment(created_at), store.codec.decode(thread_id, seq, role, meta, payload)
        )
        for seq, created_at, role, meta, payload in rows
    ]


def list_threads(
    store: OwnedStore[MessageT],
    *,
    after: ThreadSummary | str | None,
    limit: int,
    order: ThreadOrder,
) -> list[ThreadSummary]:
    """List a page of threads; see `Checkpointer.list_threads`."""
    check_count(limit, "limit", least=1)
    if order not in get_args(ThreadOrder):
        raise InvalidInputError(f"order must be 'id' or 'recent', not {order!r}.")
    key = _key(after, order)
    rows = store.read(lambda uow: uow.threads.page(after=key, limit=limit, order=order))
    return [_summary(row) for row in rows]


def delete_thread(store: OwnedStore[MessageT], thread_id: str, *, detach_forks: bool) -> bool:
    """Delete a thread and all that belongs to it; see `Checkpointer.delete_thread`."""
    check_id(thread_id)
    return store.write(lambda uow: uow.threads.delete(thread_id, detach_forks=detach_forks))


def _key(after: ThreadSummary | str | None, order: ThreadOrder) -> ThreadKey | None:
    match after:
        case None:
            return None
        case ThreadSummary():
            return ThreadKey(after.thread_id, int(after.updated_at.timestamp()))
        case str() if order == "id":
            check_text(after, "after")
            return ThreadKey(after, 0)
        case _:
            raise InvalidInputError(
                "after must be the last ThreadSummary of the previous page; a thread id alone "
                "is enough only with order='id'."
            )


def _summary(row: ThreadRow) -> ThreadSummary:
    return ThreadSummary(
        thread_id=row.thread_id,
        last_seq=row.last_seq,
        parent_thread_id=row.parent_thread_id,
        forked_at_seq=row.forked_at_seq,
        created_at=_moment(row.created_at),
        updated_at=_moment(row.updated_at),
    )


def _moment(epoch: int) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
