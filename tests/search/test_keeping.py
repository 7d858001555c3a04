"""The search index is written with the messages, by everything that writes messages."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, select
from sqlalchemy.ext.asyncio import AsyncSession

from tests.cli.helpers import SAMPLE, threadlog
from tests.search.helpers import answer, assert_complete, question, stored
from tests.support.databases import execute, on_connection
from tests.support.factories import HitlRequestFactory, ImageFactory, ToolResultFactory, UserFactory
from tests.support.ways import host_engine
from threadlog import Checkpointer, SyncCheckpointer, migrating
from threadlog.copying.copy import copy_database
from threadlog.errors import RunAlreadyCompletedError, ThreadAlreadyExistsError
from threadlog.messages import AssistantMessage, TextContent, ThinkingContent, Usage, UserMessage
from threadlog.models import SearchRow, Thread


async def test_append_stores_text_tools_and_tokens(search_url: str) -> None:
    async with Checkpointer(search_url) as log:
        await log.append("t", [question(), answer(tools=("look_up", "pay"))])
    person, model, *calls = await stored(search_url)
    assert (person["role"], person["text"], person["model"]) == (
        "user",
        "Can I get a refund?",
        None,
    )
    assert (model["role"], model["text"], model["model"]) == ("assistant", "Let me see.", "m-1")
    assert [model[f"{name}_tokens"] for name in ("input", "output", "cache_read")] == [100, 20, 50]
    assert [(row["seq"], row["place"], row["tool_name"]) for row in calls] == [
        (2, 1, "look_up"),
        (2, 2, "pay"),
    ]


async def test_every_way_to_append_stores_the_rows(search_url: str) -> None:
    """One statement, many messages, a new thread, several threads together, two runs."""
    async with Checkpointer(search_url) as log:
        await log.append("t", [question(), answer()])  # a new thread
        await log.append("t", [answer()])
        await log.append("t", [question() for _ in range(30)])
        await asyncio.gather(*(log.append(f"t{n % 5}", [answer(), question()]) for n in range(20)))
        await log.append("t", [question(run_id="a"), question(run_id="b")])
        await log.append("t", [answer()], key="k")
    await assert_complete(search_url, rows=3 + 2 + 30 + 20 * 3 + 2 + 2)


async def test_synchronous_and_bound_checkpointers_store_the_rows(search_url: str) -> None:
    def append() -> None:
        with SyncCheckpointer(search_url) as log:
            log.append("t", [answer()])

    await asyncio.to_thread(append)
    engine = host_engine(search_url)
    async with Checkpointer(engine=engine) as log, AsyncSession(engine) as session:
        await log.append("t", [answer()])
        await log.bind(session).append("t", [answer()])
        await session.commit()
        await log.bind(session).append("t", [answer()])
        await session.rollback()
    await engine.dispose()
    await assert_complete(search_url, rows=6)


async def test_refused_append_stores_no_rows(search_url: str) -> None:
    async with Checkpointer(search_url) as log:
        await log.claim_run("t", "r")
        await log.append("t", [question(run_id="r")])
        await log.mark_run_complete("t", "r")
        with pytest.raises(RunAlreadyCompletedError):
            await log.append("t", [question(run_id="r")])
        await log.append("t", [question()], key="k")
        await log.append("t", [question()], key="k")  # stored already
    await assert_complete(search_url, rows=2)


UNUSUAL: list[Any] = [
    UserFactory(content=[ImageFactory()]),
    ToolResultFactory(content=[TextContent(text="found")]),
    question(""),
    question("a\0b 'quoted' \\ % {x} :y"),
    question("ö" * 150_000),
    question(metadata={"cost": 2}),
    question(metadata={"cost": "much"}),
    UserMessage(content=[TextContent(text="a"), ImageFactory(), TextContent(text="b")]),
    AssistantMessage(content=[ThinkingContent(thinking="hidden")], usage=None),
    AssistantMessage(content=[], usage=Usage(input_tokens=2**63), model_id="m" * 300),
    AssistantMessage.model_validate({"content": [], "usage": {"cost": 0.25}}),
    answer(tools=("x" * 300, "y\0z")),
]


async def test_unusual_messages_can_be_stored(search_url: str) -> None:
    async with Checkpointer(search_url) as log:
        await log.append("t", UNUSUAL)
        for message in UNUSUAL:
            await log.append("t", [message])
    await assert_complete(search_url, rows=2 * (len(UNUSUAL) + 2))
    rows = [row for row in await stored(search_url) if row["seq"] <= len(UNUSUAL)]
    messages = [row for row in rows if row["place"] == 0]
    assert [row["cost"] for row in messages] == [*[None] * 5, 2, *[None] * 4, 0.25, None]
    assert [len(row["text"]) for row in messages][4] == 100_000
    assert [row["text"] for row in messages][6:10] == ["Can I get a refund?", "a\nb", "", ""]
    assert messages[9]["input_tokens"] is None
    assert len(messages[9]["model"]) == 255


async def test_fork_copies_the_rows_of_its_messages(search_url: str) -> None:
    async with Checkpointer(search_url) as log:
        await log.claim_run("t", "r")
        await log.append("t", [question(run_id="r"), answer()])
        await log.mark_run_complete("t", "r")
        await log.claim_run("t", "r2")
        await log.append("t", [question(run_id="r2")])  # not in the fork
        await log.fork("t", "f", after_run_id="r")
        with pytest.raises(ThreadAlreadyExistsError):
            await log.fork("t", "f", after_run_id="r")
    await assert_complete(search_url, rows=4 + 3)
    rows = await stored(search_url)
    times = {(row["thread_id"], row["seq"]): row["created_at"] for row in rows}
    assert times["f", 1] == times["t", 1]


async def test_deletion_leaves_no_rows(search_url: str) -> None:
    async with Checkpointer(search_url) as log:
        await log.append("t", [question(), answer()])
        await log.append("u", [question()])
        assert await log.delete_thread("t")
        await assert_complete(search_url, rows=1)
        assert await log.delete_thread("u")
    assert await stored(search_url) == []


async def test_truncation_deletes_the_rows(search_url: str) -> None:
    async with Checkpointer(search_url) as log:
        await log.append("t", [question(), answer(), answer()])
        await log.append("u", [question(), answer()])
        assert await log.truncate("t", after_seq=1) is not None
        await assert_complete(search_url, rows=1 + 3)
        await log.append("t", [answer()])
    await assert_complete(search_url, rows=1 + 3 + 2)


async def test_fork_at_a_seq_copies_the_rows(search_url: str) -> None:
    async with Checkpointer(search_url) as log:
        await log.append("t", [question(), answer(), answer()])
        await log.fork("t", "f", at_seq=2)
    await assert_complete(search_url, rows=5 + 3)


async def test_import_stores_the_rows(search_url: str) -> None:
    done = await asyncio.to_thread(threadlog, "import", str(SAMPLE), "--url", search_url)
    assert done.exit_code == 0, done.output
    rows = await stored(search_url)
    assert {row["kind"] for row in rows} == {"message", "tool_call"}
    await assert_complete(search_url, rows=len(rows))


async def test_copy_fills_the_index_of_the_target(search_url: str, tmp_path: Path) -> None:
    source = f"sqlite:///{tmp_path}/source.db"
    async with Checkpointer(source) as log:
        for thread in ("t", "u"):
            await log.append(thread, [question(), answer()])
        await copy_database(source, search_url)
        await assert_complete(search_url, rows=6)
        await execute(search_url, "UPDATE cubepi_threads SET updated_at = '2026-01-01 00:00:00'")
        await log.append("t", [answer()])
    copied = await copy_database(source, search_url)
    assert [group.faults for group in copied] == [[]]
    await assert_complete(search_url, rows=8)


async def test_database_without_the_part_gets_no_rows_and_no_table(database_url: str) -> None:
    async with Checkpointer(database_url) as log:
        await log.append("t", [question()])
        assert not log.client.facts.has_search
    assert not await on_connection(database_url, _has_table)


def _has_table(connection: Connection) -> bool:
    return inspect(connection).has_table(SearchRow.__tablename__)


async def test_migration_creates_the_part_only_by_name(empty_url: str) -> None:
    assert "search" not in await migrating.upgrade(empty_url)
    assert not await on_connection(empty_url, _has_table)
    assert await migrating.upgrade(empty_url, part="search") == {"search": "created"}
    assert (await migrating.upgrade(empty_url))["search"] == "unchanged"
    async with Checkpointer(empty_url) as log:
        await log.append("t", [answer()])
    await assert_complete(empty_url, rows=2)
    await migrating.downgrade(empty_url)
    assert not await on_connection(empty_url, _has_table)


async def test_waiting_is_a_condition_and_an_attribute(database_url: str) -> None:
    async with Checkpointer(database_url) as log:
        await log.append("t", [question()])
        await log.append("u", [question()])
        await log.save_pending_request("u", HitlRequestFactory())
    engine = host_engine(database_url)
    async with AsyncSession(engine) as session:
        waiting = (await session.scalars(select(Thread).where(Thread.waiting))).all()
        others = (await session.scalars(select(Thread).where(~Thread.waiting))).all()
        assert [(thread.thread_id, thread.waiting) for thread in waiting] == [("u", True)]
        assert [(thread.thread_id, thread.waiting) for thread in others] == [("t", False)]
    await engine.dispose()
