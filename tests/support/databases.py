"""Databases for tests: made for one test, dropped after it."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final, TypeVar, cast
from uuid import uuid4

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    QueuePool,
    create_engine,
    delete,
    event,
    insert,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.support.fingerprints import fingerprint
from tests.support.surroundings import allow_any_update
from threadlog import Checkpointer
from threadlog.models import GRAPH, MESSAGES, METADATA, STORE, SchemaPart
from threadlog.runtime.client import EngineClient

T = TypeVar("T")


ASYNCHRONOUS: Final = {
    "mariadb": "mariadb+asyncmy",
    "mysql": "mysql+asyncmy",
    "postgresql": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
}
"""The asynchronous driver of each dialect."""

SYNCHRONOUS: Final = {
    "mariadb": "mariadb+pymysql",
    "mysql": "mysql+pymysql",
    "postgresql": "postgresql+psycopg",
    "sqlite": "sqlite+pysqlite",
}
"""The synchronous driver of each dialect."""

NAMED: Final = tuple(
    (os.environ.get("THREADLOG_TEST_DATABASES") or "sqlite,mysql").replace(" ", "").split(",")
)
"""The names of the databases of the run."""

WITHOUT_SQL: Final = ("mongodb", "redis")
"""The databases that only tests of their own schemes run on."""

DATABASES: Final = tuple(name for name in NAMED if name not in WITHOUT_SQL)
"""The names of the databases that tests of all of them run on."""

SERVERS: Final = tuple(name for name in DATABASES if name != "sqlite")
"""The kinds of database that are servers."""

INNODB: Final = tuple(name for name in SERVERS if name in {"mysql", "mariadb"})
"""The servers with MySQL's SQL."""

# Where one is in no database, which PostgreSQL has not.
_HOME: Final = {"postgresql": "postgres"}
# MySQL and MariaDB drop a database whoever is in it.
_DROP: Final = {"postgresql": "DROP DATABASE {} WITH (FORCE)"}
# Where forks are not deleted together with their parents, as a foreign key wants it.
_CHECK_EACH_ROW: Final = {"mysql", "mariadb"}


def engine_for(url: str | URL, **options: Any) -> AsyncEngine:
    """Create an engine with the asynchronous driver of a database."""
    plain = make_url(url)
    return create_async_engine(
        plain.set(drivername=ASYNCHRONOUS[plain.get_backend_name()]), **options
    )


def _synchronous(url: str) -> URL:
    plain = make_url(url)
    return plain.set(drivername=SYNCHRONOUS[plain.get_backend_name()])


def lasting_snapshots(url: str) -> dict[str, Any]:
    """Return an engine's options so that MariaDB refuses no snapshot for later changes.

    From 11.6 on, MariaDB refuses a changed row at REPEATABLE READ by default.
    """
    if not url.startswith("mariadb"):
        return {}
    return {"connect_args": {"init_command": "SET SESSION innodb_snapshot_isolation = OFF"}}


