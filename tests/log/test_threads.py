"""Listing and deleting threads."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text

from tests.support.databases import execute, on_connection
from tests.support.factories import UserFactory
from threadlog import Checkpointer, ThreadSummary
from threadlog.errors import InvalidInputError, ThreadHasForksError

# Locks, row counts and foreign keys: drivers and databases differ in them.
pytestmark = [pytest.mark.every_way, pytest.mark.whole_matrix]

FORK = (
    "INSERT INTO cubepi_threads (thread_id, parent_thread_id, forked_at_seq) "
    "VALUES ('fork', 'parent', 1)"
)


async def pages(checkpointer: Checkpointer, limit: int, **options: str) -> list[ThreadSummary]:
    """List all threads page by page."""
    found: list[ThreadSummary] = []
    while page := await checkpointer.list_threads(
        after=found[-1] if found else None,
        limit=limit,
        **options,  # type: ignore[arg-type]  # the literal is in the callers
    ):
        found += page
    return found


async def test_lists_by_id_with_last_seq_and_parent(
    checkpointer: Checkpointer, database_url: str
) -> None:
    for number, thread_id in enumerate(["b", "parent", "A", "a"], start=1):
        await checkpointer.append(thread_id, UserFactory.build_batch(number))
    await execute(database_url, FORK)
    listed = await pages(checkpointer, limit=2)
    assert [(t.thread_id, t.last_seq, t.parent_thread_id, t.forked_at_seq) for t in listed] == [
        ("A", 3, None, None),
        ("a", 4, None, None),
        ("b", 1, None, None),
        ("fork", 0, "parent", 1),
        ("parent", 2, None, None),
    ]
    assert [t.thread_id for t in await checkpointer.list_threads(after="b")] == ["fork", "parent"]
    now = datetime.now(UTC)
    assert all(now - timedelta(seconds=60) < t.updated_at <= now for t in listed)


async def test_lists_the_most_recent_first(checkpointer: Checkpointer, database_url: str) -> None:
    """Append moves a thread to the front, and pages across equal seconds."""
    ids = [f"t{number}" for number in range(7)]
    for thread_id in ids:
        await checkpointer.append(thread_id, [UserFactory()])
    await execute(
        database_url,
        "UPDATE cubepi_threads SET updated_at = '2026-01-01 00:00:00'",
        "UPDATE cubepi_threads SET updated_at = '2026-01-02 00:00:00' WHERE thread_id < 't2'",
    )
    await checkpointer.append("t3", [UserFactory()])
    listed = [t.thread_id for t in await pages(checkpointer, limit=2, order="recent")]
    assert listed == ["t3", "t1", "t0", "t6", "t5", "t4", "t2"]


async def test_append_keeps_updated_at_to_the_second(
    checkpointer: Checkpointer, database_url: str
) -> None:
    """Activity moves updated_at, and it is the time of the last message."""
    await checkpointer.append("t", [UserFactory()])
    await execute(database_url, "UPDATE cubepi_threads SET updated_at = '2026-01-01 00:00:00'")
    await checkpointer.append("t", [UserFactory()])
    (summary,) = await checkpointer.list_threads()
    stored = await checkpointer.read("t")
    assert abs(summary.updated_at - stored[-1].created_at) <= timedelta(seconds=1)


async def test_lists_more_threads_than_one_statement_looks_up(checkpointer: Checkpointer) -> None:
    await asyncio.gather(
        *(checkpointer.append(f"t{n:03}", UserFactory.build_batch(n % 3 + 1)) for n in range(205))
    )
    listed = await checkpointer.list_threads(limit=300)
    assert [(t.thread_id, t.last_seq) for t in listed] == [
        (f"t{n:03}", n % 3 + 1) for n in range(205)
    ]


async def test_wrong_paging_is_refused(checkpointer: Checkpointer) -> None:
    with pytest.raises(InvalidInputError, match="order"):
        await checkpointer.list_threads(order="size")  # type: ignore[arg-type]  # the test
    with pytest.raises(InvalidInputError, match="limit"):
        await checkpointer.list_threads(limit=0)
    with pytest.raises(InvalidInputError, match="ThreadSummary"):
        await checkpointer.list_threads(after="t", order="recent")


async def test_delete_removes_all_that_belongs_to_a_thread(
    checkpointer: Checkpointer, database_url: str
) -> None:
    for thread_id in ("gone", "kept"):
        await checkpointer.append(thread_id, UserFactory.build_batch(2))
        await execute(
            database_url,
            f"INSERT INTO cubepi_runs (thread_id, run_id) VALUES ('{thread_id}', 'r')",
            "INSERT INTO cubepi_hitl_answers (thread_id, run_id, question_id, answer) "
            f"VALUES ('{thread_id}', '', 'q', '1')",
        )
    assert await checkpointer.delete_thread("gone") is True
    assert await checkpointer.delete_thread("gone") is False

    def counts(connection: Connection) -> list[int]:
        tables = ("threads", "messages", "runs", "hitl_answers")
        return [
            connection.execute(text(f"SELECT COUNT(*) FROM cubepi_{table}")).scalar_one()
            for table in tables
        ]

    assert await on_connection(database_url, counts) == [1, 2, 1, 1]
    await checkpointer.append("gone", [UserFactory()])
    assert [stored.seq for stored in await checkpointer.read("gone")] == [1]


async def test_delete_refuses_while_forks_point_at_the_thread(
    checkpointer: Checkpointer, database_url: str
) -> None:
    await checkpointer.append("parent", [UserFactory()])
    await execute(database_url, FORK)
    with pytest.raises(ThreadHasForksError, match="detach_forks") as caught:
        await checkpointer.delete_thread("parent")
    assert caught.value.thread_id == "parent"
    assert len(await checkpointer.read("parent")) == 1
    assert await checkpointer.delete_thread("parent", detach_forks=True) is True
    (fork,) = await checkpointer.list_threads()
    assert (fork.thread_id, fork.parent_thread_id, fork.forked_at_seq) == ("fork", None, None)
