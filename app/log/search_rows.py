"""The rows of the search index: made from messages, and added for those that lack them."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgpack

from threadlog.encoding.statement_size import ROW_OVERHEAD, batches
from threadlog.encryption import Place, refuse_encrypted
from threadlog.errors import CheckpointCorruptionError, CubepiSchemaUninitialized
from threadlog.models import Message
from threadlog.repositories import UnitOfWork
from threadlog.repositories.log.message import NewMessage
from threadlog.repositories.log.search import SearchValues
from threadlog.runtime.transactions import TransactionRunner

# Characters of a text, few enough for a tsvector of PostgreSQL, which has a limit of 1 MiB.
_TEXT: Final = 100_000
_NAME: Final = 255
_TOKENS: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
_EMPTY: Final = dict.fromkeys(
    ("role", "text", "model", *_TOKENS, "cost", "tool_name"),
)

# Messages that are added in one transaction.
_AT_ONCE: Final = 200


def search_rows(message: NewMessage, statement_limit: int) -> list[SearchValues]:
    """Return the rows of a message, the message first, without its thread and its seq.

    Args:
        message: the encoded message.
        statement_limit: the most bytes of a statement; a text takes at most the half.
    """
    payload = msgpack.unpackb(message.payload, raw=False)
    content = [block for block in payload["content"] if isinstance(block, dict)]
    usage: dict[str, Any] = payload.get("usage") or {}
    cost: Any = usage.get("cost", message.metadata.get("cost"))
    is_number = isinstance(cost, int | float) and not isinstance(cost, bool)
    # A character has up to four bytes, in the statement too.
    length = min(_TEXT, statement_limit // 8)
    texts = (block["text"] for block in content if block.get("type") == "text")
    first = {
        **_EMPTY,
        "place": 0,
        "kind": "message",
        "role": message.role,
        "text": _stored("\n".join(texts), length),
        "model": _stored(payload.get("model_id") or "", _NAME) or None,
        **{name: _count(usage.get(name)) for name in _TOKENS},
        "cost": cost if is_number and math.isfinite(cost) else None,
    }
    calls = (block["name"] for block in content if block.get("type") == "tool_call")
    return [
        first,
        *(
            {**_EMPTY, "place": place, "kind": "tool_call", "tool_name": _stored(name, _NAME)}
            for place, name in enumerate(calls, start=1)
        ),
    ]


def insert_search_rows(
    uow: UnitOfWork,
    placed: Iterable[tuple[str, int, Sequence[SearchValues]]],
    statement_limit: int,
) -> None:
    """Insert the rows of messages: in one statement, unless the server's limit is too low.

    Args:
        uow: the transaction in which the messages are written.
        placed: for each message its thread, its seq and its rows.
        statement_limit: the most bytes of a statement.
    """
    rows = (
        ({"thread_id": thread_id, "seq": seq, **row}, "the text", _size(row))
        for thread_id, seq, found in placed
        for row in found
    )
    for batch in batches(rows, statement_limit):
        uow.search.insert(batch.rows)


def index_new(
    uow: UnitOfWork,
    thread_id: str,
    after_seq: int,
    messages: Sequence[NewMessage],
    statement_limit: int,
) -> None:
    """Add messages to the search index that were inserted after a seq."""
    placed = (
        (thread_id, seq, search_rows(message, statement_limit))
        for seq, message in enumerate(messages, start=after_seq + 1)
    )
    insert_search_rows(uow, placed, statement_limit)


def count_missing(transactions: TransactionRunner) -> int:
    """Return the number of messages that are not in the search index.

    Raises:
        CubepiSchemaUninitialized: the database has no search index.
    """
    if not transactions.facts.has_search:
        raise CubepiSchemaUninitialized(
            "The database has no search index. Run: threadlog migrate URL --part search"
        )
    return transactions.read(lambda uow: uow.search.count_missing())


def incomplete_threads(
    transactions: TransactionRunner, *, after: str | None, limit: int
) -> list[str]:
    """Return threads with messages that are not in the search index, in the order of ids."""
    return transactions.read(lambda uow: uow.search.incomplete_threads(after=after, limit=limit))


def index_thread(transactions: TransactionRunner, thread_id: str) -> int:
    """Add messages of a thread that are not in the search index, under the thread's lock.

    Returns:
        The number of messages; 0 if none is left.

    Raises:
        CheckpointCorruptionError: a message cannot be decoded.
    """

    def work(uow: UnitOfWork) -> int:
        if not uow.threads.lock_existing(thread_id):
            return 0
        return index_missing(uow, thread_id, transactions.statement_limit)

    return transactions.write(work, idempotent=True)


def index_missing(uow: UnitOfWork, thread_id: str, statement_limit: int) -> int:
    """Add some messages of a locked thread that are not in the search index.

    Returns:
        The number of messages; 0 if none is left.

    Raises:
        CheckpointCorruptionError: a message cannot be decoded.
    """
    missing = uow.search.missing(thread_id, _AT_ONCE)

    def placed() -> Iterator[tuple[str, int, Sequence[SearchValues]]]:
        for seq, role, metadata, payload, run_id, created_at in missing:
            try:
                new = NewMessage(role, json.loads(metadata), payload, run_id)
                rows = search_rows(new, statement_limit)
            except Exception as error:
                refuse_encrypted(payload, Place("payload", thread_id, seq))
                raise CheckpointCorruptionError(
                    table=Message.__tablename__,
                    thread_id=thread_id,
                    seq=seq,
                    reason=f"{type(error).__name__} while reading payload or metadata",
                ) from error
            yield thread_id, seq, [{**row, "created_at": created_at} for row in rows]

    insert_search_rows(uow, placed(), statement_limit)
    return len(missing)


def _size(row: Mapping[str, Any]) -> int:
    """Return the most bytes of a row in a statement: of its ids and names, and its text."""
    return 2 * ROW_OVERHEAD + 4 * len(row["text"] or "")


def _stored(text: str, length: int) -> str:
    """Return text as every database can store it: PostgreSQL has no NUL."""
    return text[:length].replace("\0", " ")


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and abs(value) < 2**63 else None
