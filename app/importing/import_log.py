"""Bringing in conversations that were held elsewhere, without ever doubling one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from threadlog.checkpointer import Checkpointer
from threadlog.encoding.statement_size import in_batches
from threadlog.encoding.validation import check_id, check_json_object
from threadlog.errors import ConversationError, InvalidMessageError, TooLargeError
from threadlog.importing.chat_completions import parse_json, read_transcript
from threadlog.log.framework_types import FrameworkTypes
from threadlog.log.threads import merge_extra
from threadlog.messages import Message
from threadlog.repositories import UnitOfWork
from threadlog.repositories.log.message import NewMessage
from threadlog.runtime.transactions import TransactionRunner

_SYSTEM: Final = "system"
"""The key in a thread's `extra` under which a system message's text is kept."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation to import."""

    thread_id: str
    extra: dict[str, Any]
    messages: list[Message]

    skipped: int
    """Messages before the first of `messages` that `extra` keeps: 1 for a system message."""


def parse_line(line: bytes, thread_id: str) -> Conversation:
    """Read a line of a JSON Lines file: an object with ``messages``, or a list of them.

    Args:
        line: the line.
        thread_id: the id of a conversation that has none of its own.

    Raises:
        ConversationError: it is no conversation, or could not be kept as it is.
    """
    raw = parse_json(line, "The line")
    if isinstance(raw, list):
        raw = {"messages": raw}
    if not isinstance(raw, dict) or "messages" not in raw:
        raise ConversationError("The line is neither a list of messages nor has 'messages'.")
    if unknown := sorted(raw.keys() - {"thread_id", "extra", "messages"}):
        raise ConversationError(f"The line has {unknown[0]!r}, which cannot be kept.")
    extra = {} if raw.get("extra") is None else raw["extra"]
    check_json_object(extra, "extra")
    system, messages = read_transcript(raw["messages"])
    if system is not None:
        if extra.get(_SYSTEM, system) != system:
            raise ConversationError("extra['system'] differs from the system message.")
        extra = {**extra, _SYSTEM: system}
    own_id = raw.get("thread_id")
    return Conversation(
        thread_id=thread_id if own_id is None else own_id,
        extra=extra,
        messages=messages,
        skipped=0 if system is None else 1,
    )


async def import_into(checkpointer: Checkpointer, conversation: Conversation) -> int:
    """Import a conversation through a facade; see `import_conversation`."""
    return await checkpointer._write(import_conversation, checkpointer.vocabulary, conversation)  # noqa: SLF001 - our own door


def import_conversation(
    transactions: TransactionRunner,
    vocabulary: FrameworkTypes[Message, Any, Any],
    conversation: Conversation,
) -> int:
    """Append what a thread lacks of a conversation, in one unit of work.

    Running it again, after a crash or at the same time as another, adds nothing twice. A
    thread that was continued since is left as it is. `extra` is merged when messages are
    appended or the thread had none: a host's later changes to it outlive a second import.

    Returns:
        How many messages were appended.

    Raises:
        InvalidInputError: it cannot be stored, or the thread holds another conversation.
    """
    check_id(conversation.thread_id)
    check_json_object(conversation.extra, "extra")
    rows = [
        _encode(transactions, vocabulary, message, place)
        for place, message in enumerate(conversation.messages, start=conversation.skipped)
    ]
    limit = transactions.statement_limit
    return transactions.write(
        lambda uow: _append_missing(uow, conversation.thread_id, conversation.extra, rows, limit)
    )


def _encode(
    transactions: TransactionRunner,
    vocabulary: FrameworkTypes[Message, Any, Any],
    message: Message,
    place: int,
) -> NewMessage:
    """Encode a message that fits into a statement; errors name its place in the file."""
    try:
        (row,) = vocabulary.messages.encode([message])
        in_batches([row], transactions.statement_limit)
    except InvalidMessageError as error:
        raise InvalidMessageError(index=place, reason=error.reason) from error
    except TooLargeError as error:
        what = f"messages[{place}]"
        raise TooLargeError(what=what, size=error.size, limit=error.limit) from error
    return row


def _append_missing(
    uow: UnitOfWork,
    thread_id: str,
    extra: dict[str, Any],
    rows: Sequence[NewMessage],
    limit: int,
) -> int:
    tail = uow.threads.lock_tail(thread_id)
    held = _count_held(uow, thread_id, rows) if tail.last_seq else 0
    missing = rows[held:]
    if missing or not tail.last_seq:
        batches = in_batches(missing, limit)
        uow.messages.insert(thread_id, tail.last_seq, (batch.rows for batch in batches))
        if tail.needs_touch:
            uow.threads.touch(thread_id)
        if extra:
            merge_extra(uow, thread_id, extra, limit)
    return len(missing)


def _count_held(uow: UnitOfWork, thread_id: str, rows: Sequence[NewMessage]) -> int:
    """Count the messages that the thread holds already; it must begin with those.

    The payload is compared, not the column `metadata`, which a host may have edited.
    """
    if not rows:
        return 0
    stored = uow.messages.page(thread_id, after_seq=0, limit=len(rows))
    for row, new in zip(stored, rows, strict=False):
        if (row.role, row.payload) != (new.role, new.payload):
            raise ConversationError(f"Thread {thread_id!r} already holds another conversation.")
    return len(stored)
