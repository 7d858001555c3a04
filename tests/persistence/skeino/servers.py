"""Starts the application as an HTTP server of its own: on loopback, on a free port."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT
from typing import Any, Final

import httpx

from tests.support.patience import PATIENCE_SECONDS, until
from tests.support.processes import PythonProcess

BEAT_SECONDS: Final = 0.3
STALE_SECONDS: Final = 5.0
"""After so long without a beat a run's process is taken for dead."""

IMPORTS: Final = ("uvicorn.main", "skeino", "threadlog.skeino", "langgraph.graph", "asyncmy")
TERMINAL: Final = {"success", "error", "timeout", "interrupted"}


@dataclass(frozen=True)
class Server:
    """A server that runs, and a client of it."""

    process: PythonProcess
    client: httpx.AsyncClient
    log: Path
    """What it prints, of warnings and worse."""

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request that must succeed; return the response's body."""
        answer = await self.client.request(method, path, json=body)
        assert answer.is_success, f"{answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def thread(self, **metadata: Any) -> str:
        """Create a thread; return its id."""
        thread = await self.ask("POST", "/threads", {"metadata": metadata})
        return str(thread["thread_id"])

    async def start(self, thread_id: str, steps: int, seconds: float = 0.0) -> str:
        """Start a background run that keeps each of its steps; return its id."""
        run = await self.ask(
            "POST",
            f"/threads/{thread_id}/runs",
            {
                "assistant_id": "work",
                "input": {"steps": steps, "seconds": seconds, "done": []},
                "durability": "sync",
            },
        )
        assert run["status"] == "pending"
        return str(run["run_id"])

    async def run(self, thread_id: str, run_id: str) -> Any:
        """Return a run."""
        return await self.ask("GET", f"/threads/{thread_id}/runs/{run_id}")

    async def wait(self, thread_id: str, run_id: str) -> Any:
        """Wait until a run has ended, and return it."""

        async def ended() -> bool:
            return (await self.run(thread_id, run_id))["status"] in TERMINAL

        await until(ended)
        return await self.run(thread_id, run_id)

    async def history(self, thread_id: str) -> list[Any]:
        """Return all checkpoints of a thread, the last first."""
        found = await self.ask("GET", f"/threads/{thread_id}/history?limit=1000")
        assert isinstance(found, list)
        return found

    async def kill(self) -> None:
        """Kill it with SIGKILL, which it cannot see coming."""
        self.process.kill()
        await asyncio.to_thread(self.process.wait)


def scheme_of(url: str) -> str:
    """Return the scheme of the database of a URL."""
    return url.partition(":")[0]


@asynccontextmanager
async def serving(folder: Path, scheme: str, url: str) -> AsyncIterator[Server]:
    """Start uvicorn; at the end ask it to stop, as Ctrl-C does, and see that it did so in order.

    Args:
        folder: for the log.
        scheme: what decides where it keeps its data.
        url: where that is.
    """
    # The server inherits the socket, so that the port is free, and clients wait until it is up.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        log = folder / f"server-{port}.log"
        with log.open("wb") as printed:
            process = PythonProcess(
                *("-m", "uvicorn", "tests.persistence.skeino.served:app"),
                *("--fd", "0", "--log-level", "warning"),
                imports=IMPORTS,
                environment={"SERVED_SCHEME": scheme, "SERVED_URL": url},
                stdin=listener.fileno(),
                stdout=printed.fileno(),
                stderr=printed.fileno(),
            )
    try:
        address, limit = f"http://127.0.0.1:{port}", PATIENCE_SECONDS
        async with httpx.AsyncClient(base_url=address, timeout=limit, trust_env=False) as client:
            yield Server(process, client, log)
        if process.poll() is None:
            process.send_signal(SIGINT)
            ended = await asyncio.to_thread(process.wait)
            assert ended == 0, log.read_text(encoding="utf-8")
    finally:
        with process:
            process.kill()