async def on_connection(url: str | URL, work: Callable[[Connection], T]) -> T:
    """Run synchronous work in one committed transaction on a database of its own engine."""
    engine = engine_for(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(allow_any_update)
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


async def execute(url: str, *statements: str) -> None:
    """Execute another writer's SQL in one transaction."""

    def run(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    await on_connection(url, run)


def create_schema(connection: Connection, part: SchemaPart = MESSAGES) -> None:
    """Create the tables of the models of a part, and their version."""
    part.metadata.create_all(connection)


def _write_version(connection: Connection, part: SchemaPart) -> None:
    connection.execute(insert(part.version_table).values(version=part.version))


async def create_database(server_url: str, name: str) -> URL:
    """Create a database with the schema of the message log, unless it is there already.

    Args:
        server_url: the server.
        name: what to call the database.

    Returns:
        The database's URL.
    """
    with suppress(DBAPIError):  # it is there; whatever else is wrong the next statement says
        await _administer(server_url, f"CREATE DATABASE {name}")
    database = make_url(server_url).set(database=name)
    await on_connection(database, _complete_schema)
    return database


def _complete_schema(connection: Connection) -> None:
    if inspect(connection).has_table(MESSAGES.version_table.name):
        MESSAGES.metadata.create_all(connection)
    else:
        create_schema(connection)


def engines_of(checkpointer: Checkpointer) -> list[Engine]:
    """Return the engines of an open checkpointer, the one for writes first."""
    sessions = checkpointer.client
    assert isinstance(sessions, EngineClient)
    engines = [engine for engine in (sessions.engine, sessions.reading_engine) if engine]
    assert engines, "the checkpointer is not open"
    return engines


def pools_of(checkpointer: Checkpointer) -> list[QueuePool]:
    """Return the pools of an open checkpointer, the one for writes first."""
    return [cast("QueuePool", engine.pool) for engine in engines_of(checkpointer)]


def sent_by(checkpointer: Checkpointer) -> list[str]:
    """Return a list to which an open checkpointer's later statements are added."""
    sent: list[str] = []
    for engine in engines_of(checkpointer):
        event.listen(
            engine,
            "before_cursor_execute",
            lambda c, cursor, statement, *rest: sent.append(statement),
        )
    return sent


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """Create an empty database on a server; drop it afterwards. Gives its URL."""
    name = f"threadlog_test_{uuid4().hex[:12]}"
    database = make_url(server_url).set(database=name)
    drop = _DROP.get(database.get_backend_name(), "DROP DATABASE {}")
    asyncio.run(_administer(server_url, f"CREATE DATABASE {name}"))
    try:
        yield database.render_as_string(hide_password=False)
    finally:
        asyncio.run(_administer(server_url, drop.format(name)))


async def _administer(server_url: str, statement: str) -> None:
    """Execute a statement that is not for a transaction, outside of all databases."""
    plain = make_url(server_url)
    home = plain.set(database=_HOME.get(plain.get_backend_name(), ""))
    engine = engine_for(home, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            await connection.exec_driver_sql(statement)
    finally:
        await engine.dispose()


class SharedDatabase:
    """A server's database with a part's schema that tests use in turn, each of them empty.

    Creating tables of 64 partitions takes longer than most tests. The connection that empties them
    stays open, since a new one has to read all partitions from the catalogs again.
    """

    def __init__(
        self,
        server_url: str,
        *parts: SchemaPart,
        create: Callable[[Connection], None] | None = None,
    ) -> None:
        """Create the object; the database itself is created on first use.

        Args:
            server_url: the URL of the server.
            parts: the parts whose tables are emptied.
            create: creates the tables; by default they are the models'.
        """
        self._server_url = server_url
        self._parts = parts
        self._create = create or self._create_parts
        self._stack = ExitStack()
        self._url = ""
        self._engine: Engine | None = None
        self._fingerprint: tuple[object, ...] = ()
        self._tables: set[str] = set()

    def empty(self) -> str:
        """Empty the tables and drop others, or make the database anew where they were changed.

        Returns:
            The database's URL.
        """
        if self._engine is None or not self._is_emptied(self._engine):
            self.close()
            self._url = self._stack.enter_context(fresh_database(self._server_url))
            self._engine = create_engine(_synchronous(self._url), pool_size=1, pool_pre_ping=True)
            self._stack.callback(self._engine.dispose)
            with self._engine.begin() as connection:
                self._create(connection)
            with self._engine.begin() as connection:
                self._fingerprint = fingerprint(connection)
                self._tables = set(inspect(connection).get_table_names())
        return self._url

    def close(self) -> None:
        """Drop the database."""
        self._stack.close()
        self._engine = None

    def _is_emptied(self, engine: Engine) -> bool:
        with engine.begin() as connection:
            if connection.dialect.name in _CHECK_EACH_ROW:
                connection.execute(text("SET FOREIGN_KEY_CHECKS = 0"))
            if fingerprint(connection) != self._fingerprint:
                self._drop_others(connection)
                if fingerprint(connection) != self._fingerprint:
                    return False
            self._delete_rows(connection)
        return True

    def _drop_others(self, connection: Connection) -> None:
        quote = connection.dialect.identifier_preparer.quote
        for name in set(inspect(connection).get_table_names()) - self._tables:
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {quote(name)} CASCADE")

    def _delete_rows(self, connection: Connection) -> None:
        allow_any_update(connection)
        for part in reversed(self._parts):
            for table in reversed(part.metadata.sorted_tables):
                connection.execute(delete(table))
            _write_version(connection, part)

    def _create_parts(self, connection: Connection) -> None:
        for part in self._parts:
            create_schema(connection, part)


class SharedDatabases:
    """The databases of a server that tests use in turn; that of graphs has a server's metadata."""

    def __init__(self, server_url: str) -> None:
        self.messages = SharedDatabase(server_url, MESSAGES)
        self.graph = SharedDatabase(server_url, GRAPH, METADATA)
        self.store = SharedDatabase(server_url, STORE)

    def close(self) -> None:
        """Drop them."""
        self.messages.close()
        self.graph.close()
        self.store.close()
