"""Metadata stores that many use at once: tasks, connections and processes."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable
from typing import Any, Self

import pytest
from sqlalchemy import Connection, update
from sqlalchemy.util import await_only

from tests.persistence.stores import (
    KINDS,
    RUNS,
    THREADS,
    InMemory,
    InMongoDB,
    ago,
    name,
    run,
    several_open,
    thread,
)
from tests.persistence.worker import expire, stale
from tests.support.databases import on_connection
from tests.support.patience import patience
from tests.support.processes import PythonProcess
from threadlog.errors import ThreadAlreadyExistsError, ThreadNotFoundError
from threadlog.persistence import ThreadTtl

pytestmark = pytest.mark.whole_matrix

WORKERS = 8


async def by_two_processes(kind: str, url: str, job: str) -> list[str]:
    """Run a sweep with eight stores, four in each of two processes, twice each."""
    command = ["-m", "tests.persistence.worker", kind, url, "4", job]
    processes = [PythonProcess(*command, imports=["tests.persistence.stores"]) for _ in range(2)]
    for process in processes:
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
    outputs = await asyncio.gather(
        *(asyncio.to_thread(process.communicate, "go\n") for process in processes)
    )
    assert [process.returncode for process in processes] == [0, 0]
    return [one for out, _ in outputs for one in json.loads(out)]


async def age_all(kind: str, url: str, store: Any) -> None:
    """Set the last activity of every run to long ago."""
    aged = update(RUNS).values(updated_at=ago(90))
    if kind == "mongodb":
        await InMongoDB(url).change("app_runs", {}, {"$set": {"updated_at": ago(90)}})
    elif kind == "memory":
        InMemory(store).execute(aged)
    else:
        await on_connection(url, lambda c: c.execute(aged) and None)


@pytest.mark.processes
async def test_each_stale_run_is_reported_once(ours: tuple[str, str]) -> None:
    kind, url = ours
    async with several_open(kind, url, WORKERS) as stores:
        threads = [await thread(stores[0]) for _ in range(10)]
        made = [await run(stores[0], threads[number % 10]) for number in range(200)]
        await age_all(kind, url, stores[0])
        if kind == "memory":
            swept = [one for found in await asyncio.gather(*map(stale, stores)) for one in found]
        else:
            swept = await by_two_processes(kind, url, "stale")
        assert Counter(swept) == Counter(made)


@pytest.mark.processes
async def test_each_expired_thread_is_reported_once(ours: tuple[str, str]) -> None:
    kind, url = ours
    async with several_open(kind, url, WORKERS) as stores:
        made = [
            await thread(stores[0], ttl=ThreadTtl(0, "delete" if number % 2 else "keep_latest"))
            for number in range(60)
        ]
        kept = await thread(stores[0], ttl=ThreadTtl(100))
        await lengthen(kind, url, stores[0])
        if kind == "memory":
            swept = [one for found in await asyncio.gather(*map(expire, stores)) for one in found]
        else:
            swept = await by_two_processes(kind, url, "expire")
        assert Counter(swept) == Counter(made)
        for number, thread_id in enumerate(made):
            assert (await stores[0].fetch_thread_row(thread_id) is None) == (number % 2 == 1)
        assert await stores[0].fetch_thread_row(kept) is not None


async def lengthen(kind: str, url: str, store: Any) -> None:
    """Expire kept threads now and next in an hour, so that they expire only once."""
    ttl = {"strategy": "keep_latest", "ttl_minutes": 60, "expires_at": ago(9).isoformat()}
    is_kept = THREADS.c.ttl["strategy"].as_string() == "keep_latest"
    changed = update(THREADS).where(is_kept).values(ttl=ttl)
    if kind == "mongodb":
        query = {"ttl.strategy": "keep_latest"}
        await InMongoDB(url).change("app_threads", query, {"$set": {"ttl": ttl}})
    elif kind == "memory":
        InMemory(store).execute(changed)
    else:
        await on_connection(url, lambda c: c.execute(changed) and None)


async def all_of(work: list[Awaitable[Any]]) -> list[Any]:
    """Run calls at once; return each result or error."""
    return await asyncio.gather(*work, return_exceptions=True)


async def test_one_of_eight_creates(ours: tuple[str, str]) -> None:
    """Eight who create the same thread are given the same row, which one made."""
    kind, url = ours
    async with several_open(kind, url, WORKERS) as stores:
        for _ in range(10):
            thread_id = name()
            create = [
                store.create_thread(
                    thread_id,
                    metadata={"by": place},
                    config={},
                    ttl=None,
                    if_exists="do_nothing",
                )
                for place, store in enumerate(stores)
            ]
            rows = await all_of(create)
            assert all(row == rows[0] for row in rows), rows
            assert rows[0] == await stores[0].fetch_thread_row(thread_id)


async def test_seven_of_eight_are_reported(ours: tuple[str, str]) -> None:
    """With ``raise`` one creates and the others are told that it exists."""
    kind, url = ours
    async with several_open(kind, url, WORKERS) as stores:
        for _ in range(5):
            thread_id = name()
            outcomes = await all_of([thread(store, thread_id) for store in stores])
            lost = [one for one in outcomes if not isinstance(one, str)]
            assert [type(one) for one in lost] == [ThreadAlreadyExistsError] * (WORKERS - 1)


async def test_creating_and_deleting(ours: tuple[str, str]) -> None:
    """Do_nothing gives a row though the thread is deleted again and again."""
    kind, url = ours
    async with several_open(kind, url, WORKERS) as stores:
        thread_id = name()
        work: list[Awaitable[Any]] = []
        for _ in range(10):
            work += [
                thread(store, thread_id, if_exists="do_nothing") if place % 2 else
                store.delete_thread(thread_id)
                for place, store in enumerate(stores)
            ]  # fmt: skip
        outcomes = await all_of(work)
        assert {one for one in outcomes if one is not None} == {thread_id}


async def test_one_of_eight_finishes(ours: tuple[str, str]) -> None:
    """One final status is stored and stays; only its writer's call returns True."""
    kind, url = ours
    async with several_open(kind, url, WORKERS) as stores:
        thread_id = await thread(stores[0])
        for _ in range(10):
            run_id = await run(stores[0], thread_id)
            final = ["success", "error", "timeout", "interrupted"] * 2
            finish = [
                store.update_run_status(run_id, status, error=str(place))
                for place, (store, status) in enumerate(zip(stores, final, strict=True))
            ]
            won = await all_of(finish)
            assert sorted(won) == [False] * (WORKERS - 1) + [True]
            row = await stores[0].fetch_run_row(thread_id, run_id)
            assert row["error"] == str(won.index(True))
            assert row["status"] == final[won.index(True)]


