"""Actions and checks of the shop's tests."""

import asyncio
import socket
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from signal import SIGINT

import httpx
from sqlalchemy import make_url, text

from examples.shop.server import ROOT, environment
from examples.shop.stopping import ITEM
from tests.support.patience import PATIENCE_SECONDS
from tests.support.processes import PythonProcess, run_python
from tests.support.ways import host_engine

IMPORTS = ("uvicorn", "uvicorn.protocols.http.h11_impl", "aiosqlite", "asyncmy", "asyncpg")

WATCHED = "tests.examples.watched:app"
STOPPING = "examples.shop.stopping:app"


@dataclass(frozen=True)
class Server:
    """What `examples.shop.server.Server` is, of a process that was forked."""

    process: PythonProcess
    client: httpx.AsyncClient

    async def line(self) -> str:
        """Wait for a line that the server prints; an empty one means that it has ended."""
        line: str = await asyncio.to_thread(self.process.stdout.readline)
        return line.strip()

    async def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self.process.kill()
        await asyncio.to_thread(self.process.wait)


@asynccontextmanager
async def serving(url: str, app: str, *, stop: str = "") -> AsyncIterator[Server]:
    """Do what `examples.shop.server.serving` does, with a process that is forked."""
    # The server inherits the socket, so that the port is free, and clients wait until it is up.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = PythonProcess(
            *("-m", "uvicorn", app, "--fd", "0", "--log-level", "warning"),
            imports=[*IMPORTS, app.partition(":")[0]],
            environment=environment(url, stop=stop),
            stdin=listener.fileno(),
            stderr=2,
        )
    with process:
        try:
            limit = PATIENCE_SECONDS
            async with httpx.AsyncClient(
                base_url=address, timeout=limit, trust_env=False
            ) as client:
                yield Server(process, client)
            if process.poll() is None:
                process.send_signal(SIGINT)
                assert await asyncio.to_thread(process.wait) == 0
        finally:
            process.kill()


@asynccontextmanager
async def watched(url: str) -> AsyncIterator[Server]:
    """Start the application; at the end its pool must have all its connections back."""
    async with serving(url, WATCHED) as server:
        yield server
        pool = (await server.client.get("/test/pool")).json()
        assert pool["taken"] == 0, "a connection was not given back"
        assert pool["idle"] > 0, "the pool that was looked at is not the one that is used"


async def place(server: Server, thread_id: str, item: str, quantity: int = 1) -> httpx.Response:
    """Place an order over HTTP."""
    order = {"thread_id": thread_id, "item": item, "quantity": quantity}
    return await server.client.post("/orders", json=order)


@asynccontextmanager
async def at_the_till(url: str, *words: str, stop: str) -> AsyncIterator[Process]:
    """Start the till, to stop where it is told; whatever happens it is gone in the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.shop.stopping", *words),
        cwd=ROOT,
        env=environment(url, "till", stop),
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def till(url: str, *words: str) -> tuple[int, str, str]:
    """Place an order at the till; return its status and output."""
    done = await asyncio.to_thread(
        run_python,
        *("-m", "examples.shop.till", *words),
        imports=["examples.shop.orders", "pymysql", "psycopg"],
        environment=environment(url, "till"),
    )
    return done.returncode, done.stdout, done.stderr


async def conversation(server: Server, thread_id: str) -> list[str]:
    """Return the texts of a conversation after checking that its seqs have no gap."""
    answer = await server.client.get(f"/threads/{thread_id}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return []
    said = answer.json()
    assert [message["seq"] for message in said] == list(range(1, len(said) + 1))
    return [message["text"] for message in said]


async def items(server: Server, thread_id: str) -> list[str]:
    """Return the items ordered in a thread after checking that each order is stored only once."""
    orders = (await server.client.get("/orders", params={"thread_id": thread_id})).json()
    due = [f"I order {o['quantity']} x {o['item']}. (order {o['id']})" for o in orders]
    said = await conversation(server, thread_id)
    assert sorted(said) == sorted(due), "orders and messages are not the same"
    return [order["item"] for order in orders]


async def counts(url: str, level: str) -> tuple[int, int]:
    """Count what an isolation level shows of the order to stop in: its row and its message."""
    orders = f"SELECT COUNT(*) FROM shop_orders WHERE item = '{ITEM}'"
    messages = "SELECT COUNT(*) - 1 FROM cubepi_messages"  # one order came before
    engine = host_engine(url, isolation_level=level)
    async with engine.connect() as connection:
        found = [await connection.scalar(text(query)) for query in (orders, messages)]
    await engine.dispose()
    return int(found[0]), int(found[1])


async def writes_to(url: str) -> tuple[bool, bool]:
    """Return whether an open PostgreSQL transaction has written an order, and a message.

    Uncommitted rows are invisible, but a transaction that has written to a table holds a lock on
    it.
    """
    query = (
        "SELECT count(*) > 0 FROM pg_locks JOIN pg_class ON pg_class.oid = relation "
        "WHERE mode = 'RowExclusiveLock' AND relname = '{}'"
    )
    engine = host_engine(url)
    async with engine.connect() as connection:
        orders, messages = [
            bool(await connection.scalar(text(query.format(table))))
            for table in ("shop_orders", "cubepi_messages")
        ]
    await engine.dispose()
    return orders, messages


def is_locked(url: str) -> bool:
    """Return True if a transaction is writing to an SQLite file."""
    connection = sqlite3.connect(str(make_url(url).database), timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    else:
        return False
    finally:
        connection.close()
