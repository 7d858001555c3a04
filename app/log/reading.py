"""Read the messages of a thread."""

from typing import Any, Final

from threadlog.encoding.times import from_epoch
from threadlog.encoding.validation import check_count, check_id
from threadlog.log.framework_types import DataT, FrameworkTypes
from threadlog.log.message_codec import MessageT, gc_paused
from threadlog.log.results import StoredMessage
from threadlog.repositories import UnitOfWork
from threadlog.repositories.log.message import LogRows
from threadlog.repositories.log.thread import parse_extra
from threadlog.runtime.transactions import TransactionRunner

END_OF_THREAD: Final = 2**63 - 1
"""A seq after all messages, for ``read(…, before_seq=)``: the page before it is the newest."""


def load(
    transactions: TransactionRunner,
    vocabulary: FrameworkTypes[MessageT, Any, DataT],
    thread_id: str,
    *,
    last: int | None = None,
    whole_turns: bool = False,
) -> DataT | None:
    """Read a thread at one point in time; see `Checkpointer.load`."""
    check_id(thread_id)
    if last is not None:
        check_count(last, "last", least=1)
    log = transactions.read(
        (lambda uow: _whole_turns(uow, thread_id, last))
        if whole_turns and last is not None
        else (lambda uow: uow.messages.log(thread_id, last=last))
    )
    if log is None:
        return None
    return vocabulary.data(
        messages=vocabulary.messages.decode_all(thread_id, log.messages),
        # Nearly every thread has none.
        extra={} if log.extra in {None, "{}"} else parse_extra(thread_id, log.extra),
        parent_thread_id=log.parent_thread_id,
    )


def _whole_turns(uow: UnitOfWork, thread_id: str, last: int) -> LogRows | None:
    """Read the newest messages, and those before them back to a user message."""
    log = uow.messages.log(thread_id, last=last)
    if log is None or not log.messages:
        return log
    first_seq, role = log.messages[0][:2]
    if role == "user":
        return log
    # Read again as a whole, so that all of it is of one point in time.
    return uow.messages.log(thread_id, first_seq=uow.messages.turn_start(thread_id, first_seq))


def read(
    transactions: TransactionRunner,
    vocabulary: FrameworkTypes[MessageT, Any, Any],
    thread_id: str,
    *,
    after_seq: int = 0,
    before_seq: int | None = None,
    limit: int | None = None,
) -> list[StoredMessage[MessageT]]:
    """Read messages with their places; see `Checkpointer.read`."""
    check_id(thread_id)
    check_count(after_seq, "after_seq", least=0)
    if before_seq is not None:
        check_count(before_seq, "before_seq", least=1)
    if limit is not None:
        check_count(limit, "limit", least=1)
    rows = transactions.read(
        lambda uow: uow.messages.page(
            thread_id, after_seq=after_seq, before_seq=before_seq, limit=limit
        )
    )
    decode = vocabulary.messages.decode
    with gc_paused():
        return [
            StoredMessage(seq, from_epoch(created_at), decode(thread_id, seq, role, meta, payload))
            for seq, created_at, role, meta, payload in rows
        ]