async def test_a_run_begins_or_its_thread_expires(ours: tuple[str, str]) -> None:
    """Never both happens: a run that was created keeps its thread."""
    kind, url = ours
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    async with several_open(kind, url, WORKERS) as stores:
        made = [await thread(stores[0], ttl=ThreadTtl(0)) for _ in range(40)]
        shuffled = random.Random(seed).sample(made, len(made))
        begin = [run(stores[1 + place % 3], one) for place, one in enumerate(shuffled)]
        sweeps = [store.expire_threads(limit=1000) for store in stores[4:]]
        outcomes = await all_of([*begin, *sweeps])
        expired = [str(one.thread_id) for swept in outcomes[len(begin) :] for one in swept]
        for thread_id, outcome in zip(shuffled, outcomes, strict=False):
            row = await stores[0].fetch_thread_row(thread_id)
            if isinstance(outcome, ThreadNotFoundError):
                assert (row, expired.count(thread_id)) == (None, 1)
            else:
                assert isinstance(outcome, str), outcome
                assert await stores[0].fetch_run_row(thread_id, outcome) is not None
                assert (row is not None, expired.count(thread_id)) == (True, 0)


async def test_runs_of_a_thread_that_is_deleted(ours: tuple[str, str]) -> None:
    """No run is left without its thread."""
    kind, url = ours
    async with several_open(kind, url, WORKERS) as stores:
        for _ in range(10):
            thread_id = await thread(stores[0])
            begin = [run(store, thread_id) for store in stores[1:]]
            outcomes = await all_of([*begin, stores[0].delete_thread(thread_id)])
            assert {type(one) for one in outcomes} <= {str, ThreadNotFoundError, type(None)}
            left = await stores[0].list_run_rows(thread_id, limit=100, offset=0, status_value=None)
            assert left == []


async def test_heartbeats_and_sweeps(ours: tuple[str, str]) -> None:
    """Runs are touched and swept at once without an error, in whatever order."""
    kind, url = ours
    async with several_open(kind, url, WORKERS) as stores:
        thread_id = await thread(stores[0])
        made = [await run(stores[0], thread_id) for _ in range(50)]
        work: list[Awaitable[Any]] = []
        for place, store in enumerate(stores * 4):
            some = made[place :: 3 + place % 2][:: -1 if place % 2 else 1]
            work += [store.touch_runs(some)] if place % 3 else [stale(store)]
        assert [one for one in await all_of(work) if isinstance(one, Exception)] == []
        listed = await stores[0].list_run_rows(thread_id, limit=99, offset=0, status_value=None)
        assert {row["status"] for row in listed} == {"pending"}


# --- One transaction that is held open ----------------------------------------------


