"""Copying the state of graphs, and the rows of threads and runs beside it."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, update

from tests.graph.saver.making import checkpoint_of, config_for, metadata_of, put_chain
from tests.support.databases import execute, on_connection
from tests.support.ends import Ends, Rows, rows_of, say
from threadlog.copying import paging
from threadlog.copying.copy import Copied, compare_databases, copy_database
from threadlog.langgraph import Saver
from threadlog.models import GRAPH, METADATA, AppRun, AppThread, WriteOwner
from threadlog.persistence import MetadataStore

THREAD = "7b0c3a52-2f6f-4d0e-9b3f-6f1f5a1b8c9d"


async def fill(url: str) -> None:
    """Fill a database with checkpoints of two threads, and rows of one."""
    async with Saver(url) as saver:
        await saver.setup()
        configs = await put_chain(saver, THREAD, 12, run_id="r")
        await put_chain(saver, THREAD, 2, "sub|graph")
        await put_chain(saver, "t", 3)
        checkpoint = checkpoint_of({"large": b"\0'\\" * 300_000, "n": [1.0, 1e22, None]})
        await saver.aput(config_for("T"), checkpoint, metadata_of(n=1e22), {"large": "1", "n": "1"})
        await saver.aput_writes(configs[-1], [("a", 1), ("__error__", "first")], "task", "path")
    async with MetadataStore(url) as store:
        await store.create_thread(
            THREAD, metadata={"b": 1.0, "a": "ü"}, config={}, ttl=None, if_exists="raise"
        )
        await store.create_run(str(uuid4()), THREAD, "agent", {"n": 1}, {"in": [1]}, "reject")
    # Or a copy waits until the second of the last write is over.
    age = update(AppThread).values(updated_at=datetime(2019, 3, 31, 2, 30, 7, tzinfo=UTC))
    await on_connection(url, lambda connection: connection.execute(age))


async def state_of(url: str) -> Rows:
    """Read all rows of the graph state and of a server's metadata."""
    return {**await rows_of(url, GRAPH), **await rows_of(url, METADATA)}


async def copied(ends: Ends, **options: Any) -> dict[str, Copied]:
    """Copy without a fault."""
    groups = await copy_database(*ends, **options)
    assert [group.faults for group in groups if group.faults] == []
    return {group.group: group for group in groups}


async def test_all_of_it_arrives_as_it_is(every_graph_ends: Ends) -> None:
    await fill(every_graph_ends.source)
    before = await state_of(every_graph_ends.source)
    # Owners of writes are not copied: the workers of the source have no claim on the target.
    assert {name for name, rows in before.items() if not rows} == {WriteOwner.__tablename__}
    groups = await copied(every_graph_ends)
    assert {name: group.copied for name, group in groups.items()} == {
        "checkpoints": 3,
        "metadata": 1,
    }
    assert await state_of(every_graph_ends.target) == before
    groups = await copied(every_graph_ends)
    assert {name: group.rows for name, group in groups.items()} == {"checkpoints": 0, "metadata": 0}
    assert await state_of(every_graph_ends.source) == before


