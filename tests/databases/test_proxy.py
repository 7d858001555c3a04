"""The proxy that breaks networks, tested by itself."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest

from tests.support.patience import patience
from tests.support.servers.product import HOST
from tests.support.servers.proxy import Proxy


class Echo:
    """A server that says again what it is told, and remembers how its clients left."""

    def __init__(self) -> None:
        """Begin without clients."""
        self.heard = b""
        self.left: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        try:
            while data := await reader.read(100_000):
                self.heard += data
                writer.write(data)
            self.left.append("farewell")
        except ConnectionResetError:
            self.left.append("reset")
        writer.close()
        with suppress(ConnectionResetError):
            await writer.wait_closed()


@pytest.fixture
def echo() -> Echo:
    """Return the server's record of its connections."""
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    """Yield a proxy in front of the server."""
    server = await asyncio.start_server(echo.serve, HOST, 0)
    async with Proxy(server.sockets[0].getsockname()[1]) as opened:
        yield opened
    server.close()


async def connected(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect a client through the proxy, as far as the server."""
    reader, writer = await asyncio.open_connection(HOST, proxy.port)
    writer.write(b"a")
    assert await reader.readexactly(1) == b"a"
    return reader, writer


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    async with patience():
        while not true():  # noqa: ASYNC110 - it is no event of ours
            await asyncio.sleep(0.01)


async def test_bytes_pass_both_ways(proxy: Proxy, echo: Echo) -> None:
    reader, writer = await connected(proxy)
    said = bytes(range(256)) * 4096
    writer.write(said)
    assert await reader.readexactly(len(said)) == said
    writer.write_eof()
    assert await reader.read() == b""
    assert echo.left == ["farewell"]
    writer.close()
    await until(lambda: proxy.links == 0)


async def test_a_stalled_network_delivers_late(proxy: Proxy, echo: Echo) -> None:
    reader, writer = await connected(proxy)
    proxy.stall()
    writer.write(b"b")
    new_reader, new_writer = await asyncio.open_connection(HOST, proxy.port)
    new_writer.write(b"c")
    done, _ = await asyncio.wait({asyncio.create_task(reader.read(1))}, timeout=0.2)
    assert done == set()
    assert echo.heard == b"a"
    proxy.resume()
    assert await new_reader.readexactly(1) == b"c"
    await until(lambda: sorted(echo.heard) == sorted(b"abc"))
    writer.close()
    new_writer.close()


async def test_forgotten_links_are_silent_while_new_ones_work(proxy: Proxy, echo: Echo) -> None:
    reader, writer = await connected(proxy)
    proxy.forget()
    writer.write(b"b")
    _, new_writer = await connected(proxy)
    assert echo.heard == b"aa"
    proxy.resume()
    assert await reader.readexactly(1) == b"b"
    writer.close()
    new_writer.close()


async def test_a_cut_resets_both_ends(proxy: Proxy, echo: Echo) -> None:
    """Neither end is left in doubt, and new clients are served."""
    reader, _ = await connected(proxy)
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    await until(lambda: echo.left == ["reset"])
    _, writer = await connected(proxy)
    writer.close()


async def test_a_half_closed_link_ends_for_the_client_alone(proxy: Proxy, echo: Echo) -> None:
    reader, writer = await connected(proxy)
    proxy.half_close()
    assert await reader.read() == b""
    writer.write(b"b")
    await until(lambda: echo.heard == b"ab")
    assert echo.left == []
    writer.close()


async def test_a_server_that_was_taken_away_resets_its_clients_until_it_is_back(
    proxy: Proxy,
) -> None:
    reader, _ = await connected(proxy)
    proxy.take_away()
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    new_reader, new_writer = await asyncio.open_connection(HOST, proxy.port)
    with suppress(ConnectionResetError):
        assert await new_reader.read() == b""
    new_writer.close()
    proxy.bring_back()
    _, writer = await connected(proxy)
    writer.close()


async def test_a_server_that_is_down_resets_its_clients(unused_tcp_port: int) -> None:
    """The proxy itself stays up."""
    async with Proxy(unused_tcp_port) as proxy:
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
