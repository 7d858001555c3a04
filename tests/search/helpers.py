"""Messages with words, tools and tokens, and the rows of the search index."""

from collections import Counter
from typing import Any

from sqlalchemy import Connection, select

from tests.support.databases import on_connection
from threadlog.log.search_rows import search_rows
from threadlog.messages import AssistantMessage, TextContent, ToolCall, Usage, UserMessage
from threadlog.models.tables import MESSAGES, SEARCH
from threadlog.repositories.log.message import NewMessage

LIMIT = 1_000_000


def question(text: str = "Can I get a refund?", **fields: Any) -> UserMessage:
    """Create a person's message."""
    return UserMessage(content=[TextContent(text=text)], **fields)


def answer(text: str = "Let me see.", tools: tuple[str, ...] = ("look_up",)) -> AssistantMessage:
    """Create a model's message with calls of tools."""
    calls = [ToolCall(id=name, name=name, arguments={}) for name in tools]
    usage = Usage(input_tokens=100, output_tokens=20, cache_read_tokens=50, cache_write_tokens=5)
    return AssistantMessage(content=[TextContent(text=text), *calls], usage=usage, model_id="m-1")


def _stored(connection: Connection) -> list[dict[str, Any]]:
    order = (SEARCH.c.thread_id, SEARCH.c.seq, SEARCH.c.place)
    rows = connection.execute(select(SEARCH).order_by(*order)).mappings()
    return [{name: value for name, value in row.items() if name != "id"} for row in rows]


async def stored(url: str) -> list[dict[str, Any]]:
    """Return the rows of the index, without their numbers."""
    return await on_connection(url, _stored)


async def assert_complete(url: str, *, rows: int) -> None:
    """Check that the index has the rows of all stored messages, and no others."""

    def work(connection: Connection) -> list[dict[str, Any]]:
        expected = []
        for message in connection.execute(select(MESSAGES)).mappings():
            new = NewMessage(*(message[name] for name in NewMessage._fields))
            expected += [
                {"thread_id": message["thread_id"], "seq": message["seq"], **row}
                for row in search_rows(new, LIMIT)
            ]
        return expected

    expected = await on_connection(url, work)
    found = await stored(url)
    for row in found:
        assert row.pop("created_at") is not None
    assert _multiset(found) == _multiset(expected)
    assert len(found) == rows


def _multiset(rows: list[dict[str, Any]]) -> Counter[frozenset[tuple[str, Any]]]:
    return Counter(frozenset(row.items()) for row in rows)