class Held:
    """A transaction of somebody else's on MySQL, held open until it is told."""

    def __init__(self, url: str, *statements: Any) -> None:
        self._url, self._statements = url, statements
        self._begun, self._go = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Self:
        """Execute, and hold."""
        self._task = asyncio.create_task(self._run())
        await self._begun.wait()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Commit."""
        await self.commit()

    async def commit(self) -> None:
        """Commit."""
        self._go.set()
        await self._task

    async def _run(self) -> None:
        def work(connection: Connection) -> None:
            for statement in self._statements:
                connection.execute(statement)
            self._begun.set()
            await_only(self._go.wait())

        await on_connection(self._url, work)


@pytest.fixture(params=["", "-engine"], ids=["url", "engine"])
def server_kind(server_name: str, request: pytest.FixtureRequest) -> str:
    """Return the kinds of store with row locks: at READ COMMITTED and an application's level."""
    return f"{server_name}{request.param}"


async def test_a_run_that_is_being_changed_is_not_waited_for(
    server_kind: str, server_graph_url: str
) -> None:
    async with KINDS[server_kind](server_graph_url) as opened:
        thread_id = await thread(opened.store)
        busy, gone = [await run(opened.store, thread_id) for _ in range(2)]
        await age_all(server_kind, server_graph_url, opened.store)
        beat = update(RUNS).where(RUNS.c.run_id == busy).values(updated_at=ago(0))
        async with Held(server_graph_url, beat), patience():
            assert await stale(opened.store) == [gone]
        assert await stale(opened.store) == []


async def test_a_thread_is_not_released_under_a_run_that_begins(
    server_kind: str, server_graph_url: str
) -> None:
    """The release waits for a run that is being created, and then sees it."""
    async with KINDS[server_kind](server_graph_url) as opened:
        thread_id = await thread(opened.store)
        await opened.store.update_thread(thread_id, status_value="busy")
        async with Held(server_graph_url, *creating_a_run(thread_id)) as held:
            release = asyncio.create_task(opened.store.release_busy_thread(thread_id))
            await asyncio.sleep(0.3)
            assert not release.done()
            await held.commit()
            assert await release is False


async def test_a_release_waits_for_a_run_that_is_being_finished(
    server_kind: str, server_graph_url: str
) -> None:
    """A transaction that finishes the last run and is not yet committed is not overlooked."""
    async with KINDS[server_kind](server_graph_url) as opened:
        thread_id = await thread(opened.store)
        await opened.store.update_thread(thread_id, status_value="busy")
        run_id = await run(opened.store, thread_id)
        finish = update(RUNS).where(RUNS.c.run_id == run_id).values(status="success")
        async with Held(server_graph_url, finish) as held:
            release = asyncio.create_task(opened.store.release_busy_thread(thread_id))
            await asyncio.sleep(0.3)
            assert not release.done()
            await held.commit()
            assert await release is True


async def test_a_thread_does_not_expire_under_a_run_that_begins(
    server_kind: str, server_graph_url: str
) -> None:
    """The sweep leaves it to whoever has it, and does not wait."""
    async with KINDS[server_kind](server_graph_url) as opened:
        thread_id = await thread(opened.store, ttl=ThreadTtl(0))
        async with Held(server_graph_url, *creating_a_run(thread_id)), patience():
            assert await opened.store.expire_threads() == []
        assert await opened.store.expire_threads() == []
        (row,) = await opened.store.list_run_rows(thread_id, limit=9, offset=0, status_value=None)
        await opened.store.update_run_status(str(row["run_id"]), "success")
        assert [str(one.thread_id) for one in await opened.store.expire_threads()] == [thread_id]


async def test_a_run_waits_for_a_thread_that_is_being_expired(
    server_kind: str, server_graph_url: str
) -> None:
    """A run which is created meanwhile is refused, and does not outlive its thread."""
    async with KINDS[server_kind](server_graph_url) as opened:
        thread_id = await thread(opened.store)
        lock = THREADS.select().where(THREADS.c.thread_id == thread_id).with_for_update()
        gone = THREADS.delete().where(THREADS.c.thread_id == thread_id)
        async with Held(server_graph_url, lock, gone) as held:
            begin = asyncio.create_task(run(opened.store, thread_id))
            await asyncio.sleep(0.3)
            assert not begin.done()
            await held.commit()
            with pytest.raises(ThreadNotFoundError):
                await begin
        assert await opened.behind.runs() == []


def creating_a_run(thread_id: str) -> list[Any]:
    """Return the statements that create a run, without COMMIT."""
    values = {
        "run_id": name(),
        "thread_id": thread_id,
        "assistant_id": "agent",
        "created_at": ago(0),
        "updated_at": ago(0),
        "status": "pending",
        "metadata": {},
        "kwargs": {},
        "multitask_strategy": "reject",
    }
    lock = THREADS.select().where(THREADS.c.thread_id == thread_id).with_for_update(read=True)
    return [lock, RUNS.insert().values(values)]
