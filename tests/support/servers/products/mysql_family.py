"""What MySQL and MariaDB have in common."""

import os
import socket
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from tests.support.servers.error import SourceFailedError
from tests.support.servers.product import HOST

PORT: Final = 3306
"""Where both listen unless told otherwise."""


def placing(folder: Path, port: int) -> list[str]:
    """List the options of one process."""
    return [
        f"--datadir={folder / 'data'}",
        f"--bind-address={HOST}",
        f"--port={port}",
        "--socket=mysql.sock",  # in the data folder: the full path may be too long for a socket
        f"--pid-file={folder / 'pid'}",
        f"--tmpdir={folder}",  # a MariaDB that starts deletes what others have in a common one
        *runner(),
    ]


def runner() -> list[str]:
    """Return the arguments that allow root to run the server, if root does."""
    return ["--user=root"] if os.geteuid() == 0 else []


def announced_version(url: URL) -> str:
    """Read the version that a server greets with, before anyone logs in.

    Raises:
        SourceFailedError: no server of this protocol greets there.
    """
    host, port = url.host or "localhost", url.port or PORT
    try:
        with (
            socket.create_connection((host, port), timeout=5) as connection,
            connection.makefile("rb") as stream,
        ):
            length = int.from_bytes(stream.read(4)[:3], "little")
            greeting = stream.read(length)
    except OSError as error:
        raise SourceFailedError(f"no server answers at {host}:{port}: {error}") from error
    if greeting[:1] != b"\x0a":  # the protocol's version; an error packet has another byte
        raise SourceFailedError(
            f"what answers at {host}:{port} does not greet as MySQL and MariaDB do"
        )
    return greeting[1:].partition(b"\0")[0].decode("ascii", "replace")
