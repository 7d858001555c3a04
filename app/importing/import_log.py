"""Import conversations without ever duplicating a message."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from threadlog.checkpointer import Checkpointer, ScopedCheckpointer
from threadlog.encoding.statement_size import in_batches
from threadlog.encoding.validation import check_id, check_json_object
from threadlog.errors import ConversationError, InvalidMessageError, TooLargeError
from threadlog.importing.chat_completions import parse_json, read_transcript
from threadlog.log.framework_types import FrameworkTypes
from threadlog.log.message_codec import MessageCodec
from threadlog.log.owners import write_thread
from threadlog.log.threads import merge_extra
from threadlog.messages import Message
from threadlog.repositories import UnitOfWork
from threadlog.repositories.log.message import NewMessage
from threadlog.runtime.transactions import TransactionRunner

_SYSTEM: Final = "system"
"""The key in a thread's `extra` for the text of the system message."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation to import."""

    thread_id: str
    extra: dict[str, Any]
    messages: list[Message]

    skipped: int
    """Number of messages that are in `extra` instead of `messages`: 1 for a system message."""


def parse_line(line: bytes, thread_id: str) -> Conversation:
    """Parse a line of a JSON Lines file: an object with ``messages``, or a list of messages.

    Args:
        line: the line.
        thread_id: the id of a conversation without its own id.

    Raises:
        ConversationError: it is not a conversation, or cannot be stored unchanged.
    """
    raw = parse_json(line, "The line")
    if isinstance(raw, list):
        raw = {"messages": raw}
    if not isinstance(raw, dict) or "messages" not in raw:
        raise ConversationError("The line is neither a list of messages nor has 'messages'.")
    if unknown := sorted(raw.keys() - {"thread_id", "extra", "messages"}):
        raise ConversationError(f"The line has {unknown[0]!r}, which cannot be stored.")
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


async def import_into(
    checkpointer: Checkpointer | ScopedCheckpointer,
    conversation: Conversation,
    *,
    owner: str | None = None,
) -> int:
    """Import a conversation through a checkpointer; see `import_conversation`."""
    return await checkpointer.client.write(
        import_conversation, checkpointer.vocabulary, conversation, owner=owner
    )


def import_conversation(
    transactions: TransactionRunner,
    vocabulary: FrameworkTypes[Message, Any, Any],
    conversation: Conversation,
    *,
    owner: str | None = None,
) -> int:
    """Append the messages of a conversation that a thread lacks, in one unit of work.

    Repeated or concurrent imports duplicate nothing. A thread that was continued since is left
    unchanged. `extra` is merged only if messages are appended or the thread had none, so that
    the application's later changes to it survive a second import.

    Args:
        transactions: runs the transaction.
        vocabulary: the classes of messages.
        conversation: the conversation.
        owner: the owner of the thread, which a thread without an owner gets.

    Returns:
        The number of messages appended.

    Raises:
        ThreadOwnedError: the thread belongs to another owner.
        InvalidInputError: it cannot be stored, or the thread contains another conversation.
    """
    check_id(conversation.thread_id)
    check_json_object(conversation.extra, "extra")
    codec, limit = vocabulary.messages, transactions.statement_limit
    rows = [
        _encode(codec, message, place, limit)
        for place, message in enumerate(conversation.messages, start=conversation.skipped)
    ]
    return write_thread(
        transactions,
        conversation.thread_id,
        owner,
        lambda uow: _append_missing(uow, conversation, rows, limit),
        idempotent=False,
    )


def _encode(codec: MessageCodec[Message], message: Message, place: int, limit: int) -> NewMessage:
    """Encode a message, and check its size; errors name its index in the conversation."""
    try:
        (row,) = codec.encode([message])
        in_batches([row], limit)
    except InvalidMessageError as error:
        raise InvalidMessageError(index=place, reason=error.reason) from error
    except TooLargeError as error:
        what = f"messages[{place}]"
        raise TooLargeError(what=what, size=error.size, limit=error.limit) from error
    return row


def _append_missing(
    uow: UnitOfWork, conversation: Conversation, rows: Sequence[NewMessage], limit: int
) -> int:
    thread_id = conversation.thread_id
    tail = uow.threads.lock_tail(thread_id)
    existing = _count_existing(uow, thread_id, rows) if tail.last_seq else 0
    missing = rows[existing:]
    if missing or not tail.last_seq:
        batches = in_batches(missing, limit)
        uow.messages.insert(thread_id, tail.allocated_seq, (batch.rows for batch in batches))
        if tail.needs_touch:
            uow.threads.touch(thread_id)
        if conversation.extra:
            merge_extra(uow, thread_id, conversation.extra, limit)
    return len(missing)


def _count_existing(uow: UnitOfWork, thread_id: str, rows: Sequence[NewMessage]) -> int:
    """Return how many of the rows the thread has already; it must begin with them.

    Compares the payload, not the column `metadata`, which the application may have edited.
    """
    if not rows:
        return 0
    stored = uow.messages.page(thread_id, after_seq=0, limit=len(rows))
    for row, new in zip(stored, rows, strict=False):
        if (row.role, row.payload) != (new.role, new.payload):
            raise ConversationError(
                f"Thread {thread_id!r} already contains another conversation. "
                "Use another thread_id."
            )
    return len(stored)
