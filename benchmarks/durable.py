"""Databases whose commits are durable."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory
from typing import Final

from tests.support.databases import fresh_database
from tests.support.servers.products import MARIADB, MYSQL, POSTGRES
from tests.support.servers.server import running_server

_SERVERS: Final = {"mysql": MYSQL, "postgres": POSTGRES, "mariadb": MARIADB}
DATABASES: Final = ("sqlite", *_SERVERS)
"""The names of the databases."""


@contextmanager
def durable_databases(name: str, count: int) -> Iterator[list[str]]:
    """Yield the URLs of empty databases on a new server, or of files of SQLite.

    Args:
        name: one of `DATABASES`.
        count: how many databases.
    """
    with ExitStack() as stack:
        if name == "sqlite":
            folder = stack.enter_context(TemporaryDirectory(prefix="threadlog-bench-"))
            yield [f"sqlite:///{folder}/{number}.db" for number in range(count)]
            return
        server = stack.enter_context(running_server(_SERVERS[name], durable=True))
        yield [stack.enter_context(fresh_database(server.url)) for _ in range(count)]
