"""Databases for tests: made for one test, dropped after it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, TypeVar, cast
from uuid import uuid4

from sqlalchemy import URL, Connection, QueuePool, event, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from threadlog import Checkpointer
from threadlog.models import EXPECTED_SCHEMA_VERSION, cubepi_metadata
from threadlog.sessions import OwnedSessions

T = TypeVar("T")


async def on_connection(url: str | URL, work: Callable[[Connection], T]) -> T:
    """Run synchronous work in one committed transaction on a database of its own engine."""
    plain = make_url(url)
    driver = {"mysql": "mysql+asyncmy", "sqlite": "sqlite+aiosqlite"}[plain.get_backend_name()]
    engine = create_async_engine(plain.set(drivername=driver))
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


async def execute(url: str, *statements: str) -> None:
    """Do with SQL, in one transaction, what another writer would do."""

    def run(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    await on_connection(url, run)


def create_schema(connection: Connection) -> None:
    """Create the tables of the models, and their version."""
    cubepi_metadata.create_all(connection)
    connection.execute(
        text("INSERT INTO cubepi_schema_version VALUES (:version)"),
        {"version": EXPECTED_SCHEMA_VERSION},
    )


def engines_of(checkpointer: Checkpointer) -> list[AsyncEngine]:
    """Give the engines of an open checkpointer, the one that writes first."""
    sessions = checkpointer._sessions
    assert isinstance(sessions, OwnedSessions)
    engines = [engine for engine in (sessions.engine, sessions.reading_engine) if engine]
    assert engines, "the checkpointer is not open"
    return engines


def pools_of(checkpointer: Checkpointer) -> list[QueuePool]:
    """Give the pools of an open checkpointer, the one of connections that write first."""
    return [cast("QueuePool", engine.pool) for engine in engines_of(checkpointer)]


def sent_by(checkpointer: Checkpointer) -> list[str]:
    """Give a list that gets every statement that an open checkpointer sends from now on."""
    sent: list[str] = []
    for engine in engines_of(checkpointer):
        event.listen(
            engine.sync_engine,
            "before_cursor_execute",
            lambda c, cursor, statement, *rest: sent.append(statement),
        )
    return sent


@contextmanager
def fresh_mysql_database(server_url: str) -> Iterator[str]:
    """Create an empty MySQL database; drop it afterwards. Gives its URL."""
    name = f"threadlog_test_{uuid4().hex[:12]}"
    server = make_url(server_url).set(database="")
    _run(server, f"CREATE DATABASE {name}")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        _run(server, f"DROP DATABASE {name}")


# What a test may have changed of the schema, as one number.
_FINGERPRINT: Final = text(
    "SELECT (SELECT SUM(CRC32(CONCAT_WS('|', table_name, column_name, column_type, collation_name,"
    " is_nullable, column_default, extra))) FROM information_schema.columns"
    " WHERE table_schema = DATABASE()),"
    " (SELECT SUM(CRC32(CONCAT_WS('|', table_name, index_name, column_name, seq_in_index)))"
    " FROM information_schema.statistics WHERE table_schema = DATABASE()),"
    " (SELECT SUM(CRC32(CONCAT_WS('|', table_name, partition_name, partition_method,"
    " partition_expression))) FROM information_schema.partitions"
    " WHERE table_schema = DATABASE()),"
    " (SELECT GROUP_CONCAT(table_name, engine ORDER BY table_name) FROM information_schema.tables"
    " WHERE table_schema = DATABASE())"
)


class SharedDatabase:
    """A MySQL database with the schema that tests use in turn, each of them empty.

    Creating tables of 64 partitions takes longer than most tests.
    """

    def __init__(self, server_url: str) -> None:
        """Take the server; the database is created on first use."""
        self._server_url = server_url
        self._stack = ExitStack()
        self._url = ""
        self._fingerprint: tuple[object, ...] = ()

    def empty(self) -> str:
        """Empty the tables, or make the database anew where its schema was changed.

        Returns:
            The database's URL.
        """
        if not self._url or not asyncio.run(on_connection(self._url, self._emptied)):
            self.close()
            self._url = self._stack.enter_context(fresh_mysql_database(self._server_url))
            self._fingerprint = asyncio.run(on_connection(self._url, self._created))
        return self._url

    def close(self) -> None:
        """Drop the database."""
        self._stack.close()

    def _created(self, connection: Connection) -> tuple[object, ...]:
        create_schema(connection)
        return tuple(connection.execute(_FINGERPRINT).one())

    def _emptied(self, connection: Connection) -> bool:
        if tuple(connection.execute(_FINGERPRINT).one()) != self._fingerprint:
            return False
        connection.execute(text("SET FOREIGN_KEY_CHECKS = 0"))
        for table in cubepi_metadata.tables:
            connection.execute(text(f"DELETE FROM {table}"))
        connection.execute(
            text("INSERT INTO cubepi_schema_version VALUES (:version)"),
            {"version": EXPECTED_SCHEMA_VERSION},
        )
        return True


def _run(url: URL, statement: str) -> None:
    asyncio.run(on_connection(url, lambda connection: connection.execute(text(statement)) and None))
