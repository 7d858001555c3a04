"""The statements of a metadata store, counted by the server itself.

PostgreSQL receives a BEGIN for each transaction that writes, and locks a thread that may be
released before.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.persistence.stores import THREADS, ago, name, run, thread
from tests.persistence.test_metadata_races import age_all
from tests.support.counting import StatementCount
from tests.support.databases import on_connection
from tests.support.plans import analyze, explain, recorded
from threadlog.persistence import MetadataStore, ThreadSearch, ThreadTtl
from threadlog.runtime.client import EngineClient


@pytest.fixture
async def store(server_graph_url: str) -> AsyncIterator[MetadataStore]:
    """Yield a store that has verified its schema, on a server."""
    async with MetadataStore(server_graph_url) as opened:
        await opened.fetch_thread_row(name())
        yield opened


@pytest.fixture
def fresh() -> Iterator[str]:
    """Return an iterator of ids that were not used before."""
    return iter([name() for _ in range(100)])


async def test_reading_is_one(store: MetadataStore, count: StatementCount) -> None:
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
    assert await count.of(lambda: thread(store, next(fresh), ttl=ThreadTtl(5))) == count.figure(
        3, postgresql=4
    )
    thread_id, writing = await thread(store), count.figure(2, postgresql=3)
    change = {"metadata": {"a": 1}, "config": {}, "mark_state_updated": True}
    assert await count.of(lambda: store.update_thread(thread_id, **change)) == writing  # type: ignore[arg-type]  # of several types
    assert await count.of(lambda: store.update_thread(thread_id)) == 0
    assert await count.of(lambda: store.release_busy_thread(thread_id)) == count.figure(
        2, postgresql=4
    )
    assert await count.of(lambda: store.delete_thread(next(fresh))) == count.figure(3, postgresql=4)


async def test_a_thread_that_exists(store: MetadataStore, count: StatementCount) -> None:
    thread_id = await thread(store)
    assert await count.of(lambda: thread(store, thread_id, if_exists="do_nothing")) <= count.figure(
        5, postgresql=6
    )


async def test_runs(store: MetadataStore, count: StatementCount, fresh: Iterator[str]) -> None:
    thread_id = await thread(store)
    assert await count.of(lambda: run(store, thread_id, next(fresh))) == count.figure(
        3, postgresql=4
    )
    writing = count.figure(2, postgresql=3)
    run_ids = [await run(store, thread_id) for _ in range(100)]
    assert await count.of(lambda: store.update_run_status(run_ids[0], "running")) == writing
    assert await count.of(lambda: store.touch_runs(run_ids)) == writing
    assert await count.of(lambda: store.touch_runs([])) == 0
    assert await count.of(lambda: store.delete_run(thread_id, next(fresh))) == writing


async def test_sweeping(
    store: MetadataStore, count: StatementCount, server_name: str, server_graph_url: str
) -> None:
    thread_id = await thread(store)
    counts = []
    for _ in range(3):
        made = [await run(store, thread_id) for _ in range(40)]
        await age_all(server_name, server_graph_url, store)
        before = await count.questions()
        rows = await store.fail_stale_runs(
            stale_after_seconds=60, exclude_run_ids=[name()], error="gone"
        )
        counts.append(await count.questions() - before - 1)
        assert {str(row["run_id"]) for row in rows} == set(made)
    assert min(counts) == count.figure(3, postgresql=4)
    sweep: Any = {"stale_after_seconds": 60, "exclude_run_ids": (), "error": "gone"}
    assert await count.of(lambda: store.fail_stale_runs(**sweep)) == count.figure(2, postgresql=3)
    assert await count.of(store.expire_threads) == 2


async def test_no_table_is_read_whole(
    store: MetadataStore, server_name: str, server_graph_url: str
) -> None:
    """Statements of every minute use keys, by the server's own plans."""
    threads = [await thread(store) for _ in range(50)]
    await on_connection(server_graph_url, lambda c: c.execute(THREADS.insert(), others()) and None)
    runs = [await run(store, thread_id) for thread_id in threads for _ in range(10)]
    for run_id in runs[10:]:
        await store.update_run_status(run_id, "success")
    await on_connection(server_graph_url, lambda c: analyze(c, "app_threads", "app_runs"))
    sessions = store._client._client
    assert isinstance(sessions, EngineClient)
    engines = [engine for engine in (sessions.engine, sessions.reading_engine) if engine]
    with recorded(engines) as sent:
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
    plans = await on_connection(server_graph_url, lambda c: explain(c, sent, small=True))
    assert len(plans) == (15 if server_name == "postgres" else 14)
    for plan in plans:
        # PostgreSQL sorts ten runs of a thread, or the one that is busy, once it has found them.
        assert not plan.sorts or server_name == "postgres", plan
        for step in plan.steps:
            assert step.key, plan
            assert not step.whole or "LIMIT" in plan.statement, plan


def others() -> list[dict[str, Any]]:
    """Return enough threads for the server to use an index."""
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
