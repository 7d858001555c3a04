"""Import conversations without ever duplicating a message."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

import msgpack

from threadlog.checkpointer import Checkpointer, ScopedCheckpointer
from threadlog.encoding.statement_size import in_batches
from threadlog.encoding.validation import check_id, check_json_object
from threadlog.encryption import Place, refuse_encrypted
from threadlog.errors import ConversationError, InvalidMessageError, TooLargeError
from threadlog.formats import read_conversation
from threadlog.formats.finding import holder_of
from threadlog.formats.transcript import UNMODELED, FormatName, Unknown
from threadlog.log.framework_types import FrameworkTypes
from threadlog.log.message_codec import MessageCodec
from threadlog.log.owners import write_thread
from threadlog.log.search_rows import index_new
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

    is_named: bool = True
    """True if the id is the conversation's own, False if that of its place in a file."""


def parse_conversation(
    raw: object, thread_id: str, *, format_name: FormatName | None = None, unknown: Unknown = "keep"
) -> Conversation:
    """Convert a conversation of a file: a list of messages, or an object that has the list.

    The object may have ``thread_id`` and ``extra``. Its other values, such as ``tools``, go into
    the thread's extra too.

    Args:
        raw: the conversation.
        thread_id: the id of a conversation without its own id.
        format_name: the format, if it is not to be told from the messages.
        unknown: whether values that threadlog has no field for are kept or refused.

    Raises:
        ConversationError: it is not a conversation, or cannot be stored unchanged.
    """
    given: dict[str, Any] = raw if isinstance(raw, dict) else {"messages": raw}
    own_id, extra = given.get("thread_id"), given.get("extra")
    extra = {} if extra is None else extra
    check_json_object(extra, "extra")
    given = {key: value for key, value in given.items() if key not in ("thread_id", "extra")}
    system, messages, others = read_conversation(given, format=format_name, unknown=unknown)
    if system is not None:
        if others.get(_SYSTEM, system) != system:
            raise ConversationError("system differs from the conversation's system message.")
        others = {_SYSTEM: system, **others}
    for key, value in others.items():
        if extra.get(key, value) != value:
            which = "the system message" if key == _SYSTEM else f"the conversation's {key!r}"
            raise ConversationError(f"extra[{key!r}] differs from {which}.")
    return Conversation(
        thread_id=thread_id if own_id is None else own_id,
        extra={**extra, **others},
        messages=messages,
        is_named=own_id is not None,
        skipped=int(
            system is not None and not holder_of(given).keys() & {"system", "instructions"}
        ),
    )


async def import_into(
    checkpointer: Checkpointer | ScopedCheckpointer,
    conversation: Conversation,
    *,
    owner: str | None = None,
) -> int:
    """Import a conversation through a checkpointer; see `import_conversation`.

    A conversation without its own id whose place is that of another conversation, of another
    file of the same name, gets an id with a digest of its messages.
    """
    try:
        return await _import(checkpointer, conversation, owner)
    except ConversationError:
        if conversation.is_named:
            raise
    digest = sha256()
    for message in conversation.messages:
        digest.update(message.model_dump_json().encode())
    thread_id = f"{conversation.thread_id}:{digest.hexdigest()[:16]}"
    return await _import(checkpointer, replace(conversation, thread_id=thread_id), owner)


async def _import(
    checkpointer: Checkpointer | ScopedCheckpointer, conversation: Conversation, owner: str | None
) -> int:
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
    unchanged, as is one from which messages were removed: they are not to come back. Pruned
    messages count as stored. `extra` is merged only if messages are appended or the thread had
    none, so that the application's later changes to it survive a second import.

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
        lambda uow: _append_missing(uow, conversation, codec, rows, limit),
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
    uow: UnitOfWork,
    conversation: Conversation,
    codec: MessageCodec[Message],
    rows: Sequence[NewMessage],
    limit: int,
) -> int:
    thread_id = conversation.thread_id
    tail = uow.threads.lock_tail(thread_id)
    if tail.truncated_seq:
        # Messages after those that were never removed may have been edited.
        kept = min(removed.after_seq for removed in uow.truncations.of_thread(thread_id))
        _check_stored(uow, conversation, codec, rows[:kept])
        return 0
    if tail.last_seq:
        _check_stored(uow, conversation, codec, rows)
    missing = rows[tail.last_seq :]
    if missing or not tail.last_seq:
        batches = in_batches(missing, limit)
        uow.messages.insert(thread_id, tail.allocated_seq, (batch.rows for batch in batches))
        if uow.has_search:
            index_new(uow, thread_id, tail.allocated_seq, missing, limit)
        if tail.needs_touch:
            uow.threads.touch(thread_id)
        if conversation.extra:
            merge_extra(uow, thread_id, conversation.extra, limit)
    return len(missing)


def _check_stored(
    uow: UnitOfWork,
    conversation: Conversation,
    codec: MessageCodec[Message],
    rows: Sequence[NewMessage],
) -> None:
    """Check that a thread has the rows at its first seqs, but for those that were pruned.

    Compares the payload, not the column `metadata`, which the application may have edited.

    Raises:
        ConversationError: the thread contains another message there.
    """
    stored = uow.messages.page(
        conversation.thread_id, after_seq=0, before_seq=len(rows) + 1, limit=None
    )
    for row in stored:
        new, message = rows[row.seq - 1], conversation.messages[row.seq - 1]
        refuse_encrypted(row.payload, Place("payload", conversation.thread_id, row.seq))
        same = (row.role, row.payload) == (new.role, new.payload)
        if not same and not _is_older_form(codec, row.payload, message):
            raise ConversationError(
                f"Thread {conversation.thread_id!r} already contains another conversation. "
                "Use another thread_id."
            )


def _is_older_form(codec: MessageCodec[Message], payload: bytes, message: Message) -> bool:
    """Return True if a payload is the message as it was imported before `threadlog.formats`.

    The values that a chat completion has beside threadlog's fields were then in the metadata by
    their own names.
    """
    kept: Any = message.metadata.get(UNMODELED, {})
    values = {name.removeprefix("/"): value for name, value in kept.get("openai_chat", {}).items()}
    if not values or any("/" in name for name in values):
        return False
    own = {name: value for name, value in message.metadata.items() if name != UNMODELED}
    (older,) = codec.encode([message.model_copy(update={"metadata": own | values})])
    # The order of the keys was that of the file.
    return bool(msgpack.unpackb(payload) == msgpack.unpackb(older.payload))
