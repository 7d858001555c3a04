"""Start an application of the example as an HTTP server on loopback, on a free port."""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT
from typing import Final

import httpx
from sqlalchemy import make_url

ROOT: Final = Path(__file__).parent.parent.parent
_DRIVERS: Final = {
    "app": {
        "mysql": "mysql+asyncmy",
        "mariadb": "mariadb+asyncmy",
        "postgresql": "postgresql+asyncpg",
        "sqlite": "sqlite+aiosqlite",
    },
    "till": {
        "mysql": "mysql+pymysql",
        "mariadb": "mariadb+pymysql",
        "postgresql": "postgresql+psycopg",
        "sqlite": "sqlite",
    },
}


def environment(url: str, application: str = "app", stop: str = "") -> dict[str, str]:
    """Return an application's environment: its database, and where it stops.

    Args:
        url: ``mysql://…``, ``mariadb://…``, ``postgresql://…`` or ``sqlite:///…``.
        application: ``app`` or ``till``, which need different drivers.
        stop: one of `examples.shop.stopping.PLACES`.
    """
    plain = make_url(url)
    named = plain.set(drivername=_DRIVERS[application][plain.get_backend_name()])
    return os.environ | {
        "SHOP_URL": named.render_as_string(hide_password=False),
        "SHOP_STOP": stop,
    }


@dataclass(frozen=True)
class Server:
    """A server that runs, and a client of it."""

    process: Process
    client: httpx.AsyncClient

    async def line(self) -> str:
        """Wait for a line that the server prints; an empty one means that it has ended."""
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe, see below
        return (await self.process.stdout.readline()).decode().strip()

    async def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def serving(
    url: str, app: str = "examples.shop.app:app", *, stop: str = ""
) -> AsyncIterator[Server]:
    """Start uvicorn; at the end stop it as Ctrl-C does, and check its exit status.

    Args:
        url: the database.
        app: the application.
        stop: where an order of `examples.shop.stopping.ITEM` is to stop.

    Raises:
        RuntimeError: uvicorn ended with an error.
    """
    # The server inherits the socket, so that the port is free, and clients wait until it is up.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        descriptor = listener.fileno()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "uvicorn", app, "--fd", str(descriptor)),
            *("--log-level", "warning"),
            cwd=ROOT,
            env=environment(url, stop=stop),
            pass_fds=[descriptor],
            stdout=PIPE,
        )
    try:
        async with httpx.AsyncClient(base_url=address, timeout=60, trust_env=False) as client:
            yield Server(process, client)
        if process.returncode is None:
            process.send_signal(SIGINT)
            if await process.wait():
                raise RuntimeError(f"The server ended with {process.returncode}.")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
