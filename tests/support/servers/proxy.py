"""A TCP proxy on loopback that breaks the network between a client and a server on demand."""

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from tests.support.servers.product import HOST

_CHUNK: Final = 65_536
# On, for 0 seconds: closing sends a reset in place of a farewell.
_RESET: Final = struct.pack("ii", 1, 0)


class _Link:
    """A client's connection to the proxy and the proxy's to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.flowing = asyncio.Event()
        self.flowing.set()

    def cut(self) -> None:
        """Reset both connections."""
        for writer in (self.client, self.server):
            raw = writer.get_extra_info("socket")
            with suppress(OSError):  # closed already
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        self.flowing.set()  # there is nobody left to hold bytes for


class Proxy:
    """Passes bytes between its clients and one server, and can be told to break that.

    An asynchronous context manager; used in the event loop that it was entered in.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        """Where clients connect to, once entered."""
        self._server_port = port
        self._stalled = False
        self._away = False
        self._links: set[_Link] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._listener = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening and cut what is left."""
        self._listener.close()
        self.cut()
        await asyncio.gather(*self._serving)

    @property
    def links(self) -> int:
        """How many clients are connected."""
        return len(self._links)

    def stall(self) -> None:
        """Hold all bytes, both ways, without a word to either end; also those of new clients."""
        self._stalled = True
        self.forget()

    def forget(self) -> None:
        """Hold the bytes of those that are connected now, as a firewall that was restarted."""
        for link in self._links:
            link.flowing.clear()

    def resume(self) -> None:
        """Deliver what was held, late, and pass bytes on again."""
        self._stalled = False
        for link in self._links:
            link.flowing.set()

    def take_away(self) -> None:
        """Reset all connections, and those of new clients, as if the server was not there."""
        self._away = True
        self.cut()

    def bring_back(self) -> None:
        """Serve new clients again."""
        self._away = False

    def cut(self) -> None:
        """Reset all connections, at both ends. New clients are served."""
        for link in list(self._links):
            link.cut()

    def half_close(self) -> None:
        """Close the clients' connections and leave the server's open."""
        for link in self._links:
            with suppress(OSError, RuntimeError):  # closed already
                link.client.write_eof()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client in a task that is waited for in the end."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect a client to the server until both have ended."""
        if self._away:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(HOST, self._server_port)
        except OSError:  # the server is down: so is the network, to the client
            writer.transport.abort()
            return
        link = _Link(writer, back)
        if self._stalled:
            link.flowing.clear()
        self._links.add(link)
        pumps = {
            asyncio.create_task(_pump(reader, back, link.flowing)),
            asyncio.create_task(_pump(there, writer, link.flowing)),
        }
        await asyncio.wait(pumps)
        self._links.discard(link)
        link.cut()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event
) -> None:
    """Pass bytes one way until their source ends."""
    with suppress(OSError, RuntimeError):  # reset by either end, or half-closed by us
        while data := await reader.read(_CHUNK):
            await flowing.wait()
            writer.write(data)
            await writer.drain()
        await flowing.wait()
        writer.write_eof()
