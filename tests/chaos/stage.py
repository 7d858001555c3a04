"""The setting of a scenario: a server, a database, workers, and their journals."""

import asyncio
import json
import os
import random
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, make_url
from sqlalchemy.exc import DBAPIError

from tests.chaos.journal import lines
from tests.chaos.verdict import Verdict, judge
from tests.chaos.worker import Order
from tests.support.databases import create_database, execute, on_connection
from tests.support.servers.cache import PROJECT
from tests.support.servers.process import data_folder_of
from tests.support.servers.product import Product
from tests.support.servers.server import own_program
from tests.support.servers.supervisor import supervised
from threadlog import Checkpointer

PROCESSES: Final = 8
QUICK_PROCESSES: Final = 3
THREADS: Final = 6
_ENDING_SECONDS: Final = 150.0
_RESTART_SECONDS: Final = 120.0

SESSIONS: Final = {
    "mysql": "SELECT id, state LIKE '%%commit%%' FROM performance_schema.processlist "
    "WHERE db = DATABASE() AND id <> CONNECTION_ID()",
    "mariadb": "SELECT id, state LIKE '%%commit%%' FROM information_schema.processlist "
    "WHERE db = DATABASE() AND id <> CONNECTION_ID()",
    "postgresql": "SELECT pid, state = 'active' AND query LIKE 'COMMIT%%' FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND backend_type = 'client backend'",
}
"""The connections to a database but for the one that asks, and whether they commit just now."""


@dataclass(frozen=True)
class Server:
    """A server that is started again when it dies."""

    product: Product
    url: str
    pid_file: Path
    data_folder: Path

    @property
    def port(self) -> int:
        """The server's port."""
        return make_url(self.url).port or 0

    @property
    def pid(self) -> int:
        """The process that runs now."""
        return int(self.pid_file.read_text(encoding="ascii"))

    async def kill(self) -> None:
        """Kill it without a warning, and wait until it is there again."""
        before = self.pid
        os.kill(before, signal.SIGKILL)
        async with asyncio.timeout(_RESTART_SECONDS):
            while not await self._is_new(before):  # noqa: ASYNC110 - another process's
                await asyncio.sleep(0.1)

    async def _is_new(self, before: int) -> bool:
        with suppress(OSError, ValueError, DBAPIError):
            if self.pid != before:
                await execute(self.url, "SELECT 1")
                return True
        return False


@contextmanager
def chaos_server(
    product: Product, parent: Path | None = None, *, away_seconds: float = 0.1
) -> Iterator[Server]:
    """Run a server with durable commits, on a data folder of its own.

    Args:
        product: which.
        parent: where the data folder is to lie.
        away_seconds: how long to wait before it is started again.
    """
    program = own_program(product)
    arguments: dict[str, Any] = {
        "product": product.name,
        "command": program.command,
        "data": str(data_folder_of(product, program)),
        "durable": True,
        "parent": str(parent) if parent else None,
        "away_seconds": away_seconds,
    }
    with supervised("restarting", **arguments) as report:
        yield Server(product, report["url"], Path(report["pid_file"]), Path(report["data_folder"]))


@dataclass
class Stage:
    """A scenario's database, and the processes that work on it."""

    server: Server
    url: str
    dice: random.Random
    journal: Path
    order: Order
    quick: bool
    workers: list[Process] = field(default_factory=list)
    started: int = 0

    async def start(self, **changes: Any) -> Process:
        """Start a worker, and wait until it works; every other one is synchronous."""
        order = replace(self.order, name=f"w{self.started}", synchronous=self.started % 2 == 1)
        order = replace(order, **changes)
        self.started += 1
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.worker", json.dumps(asdict(order))),
            cwd=PROJECT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self.workers.append(worker)
        return worker

    async def start_all(self, **changes: Any) -> None:
        """Start workers, and wait until all of them work."""
        count = QUICK_PROCESSES if self.quick else PROCESSES
        await asyncio.gather(*(self.start(**changes) for _ in range(count)))
        for worker in self.workers:
            assert worker.stdout is not None
            await worker.stdout.readline()

    async def end(self) -> list[int]:
        """Wait until the workers have ended after their last calls; return their exit statuses."""
        try:
            async with asyncio.timeout(_ENDING_SECONDS):
                await asyncio.gather(*(worker.communicate(b"") for worker in self.workers))
        finally:
            for worker in self.workers:
                if worker.returncode is None:
                    worker.kill()
        return [worker.returncode or 0 for worker in self.workers]

    async def verdict(self) -> Verdict:
        """Compare the database with what was noted, after the workers have ended."""
        stored = {}
        async with Checkpointer(self.url) as checkpointer:
            for thread in range(self.order.threads):
                data = await checkpointer.load(f"t{thread}")
                said = await checkpointer.read(f"t{thread}")
                stored[f"t{thread}"] = (
                    [(each.seq, each.message.metadata) for each in said],
                    data.extra if data else {},
                )
        found = judge(lines(self.journal), stored)
        left = await self._left_behind()
        if left:
            found.faults.append(f"{left} connections are still open on the server")
        return found

    async def _left_behind(self) -> int:
        """Count connections that nobody uses any more, once the server had time to notice."""

        def look(connection: Connection) -> int:
            return len(connection.exec_driver_sql(SESSIONS[connection.dialect.name]).all())

        for _ in range(50):
            left = await on_connection(self.url, look)
            if not left:
                break
            await asyncio.sleep(0.1)
        return left


@asynccontextmanager
async def staged(server: Server, name: str, seed: int, *, quick: bool) -> AsyncIterator[Stage]:
    """Prepare a scenario; what still runs in the end is killed.

    The database is left to the server, whose data folder is thrown away.
    """
    url = await create_database(server.url, f"chaos_{name}")
    with tempfile.TemporaryDirectory(prefix="threadlog-chaos-") as folder:
        journal = Path(folder) / "journal"
        journal.touch()
        shown = url.render_as_string(hide_password=False)
        stage = Stage(
            server,
            shown,
            random.Random(f"{seed} {name}"),
            journal,
            Order(url=shown, journal=str(journal), name="", seed=seed, threads=THREADS),
            quick,
        )
        try:
            yield stage
        finally:
            for worker in stage.workers:
                if worker.returncode is None:
                    worker.kill()
                    await worker.wait()
