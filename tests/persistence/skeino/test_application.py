"""A skeino 4.0.0 application over HTTP, each server in a process of its own."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from sqlalchemy import text

from tests.persistence.skeino.servers import (
    BEAT_SECONDS,
    STALE_SECONDS,
    Server,
    scheme_of,
    serving,
)
from tests.support.databases import on_connection
from tests.support.patience import until

TABLES = ["app_threads", "app_runs", "threadlog_checkpoints", "threadlog_checkpoint_writes"]
COLLECTIONS = ["app_threads", "app_runs", "checkpoints", "checkpoint_writes"]


async def rows(url: str) -> dict[str, int]:
    """Count the rows of each table, or the documents of each collection."""
    if url.startswith("mongodb"):
        async with AsyncMongoClient[Any](url) as client:
            found = client.get_default_database()
            return {name: await found[name].count_documents({}) for name in COLLECTIONS}
    return await on_connection(
        url,
        lambda c: {name: c.scalar(text(f"SELECT COUNT(*) FROM {name}")) or 0 for name in TABLES},
    )


def runs_of(history: list[Any]) -> list[str]:
    """Return the run of each checkpoint, without consecutive repetitions."""
    ids = [checkpoint["metadata"]["run_id"] for checkpoint in history]
    return [each for n, each in enumerate(ids) if n == 0 or ids[n - 1] != each]


@pytest.mark.one_database
async def test_threads_are_found_by_metadata(server: Server) -> None:
    mine = [await server.thread(customer="u1", number=n) for n in range(3)]
    for n in range(3):
        await server.thread(customer="u2", number=n)
    body = {"metadata": {"customer": "u1"}, "limit": 2, "sort_by": "created_at"}
    found = await server.ask("POST", "/threads/search", body)
    assert [thread["thread_id"] for thread in found] == [mine[2], mine[1]]
    assert found[0]["metadata"] == {"customer": "u1", "number": 2}
    rest = await server.ask("POST", "/threads/search", body | {"offset": 2})
    assert [thread["thread_id"] for thread in rest] == [mine[0]]
    assert await server.ask("POST", "/threads/search", {"metadata": {"customer": "u3"}}) == []


@pytest.mark.one_database
async def test_a_thread_that_exists_is_a_conflict(server: Server) -> None:
    thread_id = await server.thread(customer="u1")
    again = {"thread_id": thread_id, "metadata": {"customer": "u2"}}
    answer = await server.client.post("/threads", json=again)
    assert answer.status_code == 409
    assert f"Thread '{thread_id}' exists already" in answer.json()["detail"]
    same = await server.ask("POST", "/threads", again | {"if_exists": "do_nothing"})
    assert same["metadata"] == {"customer": "u1"}


@pytest.mark.one_database
async def test_history_is_grouped_by_run(server: Server) -> None:
    thread_id = await server.thread()
    runs = []
    for _ in range(2):
        runs.append(await server.start(thread_id, steps=3))
        assert (await server.wait(thread_id, runs[-1]))["status"] == "success"
    history = await server.history(thread_id)
    assert runs_of(history) == [runs[1], runs[0]]
    assert len(history) == 2 * 2 + 3 + 1, "the second run finds enough steps after one"
    only = {"limit": 100, "metadata": {"run_id": runs[0]}}
    mine = await server.ask("POST", f"/threads/{thread_id}/history", only)
    assert [checkpoint["metadata"]["run_id"] for checkpoint in mine] == [runs[0]] * 5
    state = await server.ask("GET", f"/threads/{thread_id}")
    assert state["status"] == "idle"
    assert state["values"]["done"] == ["step 1", "step 2", "step 3", "step 4"]


async def test_everything_is_there_after_a_restart(tmp_path: Path, served_url: str) -> None:
    paths = ["/threads/{}", "/threads/{}/runs", "/threads/{}/history?limit=100"]
    async with serving(tmp_path, scheme_of(served_url), served_url) as server:
        thread_id = await server.thread(customer="u1")
        run = await server.wait(thread_id, await server.start(thread_id, steps=2))
        before = [await server.ask("GET", path.format(thread_id)) for path in paths]
    async with serving(tmp_path, scheme_of(served_url), served_url) as server:
        after = [await server.ask("GET", path.format(thread_id)) for path in paths]
        assert after == before
        assert after[0]["values"]["done"] == ["step 1", "step 2"]
        assert await server.ask("GET", f"/threads/{thread_id}/runs/{run['run_id']}/join")
        found = await server.ask("POST", "/threads/search", {"metadata": {"customer": "u1"}})
        assert [thread["thread_id"] for thread in found] == [thread_id]
        again = await server.wait(thread_id, await server.start(thread_id, steps=1))
        assert again["status"] == "success"


async def test_deleting_a_thread_deletes_all_of_it(server: Server, served_url: str) -> None:
    kept, gone = await server.thread(), await server.thread()
    for thread_id in (kept, gone):
        await server.wait(thread_id, await server.start(thread_id, steps=2))
    both = await rows(served_url)
    assert (await server.client.delete(f"/threads/{gone}")).status_code == 204
    assert await rows(served_url) == {name: count // 2 for name, count in both.items()}
    assert (await server.client.get(f"/threads/{gone}")).status_code == 404
    assert (await server.client.get(f"/threads/{gone}/history")).status_code == 404
    assert len(await server.history(kept)) == 4


@pytest.mark.one_database
async def test_a_thread_expires(server: Server, served_url: str) -> None:
    """The plug-in sweeps: the thread goes, with its runs and checkpoints."""
    body = {"ttl": {"ttl": 0.01, "strategy": "delete"}}
    thread_id = (await server.ask("POST", "/threads", body))["thread_id"]
    await server.wait(thread_id, await server.start(thread_id, steps=2))

    async def gone() -> bool:
        return not any((await rows(served_url)).values())

    await until(gone)


@pytest.mark.one_database
async def test_what_cannot_be_stored_is_the_clients_mistake(server: Server) -> None:
    half = b'{"metadata": {"half of a pair": "\\ud800"}}'
    answer = await server.client.post("/threads", content=half)
    assert (answer.status_code, "surrogate" in answer.json()["detail"]) == (422, True)
    for bad in (half, b'{"metadata": {"a": "\\u0000"}}', b'{"metadata": {"n": 1e999}}'):
        answer = await server.client.post("/threads/search", content=bad)
        assert answer.status_code == 422
    answer = await server.client.post("/threads/search", json={"offset": 2**63})
    assert answer.status_code == 422


async def test_a_dead_workers_run_fails_once(tmp_path: Path, served_url: str) -> None:
    async with (
        serving(tmp_path, scheme_of(served_url), served_url) as one,
        serving(tmp_path, scheme_of(served_url), served_url) as two,
        serving(tmp_path, scheme_of(served_url), served_url) as victim,
    ):
        thread_id = await victim.thread()
        run_id = await victim.start(thread_id, steps=1000, seconds=0.05)

        async def under_way() -> bool:
            return len(await one.history(thread_id)) >= 4

        await until(under_way)
        live_thread = await one.thread()
        live = await one.start(live_thread, steps=80, seconds=0.1)
        await asyncio.sleep(1.5 * STALE_SECONDS)
        assert (await two.run(thread_id, run_id))["status"] == "running", "its owner lives"
        await victim.kill()

        failed = await two.wait(thread_id, run_id)
        assert failed["status"] == "error"
        await asyncio.sleep(5 * BEAT_SECONDS)  # for further sweeps to come in vain
        for worker in (one, two):
            assert await worker.run(thread_id, run_id) == failed
            assert (await worker.ask("GET", f"/threads/{thread_id}"))["status"] == "error"
        sweeps = [worker.log.read_text(encoding="utf-8") for worker in (one, two)]
        assert sum(log.count(f"Failed orphaned run {run_id}") for log in sweeps) == 1

        assert (await two.wait(live_thread, live))["status"] == "success"
        steps = len((await two.ask("GET", f"/threads/{thread_id}"))["values"]["done"])
        onward = await two.start(thread_id, steps=steps + 2)
        assert (await two.wait(thread_id, onward))["status"] == "success"
        assert (await one.ask("GET", f"/threads/{thread_id}"))["status"] == "idle"


@pytest.mark.processes
async def test_skeinos_own_schemes_stay_as_they_are(tmp_path: Path) -> None:
    async with serving(tmp_path, "memory", "") as server:
        thread_id = await server.thread()
        run = await server.wait(thread_id, await server.start(thread_id, steps=2))
        assert run["status"] == "success"
    async with serving(tmp_path, "memory", "") as server:
        assert (await server.client.get(f"/threads/{thread_id}")).status_code == 404


@pytest.mark.parametrize(
    ("scheme", "url", "error"),
    [
        ("mariadb", "mysql://root:s3cr3t@127.0.0.1/d", "the URI begins with mysql://"),
        ("mysql", "mariadb://root:s3cr3t@127.0.0.1/d", "the URI begins with mariadb://"),
        ("mysql", "", "needs a URI"),
    ],
)
@pytest.mark.processes
async def test_a_wrong_setting_ends_the_server(
    tmp_path: Path, scheme: str, url: str, error: str
) -> None:
    """The server does not start, and its error text has no password."""
    async with serving(tmp_path, scheme, url) as server:
        assert await asyncio.to_thread(server.process.wait) != 0
        log = server.log.read_text(encoding="utf-8")
    assert error in log
    assert "s3cr3t" not in log
