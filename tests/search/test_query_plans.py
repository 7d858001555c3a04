"""The recipes are answered from indexes, among many messages."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from sqlalchemy import Connection, func, insert, select

from tests.cli.helpers import threadlog
from tests.search.helpers import answer, question
from tests.support.databases import DATABASES, fresh_database, on_connection
from tests.support.matrix import on_each
from tests.support.plans import Sent, analyze, explain, recorded
from threadlog import MESSAGE_CODEC
from threadlog.models import (
    CONTROL,
    SEARCH,
    Message,
    Owner,
    SearchMessage,
    SearchToolCall,
    matches,
)
from threadlog.models import MESSAGES as MESSAGE_LOG
from threadlog.models.tables import MESSAGES as MESSAGE_ROWS
from threadlog.models.tables import OWNERS, THREADS

MESSAGES: Final = 8_000
LENGTH: Final = 20
LONG_AGO: Final = datetime(2026, 1, 1, tzinfo=UTC)
RARE: Final = {8: "Where is my refund?", 4_000: "refund, refund!"}


def _rows() -> Iterator[dict[str, Any]]:
    for number in range(MESSAGES):
        thread, seq = divmod(number, LENGTH)
        tools = ("rare",) if number % 1_000 == 1 else ("common",)
        text = RARE.get(number, f"question number {number} of somebody")
        message = question(text) if seq % 2 == 0 else answer("An answer.", tools=tools)
        (row,) = MESSAGE_CODEC.encode([message])
        yield {
            "thread_id": f"t{thread}",
            "seq": seq + 1,
            "created_at": LONG_AGO + timedelta(minutes=number),
            **row._asdict(),
        }


def _fill(connection: Connection) -> None:
    threads = range(MESSAGES // LENGTH)
    tables = (THREADS, OWNERS, MESSAGE_ROWS)
    found = [
        [{"thread_id": f"t{number}"} for number in threads],
        [{"thread_id": f"t{number}", "owner": f"o{number % 50}"} for number in threads],
        list(_rows()),
    ]
    for table, rows in zip(tables, found, strict=True):
        for start in range(0, len(rows), 1_000):
            connection.execute(insert(table), rows[start : start + 1_000])


async def _create(url: str) -> None:
    for part in (MESSAGE_LOG, CONTROL, SEARCH):
        await on_connection(url, part.metadata.create_all)
    await on_connection(url, _fill)


@contextmanager
def _database(name: str, request: pytest.FixtureRequest, folder: Any) -> Iterator[str]:
    if name == "sqlite":
        yield f"sqlite:///{folder}/plans.db"
        return
    with fresh_database(request.getfixturevalue(f"{name}_server_url")) as url:
        yield url


@pytest.fixture(scope="module", params=on_each(DATABASES))
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Yield the URL of a database with all messages in the index, by the command."""
    folder = tmp_path_factory.mktemp("plans")
    with _database(str(request.param), request, folder) as url:
        asyncio.run(_create(url))
        done = threadlog("index", url)
        assert done.stdout == f"{MESSAGES:,} messages added.\n", done.output
        asyncio.run(on_connection(url, _analyze))
        yield url


def _analyze(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("ANALYZE")
    else:
        analyze(connection, *TABLES)


TABLES: Final = ("threadlog_search", "cubepi_threads", "cubepi_messages", "threadlog_owners")


def _tokens_per_owner_and_day() -> Any:
    day = func.date(SearchMessage.created_at)
    until = LONG_AGO + timedelta(minutes=MESSAGES)
    return (
        select(Owner.owner, day, func.sum(SearchMessage.input_tokens + SearchMessage.output_tokens))
        .join(SearchMessage, SearchMessage.thread_id == Owner.thread_id)
        .where(
            # Without an end SQLite, after ANALYZE, reads the messages of each owner.
            SearchMessage.created_at.between(until - timedelta(hours=10), until),
            SearchMessage.model.is_not(None),
        )
        .group_by(Owner.owner, day)
    )


def _messages_that_called() -> Any:
    same = (SearchToolCall.thread_id == Message.thread_id) & (SearchToolCall.seq == Message.seq)
    return (
        select(Message.thread_id, Message.seq)
        .join(SearchToolCall, same)
        .where(SearchToolCall.tool_name == "rare")
    )


def _threads_that_mention() -> Any:
    return select(SearchMessage.thread_id).where(matches(SearchMessage.text, "Refund")).distinct()


def _mentions_of_an_owner() -> Any:
    return (
        select(Owner.owner, SearchMessage.seq)
        .join(Owner, Owner.thread_id == SearchMessage.thread_id)
        .where(matches(SearchMessage.text, "refund my"))
    )


RECIPES: Final = [
    (_tokens_per_owner_and_day, {"ix_threadlog_search_created", "ix_threadlog_search_model"}, None),
    (_messages_that_called, {"ix_threadlog_search_tool"}, MESSAGES // 1_000),
    (_threads_that_mention, {"ix_threadlog_search_text", "threadlog_search_words"}, 2),
    (_mentions_of_an_owner, {"ix_threadlog_search_text", "threadlog_search_words"}, 1),
]


@pytest.mark.parametrize(
    ("recipe", "indexes", "rows"), RECIPES, ids=[recipe.__name__ for recipe, _, _ in RECIPES]
)
async def test_recipe_is_answered_from_an_index(
    filled: str, recipe: Any, indexes: set[str], rows: int | None
) -> None:
    def work(connection: Connection) -> tuple[int, set[str], bool]:
        with recorded([connection.engine]) as sent:
            found = connection.execute(recipe()).all()
        return len(found), *_plan(connection, sent)

    count, used, whole = await on_connection(filled, work)
    assert count == rows if rows is not None else count > 0
    assert used & indexes, used
    assert not whole


def _plan(connection: Connection, sent: Sent) -> tuple[set[str], bool]:
    """Return the indexes of the search index that a plan uses, and True if it reads all rows."""
    if connection.dialect.name == "sqlite":
        ((text, parameters),) = sent
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters)
        details = [row[3] for row in rows]
        used = {word for detail in details for word in detail.split()}
        if any("VIRTUAL TABLE INDEX" in detail for detail in details):
            used.add("threadlog_search_words")
        return used, "SCAN threadlog_search" in details
    (plan,) = explain(connection, sent)
    steps = [step for step in plan.steps if step.table == "threadlog_search"]
    return {str(step.key) for step in steps}, any(step.whole for step in steps)
