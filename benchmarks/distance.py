"""A distance to a server: bytes in both directions arrive some milliseconds later.

A server on the same machine answers so soon that a client is busy all of the time, and more
connections have nothing to win. Most databases are farther away.
"""

import asyncio
import sys
from asyncio import IncompleteReadError, Queue, StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from sqlalchemy import URL, make_url

_CHUNK: Final = 65_536


@asynccontextmanager
async def distance(url: str, ms: float) -> AsyncIterator[str]:
    """Yield a URL at which a server is some milliseconds away, in each direction.

    The delay runs in a process of its own, so that it takes no time from the measurement.
    """
    far = make_url(url)
    command = [sys.executable, "-m", "benchmarks.distance", str(far.host), str(far.port), str(ms)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe)
    try:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        port = int(await process.stdout.readline())
        near: URL = far.set(host="127.0.0.1", port=port)
        yield near.render_as_string(hide_password=False)
    finally:
        process.kill()
        await process.wait()


async def _serve(host: str, port: int, ms: float) -> None:
    """Accept connections, print the port, and go on until killed."""

    async def connect(reader: StreamReader, writer: StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(
            _delay(reader, far_writer, ms / 1000), _delay(far_reader, writer, ms / 1000)
        )

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _delay(reader: StreamReader, writer: StreamWriter, seconds: float) -> None:
    """Forward the bytes in order, each piece after the delay."""
    loop = asyncio.get_running_loop()
    pieces: Queue[tuple[float, bytes]] = Queue()

    async def read() -> None:
        while piece := await reader.read(_CHUNK):
            pieces.put_nowait((loop.time() + seconds, piece))
        pieces.put_nowait((loop.time() + seconds, b""))

    reading = asyncio.create_task(read())
    with suppress(ConnectionError, IncompleteReadError):
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(due - loop.time())
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
    reading.cancel()
    writer.close()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