async def test_it_goes_in_pages(graph_ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGE_ROWS", 2)
    await fill(graph_ends.source)
    await copied(graph_ends)
    assert await state_of(graph_ends.target) == await state_of(graph_ends.source)


async def test_what_went_on_is_brought_by_the_next_copy(graph_ends: Ends) -> None:
    await fill(graph_ends.source)
    await copied(graph_ends)
    async with Saver(graph_ends.source) as saver:
        newest = await saver.aget_tuple(config_for(THREAD))
        assert newest is not None
        await saver.aput_writes(newest.config, [("__error__", "second")], "task", "path")
        await saver.aput(newest.config, checkpoint_of({"x": 1}), metadata_of(99), {"x": "1"})
    async with MetadataStore(graph_ends.source) as store:
        (run,) = await store.list_run_rows(THREAD, limit=9, offset=0, status_value=None)
        await store.update_run_status(str(run["run_id"]), "success")
        await store.update_thread(THREAD, status_value="busy", metadata={"c": 1})
        await store.create_run(str(uuid4()), THREAD, "agent", {}, {}, "reject")
    groups = await copied(graph_ends)
    assert {name: group.copied for name, group in groups.items()} == {
        "checkpoints": 1,
        "metadata": 1,
    }
    assert await state_of(graph_ends.target) == await state_of(graph_ends.source)


async def test_copy_of_error_with_nul_replaces_it_where_postgresql_has_none(
    graph_ends: Ends,
) -> None:
    """Releases before this one stored NUL wherever the database has it."""
    error, in_postgres = "tool said: a\0b", "tool said: a\ufffdb"
    if graph_ends.source.startswith("postgresql"):
        pytest.skip("PostgreSQL has no NUL")
    await fill(graph_ends.source)

    def store(connection: Connection) -> None:
        connection.execute(update(AppRun).values(error=error))

    await on_connection(graph_ends.source, store)
    for _ in range(2):  # the second finds no difference
        await copied(graph_ends)
    runs = (await state_of(graph_ends.target))["app_runs"].values()
    to_postgres = graph_ends.target.startswith("postgresql")
    assert [run["error"] for run in runs] == [in_postgres if to_postgres else error]
    groups = await compare_databases(*graph_ends)
    assert not any(group.faults for group in groups)


# What is changed in the target, in the rows of which group and thread, and the column's name.
EDITS = [
    ("threadlog_checkpoints SET type = 'x' WHERE thread_id = 'T'", 0, "T", "type"),
    ("threadlog_checkpoint_blobs SET version = 'x' WHERE channel = 'n'", 0, "T", "version"),
    ("threadlog_checkpoint_writes SET value = '1' WHERE idx >= 0", 0, THREAD, "value"),
    ("app_runs SET kwargs = '[]'", 1, THREAD, "kwargs"),
    ("app_threads SET status = 'x'", 1, THREAD, "status"),
]


async def test_difference_in_each_table_is_reported_and_kept(graph_ends: Ends) -> None:
    await fill(graph_ends.source)
    await copied(graph_ends)
    await execute(graph_ends.target, *(f"UPDATE {edit}" for edit, *_ in EDITS))
    before = await state_of(graph_ends.target)
    for act, kind in ((compare_databases, "different"), (copy_database, "conflict")):
        groups = await act(*graph_ends)
        assert {fault.kind for group in groups for fault in group.faults} == {kind}
        found = {
            (place, fault.thread_id, reason.split(maxsplit=1)[0].rstrip(":"), reason.split()[-2])
            for place, group in enumerate(groups)
            for fault in group.faults
            for reason in fault.reasons
        }
        assert found == {(place, one, edit.split()[0], col) for edit, place, one, col in EDITS}
    assert await state_of(graph_ends.target) == before


async def test_only_the_named_threads_are_copied(graph_ends: Ends) -> None:
    """A thread has one id in each group of tables, UUID or not."""
    await fill(graph_ends.source)
    groups = await copied(graph_ends, threads=[THREAD, "T"])
    assert groups["checkpoints"].copied == 2
    assert groups["metadata"].copied == 1
    (fault,) = (await copy_database(*graph_ends, threads=["none"]))[0].faults
    assert (fault.thread_id, fault.kind) == ("none", "missing")


async def test_both_parts_are_copied_unless_one_is_named(
    sqlite_url: str, second_sqlite_url: str
) -> None:
    ends = Ends(sqlite_url, second_sqlite_url)
    await say(ends.source, "t", "a")
    assert list(await copied(ends)) == ["messages"]
    await fill(ends.source)
    assert list(await copied(ends, part="graph")) == ["checkpoints"]
    assert list(await copied(ends, part="metadata")) == ["metadata"]
    assert list(await copied(ends)) == ["messages", "checkpoints", "metadata"]
    assert list(await copied(ends, part="messages")) == ["messages"]
