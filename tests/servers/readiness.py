"""Whether a server answers, and whether anyone still waits for it."""

import os
import select
import socket
import sys
import time
from collections.abc import Callable

from tests.servers.error import SourceFailedError


def announced_version(host: str, port: int) -> str:
    """Read the version that a MySQL server greets with.

    Raises:
        SourceFailedError: no MySQL server greets there.
    """
    try:
        with (
            socket.create_connection((host, port), timeout=5) as connection,
            connection.makefile("rb") as stream,
        ):
            length = int.from_bytes(stream.read(4)[:3], "little")
            greeting = stream.read(length)
    except OSError as error:
        raise SourceFailedError(f"no MySQL server answers at {host}:{port}: {error}") from error
    if greeting[:1] != b"\x0a":  # the protocol's version; an error packet has another byte
        raise SourceFailedError(f"what answers at {host}:{port} does not greet as MySQL does")
    return greeting[1:].partition(b"\0")[0].decode("ascii", "replace")


def greets(host: str, port: int) -> bool:
    """Look whether a MySQL server accepts connections."""
    try:
        announced_version(host, port)
    except SourceFailedError:
        return False
    return True


def requester_gone(seconds: float | None) -> bool:
    """Wait for the end of standard input: who asked for the server is done or dead.

    Args:
        seconds: how long to wait at most; None waits for ever.
    """
    readable, _, _ = select.select([sys.stdin.fileno()], [], [], seconds)
    return bool(readable) and os.read(sys.stdin.fileno(), 1) == b""


def wait_until_ready(
    ready: Callable[[], bool], alive: Callable[[], bool], *, seconds: float
) -> None:
    """Wait for a server that was just started.

    Args:
        ready: whether it accepts connections.
        alive: whether it still runs.
        seconds: how long it may take.

    Raises:
        SourceFailedError: it ended, it takes too long, or nobody waits for it any more.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if not alive():
            raise SourceFailedError("the server ended while starting")
        if time.monotonic() > deadline:
            raise SourceFailedError(f"the server was not ready within {seconds:g} s")
        if requester_gone(0.05):
            raise SourceFailedError("nobody waits for the server any more")
