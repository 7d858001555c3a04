"""The shop over HTTP, and at the till: an order and its message are both kept, or neither."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import urllib.parse

import pytest
from sqlalchemy import make_url

from examples.shop.orders import run_again
from examples.shop.server import ROOT
from tests.examples.helpers import Server, conversation, items, place, till, watched
from tests.support.databases import execute
from tests.support.factories import UserFactory
from tests.support.ways import host_engine
from threadlog import Checkpointer
from threadlog.errors import ConnectionFailedError, DeadlockError

# The application does not know the databases apart.
pytestmark = pytest.mark.one_database


@pytest.mark.processes
async def test_an_order_is_kept_and_said(server: Server) -> None:
    assert (await server.client.get("/threads/a")).status_code == 404
    answer = await place(server, "a/1", "tea", 2)
    assert answer.status_code == 201
    placed = answer.json()
    assert placed == {"id": placed["id"], "thread_id": "a/1", "item": "tea", "quantity": 2}
    assert (await place(server, "b", "milk")).status_code == 201
    assert await items(server, "a/1") == ["tea"]
    assert await conversation(server, "a/1") == [f"I order 2 x tea. (order {placed['id']})"]
    everything = (await server.client.get("/orders")).json()
    assert [order["item"] for order in everything] == ["tea", "milk"]


@pytest.mark.processes
async def test_orders_at_once(server: Server) -> None:
    """No order is lost, doubled or without its message, new threads included."""
    wanted = [("one", f"i{n}") for n in range(20)]
    wanted += [(f"t{n % 5}", f"j{n}") for n in range(20)]
    answers = await asyncio.gather(*(place(server, *order) for order in wanted))
    assert [answer.status_code for answer in answers] == [201] * 40
    assert len({answer.json()["id"] for answer in answers}) == 40
    for thread in {thread for thread, _ in wanted}:
        due = sorted(item for where, item in wanted if where == thread)
        assert sorted(await items(server, thread)) == due


@pytest.mark.parametrize("thread_id", ["", "a "])
@pytest.mark.processes
async def test_what_threadlog_refuses_takes_the_order_back(server: Server, thread_id: str) -> None:
    answer = await place(server, thread_id, "tea")
    assert answer.status_code == 422
    assert "thread_id" in answer.json()["detail"]
    assert (await server.client.get("/orders")).json() == []
    quoted = urllib.parse.quote(thread_id)
    assert (await server.client.get(f"/threads/{quoted}")).status_code == 422
    assert (await place(server, "a", "tea", 0)).status_code == 422
    assert (await place(server, "a", "tea")).status_code == 201


async def test_a_lock_timeout_runs_the_whole_transaction_again(mysql_url: str) -> None:
    """A customer sees nothing of it, and gets 503 where it lasts too long."""
    options = {"init_command": "SET SESSION innodb_lock_wait_timeout = 1"}
    impatient = make_url(mysql_url).update_query_dict(options)
    engine = host_engine(mysql_url)
    async with (
        watched(impatient.render_as_string(hide_password=False)) as server,
        Checkpointer(engine=engine) as checkpointer,
    ):
        assert (await place(server, "a", "tea")).status_code == 201
        async with engine.connect() as other:
            lock = "SELECT * FROM cubepi_threads WHERE thread_id = 'a' FOR UPDATE"
            await other.exec_driver_sql(lock)
            waiting = asyncio.create_task(place(server, "a", "milk"))
            await asyncio.sleep(1.6)  # the first attempt has been given up
            await other.rollback()
            assert (await waiting).status_code == 201
            await other.exec_driver_sql(lock)
            answer = await place(server, "a", "sugar")
            await other.rollback()
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert "busy" in answer.json()["detail"]
        assert await items(server, "a") == ["tea", "milk"]
        await checkpointer.append("a", [UserFactory()])
        assert len(await conversation(server, "a")) == 3
    await engine.dispose()
    await execute(mysql_url, "DROP TABLE shop_orders")


@pytest.mark.processes
async def test_a_locked_sqlite_file_is_503(sqlite_url: str) -> None:
    async with watched(f"{sqlite_url}?timeout=0.1") as server:
        assert (await place(server, "a", "tea")).status_code == 201
        other = sqlite3.connect(str(make_url(sqlite_url).database), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert (await place(server, "a", "milk")).status_code == 503
        other.close()
        assert (await place(server, "a", "milk")).status_code == 201
        assert await items(server, "a") == ["tea", "milk"]


async def test_only_what_may_succeed_is_run_again() -> None:
    calls = []

    @run_again
    async def deadlock_twice() -> int:
        calls.append("async")
        if len(calls) < 3:
            raise DeadlockError("1213")
        return len(calls)

    @run_again
    def never(error: Exception) -> None:
        calls.append("sync")
        raise error

    assert await deadlock_twice() == 3
    for error, count in ((DeadlockError("1213"), 5), (ConnectionFailedError("1045"), 1)):
        calls.clear()
        with pytest.raises(type(error)):
            never(error)
        assert calls == ["sync"] * count


@pytest.mark.processes
async def test_the_till_keeps_and_says_an_order(shop_url: str) -> None:
    assert await till(shop_url, "a", "tea", "2") == (
        0,
        "Order 1 is placed.\n    1  user  I order 2 x tea. (order 1)\n",
        "",
    )
    status, out, said = await till(shop_url, "a ", "tea", "2")
    assert (status, out) == (1, "")
    assert said.startswith("Nothing was ordered: thread_id must not end in a space")
    async with watched(shop_url) as server:
        assert await items(server, "a") == ["tea"]
        assert len((await server.client.get("/orders")).json()) == 1


@pytest.mark.processes
async def test_tills_and_the_application_at_once(shop_url: str) -> None:
    async with watched(shop_url) as server:
        assert (await place(server, "a", "tea")).status_code == 201  # there are tables now
        tills = [till(shop_url, "a", f"till{n}", "1") for n in range(4)]
        posts = [place(server, "a", f"post{n}") for n in range(20)]
        ran, answers = await asyncio.gather(asyncio.gather(*tills), asyncio.gather(*posts))
        assert [(status, err) for status, _, err in ran] == [(0, "")] * 4
        assert [answer.status_code for answer in answers] == [201] * 20
        due = ["tea", *(f"till{n}" for n in range(4)), *(f"post{n}" for n in range(20))]
        assert sorted(await items(server, "a")) == sorted(due)


@pytest.mark.processes
def test_the_demonstration(database_url: str) -> None:
    for _ in range(2):
        ran = subprocess.run(
            [sys.executable, "-m", "examples.shop.killed", database_url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert ran.stdout.count("killed here, with SIGKILL") == 2
        told = [line.split("told: ")[1] for line in ran.stdout.splitlines() if "told: " in line]
        assert [json.loads(order)["item"] for order in told] == ["tea", "milk"]
        assert "Each order is said once" in ran.stdout.splitlines()[-1]
