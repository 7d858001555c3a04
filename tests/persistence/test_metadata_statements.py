"""What a server is sent by a metadata store: counted by the server itself."""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import event

from tests.counting import StatementCount
from tests.databases import on_connection
from tests.persistence.stores import THREADS, ago, name, run, thread
from tests.persistence.test_metadata_races import age_all
from tests.plans import plan_of, rows_read
from threadlog.persistence import MetadataStore, ThreadSearch, ThreadTtl
from threadlog.sessions import OwnedSessions


@pytest.fixture
async def store(innodb_graph_url: str) -> AsyncIterator[MetadataStore]:
    """Give a store on MySQL that has verified its schema."""
    async with MetadataStore(innodb_graph_url) as opened:
        await opened.fetch_thread_row(name())
        yield opened


@pytest.fixture
def fresh() -> Iterator[str]:
    """Give ids that were not used before."""
    return iter([name() for _ in range(100)])


async def test_reading_is_one(store: MetadataStore, count: StatementCount) -> None:
    """Pins one statement for each read, however much it gives and is filtered by."""
    thread_id = await thread(store, metadata={"a": 1, "b": [2]})
    run_id = await run(store, thread_id)
    search = ThreadSearch(
        ids=[thread_id], metadata={"a": 1, "b": [2]}, status="idle", sort_by="state_updated_at"
    )
    page: dict[str, Any] = {"limit": 10, "offset": 0, "status_value": "pending"}
    assert len(await store.search_thread_rows(search)) == 1
    assert await count.of(lambda: store.fetch_thread_row(thread_id)) == 1
    assert await count.of(lambda: store.search_thread_rows(search)) == 1
    assert await count.of(lambda: store.search_thread_rows(ThreadSearch())) == 1
    assert await count.of(lambda: store.fetch_run_row(thread_id, run_id)) == 1
    assert await count.of(lambda: store.list_run_rows(thread_id, **page)) == 1


async def test_threads(store: MetadataStore, count: StatementCount, fresh: Iterator[str]) -> None:
    """Pins clock, insert, commit to create; update, commit to change; none for nothing."""
    assert await count.of(lambda: thread(store, next(fresh), ttl=ThreadTtl(5))) == 3
    thread_id = await thread(store)
    change = {"metadata": {"a": 1}, "config": {}, "mark_state_updated": True}
    assert await count.of(lambda: store.update_thread(thread_id, **change)) == 2  # type: ignore[arg-type]  # of several types
    assert await count.of(lambda: store.update_thread(thread_id)) == 0
    assert await count.of(lambda: store.release_busy_thread(thread_id)) == 2
    assert await count.of(lambda: store.delete_thread(next(fresh))) == 3


async def test_a_thread_that_exists(store: MetadataStore, count: StatementCount) -> None:
    """Pins clock, insert, rollback, and the read in the place of the commit."""
    thread_id = await thread(store)
    assert await count.of(lambda: thread(store, thread_id, if_exists="do_nothing")) <= 5


async def test_runs(store: MetadataStore, count: StatementCount, fresh: Iterator[str]) -> None:
    """Pins clock, insert, commit to create; one and a commit for everything else."""
    thread_id = await thread(store)
    assert await count.of(lambda: run(store, thread_id, next(fresh))) == 3
    run_ids = [await run(store, thread_id) for _ in range(100)]
    assert await count.of(lambda: store.update_run_status(run_ids[0], "running")) == 2
    assert await count.of(lambda: store.touch_runs(run_ids)) == 2
    assert await count.of(lambda: store.touch_runs([])) == 0
    assert await count.of(lambda: store.delete_run(thread_id, next(fresh))) == 2


async def test_sweeping(store: MetadataStore, count: StatementCount, innodb_graph_url: str) -> None:
    """Pins lock, update, commit however many runs are stale; two statements where nothing is."""
    thread_id = await thread(store)
    counts = []
    for _ in range(3):
        made = [await run(store, thread_id) for _ in range(40)]
        await age_all("mysql", innodb_graph_url, store)
        before = await count.questions()
        rows = await store.fail_stale_runs(
            stale_after_seconds=60, exclude_run_ids=[name()], error="gone"
        )
        counts.append(await count.questions() - before - 1)
        assert {str(row["run_id"]) for row in rows} == set(made)
    assert min(counts) == 3
    sweep: Any = {"stale_after_seconds": 60, "exclude_run_ids": (), "error": "gone"}
    assert await count.of(lambda: store.fail_stale_runs(**sweep)) == 2
    assert await count.of(store.expire_threads) == 2


async def test_no_table_is_read_whole(store: MetadataStore, innodb_graph_url: str) -> None:
    """Pins that statements of every minute use keys, by the server's own plans."""
    sent: list[str] = []
    sessions = store._door._sessions
    assert isinstance(sessions, OwnedSessions)
    for engine in (sessions.engine, sessions.reading_engine):
        assert engine is not None
        event.listen(
            engine.sync_engine,
            "before_cursor_execute",
            lambda c, cursor, statement, parameters, *rest: sent.append(
                shown(statement, parameters)
            ),
        )
    threads = [await thread(store) for _ in range(50)]
    await on_connection(innodb_graph_url, lambda c: c.execute(THREADS.insert(), others()) and None)
    runs = [await run(store, thread_id) for thread_id in threads for _ in range(10)]
    for run_id in runs[10:]:
        await store.update_run_status(run_id, "success")
    await on_connection(
        innodb_graph_url,
        lambda c: c.exec_driver_sql("ANALYZE TABLE app_threads, app_runs").all() and None,
    )
    sent.clear()
    await store.fetch_thread_row(threads[0])
    await store.update_thread(threads[0], status_value="busy", mark_state_updated=True)
    await run(store, threads[0])
    await store.update_run_status(runs[0], "running")
    await store.fetch_run_row(threads[0], runs[0])
    await store.list_run_rows(threads[0], limit=5, offset=0, status_value=None)
    await store.touch_runs(runs[:5])
    await store.fail_stale_runs(stale_after_seconds=60, exclude_run_ids=runs[:3], error="gone")
    await store.release_busy_thread(threads[0])
    await store.search_thread_rows(ThreadSearch(limit=5))
    await store.search_thread_rows(ThreadSearch(status="busy", limit=5, sort_order="asc"))
    await store.delete_run(threads[1], runs[19])
    await store.delete_thread(threads[1])
    plans = {one: await plan_of(innodb_graph_url, one) for one in sent if "app_" in one}
    assert len(plans) == 14
    for statement, steps in plans.items():
        for step in (step for step in steps if is_read(step)):
            assert step["type"] != "ALL", (statement, step)
            if step["type"] == "index":  # in order, as far as the page goes
                assert await rows_read(innodb_graph_url, statement) < 50, (statement, step)
            assert "filesort" not in (step["Extra"] or ""), (statement, step)


def others() -> list[dict[str, Any]]:
    """Give threads enough for the server to think of keys."""
    return [
        {
            "thread_id": name(),
            "created_at": ago(1000),
            "updated_at": ago(1000 + number),
            "metadata": {},
            "config": {},
            "status": "idle",
        }
        for number in range(5000)
    ]


def is_read(step: dict[str, Any]) -> bool:
    """Say whether a step reads a table; a page of ids is read whole."""
    return step["select_type"] != "INSERT" and not str(step["table"]).startswith("<")


def shown(statement: str, parameters: Any) -> str:
    """Write a statement with its parameters in it."""
    return statement % tuple(map(_literal, parameters))


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return repr(str(value)) if isinstance(value, str | datetime) else str(value)
