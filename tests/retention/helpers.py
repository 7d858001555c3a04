"""Old threads, and all rows of a database."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, inspect, select

from tests.support.databases import on_connection
from tests.support.factories import HitlRequestFactory
from threadlog import Checkpointer
from threadlog.messages import (
    AssistantMessage,
    Message,
    TextContent,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)
from threadlog.models import CONTROL, MESSAGES, SEARCH
from threadlog.models.tables import MESSAGES as MESSAGE_ROWS
from threadlog.testing import age_rows

AGE: Final = timedelta(days=90)

Rows = Mapping[str, list[dict[str, Any]]]
"""The rows of each table, in the order of their keys."""


def messages(roles: str) -> list[Message]:
    """Create messages: a user's, a model's that calls a tool, its result, an answer (``ucra``)."""
    text = TextContent(text="a parcel")
    call = ToolCall(id="call", name="track", arguments={})
    each: Mapping[str, Message] = {
        "u": UserMessage(content=[text]),
        "c": AssistantMessage(content=[text, call]),
        "r": ToolResultMessage(tool_call_id="call", tool_name="track", content=[text]),
        "a": AssistantMessage(content=[text]),
    }
    return [each[role] for role in roles]


async def age(url: str, days: int = 100) -> None:
    """Move all times of the database into the past."""
    await on_connection(url, partial(age_rows, by=timedelta(days=days)))


async def fill(log: Checkpointer, thread_id: str) -> None:
    """Store a thread with rows in each table: a finished run, an answer, an owner and more."""
    await log.append(thread_id, messages("ucra"), owner="ann", key="k")
    claim = await log.claim_run(thread_id, "r", lease=timedelta(hours=1))
    await log.append(thread_id, messages("ua"), claim=claim)
    await log.mark_run_complete(thread_id, "r", claim=claim)
    await log.save_hitl_answer(thread_id, "q", "yes")
    await log.truncate(thread_id, after_seq=5)
    await log.save_extra(thread_id, {"a": 1})


async def ask(log: Checkpointer, thread_id: str) -> None:
    """Leave a question pending."""
    await log.save_pending_request(thread_id, HitlRequestFactory(question_id="q"))


def _rows(connection: Connection) -> Rows:
    existing = inspect(connection).get_table_names()
    tables = [
        table
        for part in (MESSAGES, CONTROL, SEARCH)
        for table in part.metadata.sorted_tables
        if table.name in existing
    ]
    return {
        table.name: [dict(row) for row in connection.execute(_ordered(table)).mappings()]
        for table in tables
    }


def _ordered(table: Any) -> Any:
    return select(table).order_by(*table.primary_key)


async def rows(url: str) -> Rows:
    """Return all rows of the database."""
    return await on_connection(url, _rows)


def of_thread(found: Rows, thread_id: str) -> Rows:
    """Return the rows of a thread."""
    return {
        name: [row for row in table if row.get("thread_id") == thread_id]
        for name, table in found.items()
    }


def payloads(found: Rows, thread_id: str, *, before_seq: int = 2**31) -> int:
    """Return the bytes of a thread's payloads."""
    return sum(
        len(row["payload"])
        for row in of_thread(found, thread_id)[MESSAGE_ROWS.name]
        if row["seq"] < before_seq
    )
