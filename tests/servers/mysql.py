"""A real MySQL server: for tests as `mysql_server`, for people as a command.

``python -m tests.servers.mysql`` starts one, prints the URL of a database with threadlog's schema
and stops the server on Ctrl-C.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from sqlalchemy import URL, Connection, insert, make_url, select, text

from tests.databases import on_connection
from tests.servers.debian import program_from_debian
from tests.servers.docker import IMAGE, require_docker
from tests.servers.error import (
    REMEDY,
    URL_VARIABLE,
    ServerUnavailableError,
    SourceFailedError,
    unavailable,
)
from tests.servers.mysqld import data_folder_of
from tests.servers.program import Program, program_on_path, supported_version
from tests.servers.readiness import announced_version
from tests.servers.supervisor import supervised
from threadlog.models import EXPECTED_SCHEMA_VERSION, SchemaVersion, cubepi_metadata

__all__ = ["MySQLServer", "ServerUnavailableError", "create_database", "mysql_server"]


@dataclass(frozen=True)
class MySQLServer:
    """A server that accepts connections."""

    url: str
    """Its URL without a database, such as ``mysql://root@127.0.0.1:3306/``."""

    data_folder: Path | None
    """Where its files lie, ``ca.pem`` among them; None if it was not started here."""

    source: str
    """Where it comes from, in words."""


@contextmanager
def mysql_server(*, durable: bool = False) -> Iterator[MySQLServer]:
    """Find or start a MySQL server, and stop it in the end if it was started.

    Args:
        durable: whether a commit waits for the disk; a server named by URL is as it is.

    Raises:
        ServerUnavailableError: no server can be had, or the one named by URL does not answer.
    """
    url = os.environ.get(URL_VARIABLE)
    if url:
        _check(url)
        yield MySQLServer(url, None, URL_VARIABLE)
        return
    with ExitStack() as stack:
        yield _first_available(stack, durable=durable)


def _check(url: str) -> None:
    """Refuse a URL at which no MySQL that threadlog works with answers."""
    parsed = make_url(url)
    host, port = parsed.host or "localhost", parsed.port or 3306
    try:
        supported_version(announced_version(host, port))
    except SourceFailedError as error:
        raise unavailable([(URL_VARIABLE, str(error))]) from error


def _first_available(stack: ExitStack, *, durable: bool) -> MySQLServer:
    """Start a server from the first source that works; the stack stops it."""
    attempts = [(URL_VARIABLE, "not set")]
    for name, source in _SOURCES.items():
        try:
            return stack.enter_context(source(name, durable=durable))
        except SourceFailedError as error:
            attempts.append((name, str(error)))
    raise unavailable(attempts)


@contextmanager
def _path_server(name: str, *, durable: bool) -> Iterator[MySQLServer]:
    """Run the machine's own mysqld."""
    with _program_server(name, program_on_path(), durable=durable) as server:
        yield server


@contextmanager
def _docker_server(name: str, *, durable: bool) -> Iterator[MySQLServer]:
    """Run a container."""
    require_docker()
    with supervised("docker", durable=durable) as report:
        yield MySQLServer(report["url"], None, name)


@contextmanager
def _debian_server(name: str, *, durable: bool) -> Iterator[MySQLServer]:
    """Run Debian's mysqld out of the cache."""
    with _program_server(name, program_from_debian(), durable=durable) as server:
        yield server


@contextmanager
def _program_server(name: str, program: Program, *, durable: bool) -> Iterator[MySQLServer]:
    """Run a mysqld on a copy of its pristine data folder."""
    data = data_folder_of(program)
    arguments = {"command": program.command, "data": str(data), "durable": durable}
    with supervised("mysqld", **arguments) as report:
        source = f"{name} ({program.build})"
        yield MySQLServer(report["url"], Path(report["data_folder"]), source)


_SOURCES: Final[dict[str, Callable[..., AbstractContextManager[MySQLServer]]]] = {
    "mysqld on PATH": _path_server,
    f"Docker image {IMAGE}": _docker_server,
    "Debian's packages": _debian_server,
}


async def create_database(url: str, name: str) -> URL:
    """Create a database with threadlog's schema, unless it is there already.

    Args:
        url: the server, as `MySQLServer` has it.
        name: what to call the database.

    Returns:
        The database's URL.
    """
    server = make_url(url)
    create = text(f"CREATE DATABASE IF NOT EXISTS `{name}`")
    await on_connection(server, lambda connection: connection.execute(create).close())
    database = server.set(database=name)
    await on_connection(database, _create_schema)
    return database


def _create_schema(connection: Connection) -> None:
    """Create what is missing of threadlog's tables, and their version."""
    cubepi_metadata.create_all(connection)
    if not connection.execute(select(SchemaVersion.version)).first():
        connection.execute(insert(SchemaVersion).values(version=EXPECTED_SCHEMA_VERSION))


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Treat a signal as Ctrl-C."""
    raise KeyboardInterrupt


def _serve(*, durable: bool) -> None:
    """Start a server, say where it is, and wait."""
    with mysql_server(durable=durable) as server:
        url = asyncio.run(create_database(server.url, "threadlog"))
        sys.stderr.write(f"MySQL from {server.source}; Ctrl-C stops it\n")
        sys.stdout.write(url.render_as_string(hide_password=False) + "\n")
        sys.stdout.flush()
        signal.pause()


def main() -> int:
    """Serve until interrupted, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.mysql", epilog=REMEDY)
    parser.add_argument("--durable", action="store_true", help="commits wait for the disk")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    # Shells that are not interactive have what they start in the background ignore it.
    signal.signal(signal.SIGINT, _interrupt)
    try:
        _serve(durable=options.durable)
    except KeyboardInterrupt:
        return 0
    except ServerUnavailableError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
