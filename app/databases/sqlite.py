"""SQLite 3.35 and later, as a file or in memory."""

import sqlite3
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import URL, AsyncAdaptedQueuePool, Connection, Engine, QueuePool, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from threadlog.databases.base import Driver, EngineSettings, PoolSize
from threadlog.databases.timeouts import TimeLimits, take_limits
from threadlog.errors import (
    CheckpointerLockTimeoutError,
    ConfigurationError,
    ConnectionFailedError,
    StorageError,
    ThreadlogError,
    UnsupportedServerError,
)
from threadlog.models import SchemaPart
from threadlog.repositories import UnitOfWork
from threadlog.repositories.unit_of_work import WRITES
from threadlog.schema.result import Check

MINIMUM_VERSION: Final = (3, 35, 0)

# How long a writer waits for another before the file counts as locked.
_BUSY_SECONDS: Final = 30

# What a URL has in place of a file's name for a database in memory.
_IN_MEMORY: Final = (None, "", ":memory:")

# SQLITE_MAX_LENGTH of a default build: sqlite.org/limits.html
_MAX_LENGTH: Final = 1_000_000_000


class SQLiteBackend:
    """SQLite through aiosqlite."""

    name = "SQLite"
    word = "sqlite"
    dialects: tuple[str, ...] = ("sqlite",)
    asynchronous = Driver("aiosqlite", "sqlite")
    synchronous = Driver("pysqlite", None)
    read_committed = False

    def layout_checks(self, part: SchemaPart) -> list[tuple[str, Check]]:
        """Give none: there is nothing that could be wrong."""
        return []

    def missing_file(self, url: URL) -> str | None:
        """Name the file of a URL where there is none yet."""
        if url.database in _IN_MEMORY or url.query.get("uri"):
            return None
        return None if Path(url.database or "").exists() else url.database

    def divide(self, pool: PoolSize) -> tuple[PoolSize, PoolSize]:
        """Give one connection for everything.

        SQLite has one writer at a time, and connections that wait for its lock sleep and look
        again: eight of them store an eighth of what one does with its callers in a queue.
        """
        return PoolSize(1, 1), PoolSize(0, 0)

    def settings(
        self, url: URL, pool: PoolSize, *, reading: bool = False, synchronous: bool = False
    ) -> EngineSettings:
        """Choose the driver, and for a database in memory a name that connections share."""
        default = self.synchronous if synchronous else self.asynchronous
        driver = url.drivername.partition("+")[2] or default.name
        if driver != default.name:
            kind = "a synchronous" if synchronous else "an asyncio"
            raise ConfigurationError(
                f"The driver {driver!r} is not {kind} driver. Use sqlite:///file.db."
            )
        query = dict(url.query)
        # A statement waits for nobody but for a lock, which has a limit of its own.
        limits = take_limits(query, ("pool_timeout",))
        url = url.set(drivername=f"sqlite+{driver}", query=query)
        options: dict[str, Any] = {
            "poolclass": QueuePool if synchronous else AsyncAdaptedQueuePool,
            "pool_size": pool.most,
            "max_overflow": 0,
            "pool_timeout": limits.pool,
            # Every unit of work ends its transaction itself.
            "pool_reset_on_return": None,
        }
        # The pool hands a connection to one thread at a time.
        arguments: dict[str, Any] = {"check_same_thread": False}
        if "timeout" not in url.query:
            arguments["timeout"] = _BUSY_SECONDS
        options["connect_args"] = arguments
        if url.database in _IN_MEMORY:
            # A shared name, so that the content outlives any one connection.
            url = url.set(
                database=f"file:threadlog-{uuid4().hex}",
                query={"mode": "memory", "cache": "shared", "uri": "true"},
            )
        return EngineSettings(url, options, limits)

    def attach(self, engine: Engine, limits: TimeLimits) -> None:
        """Take transactions into our own hands, and keep a database in memory alive."""
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
        query = engine.url.query
        if "uri" in query and query.get("mode") == "memory":
            anchor = sqlite3.connect(
                f"{engine.url.database}?mode=memory&cache=shared",
                uri=True,
                check_same_thread=False,
            )
            event.listen(engine, "engine_disposed", lambda _: anchor.close())

    def verify_server(self, uow: UnitOfWork) -> str:
        """Refuse a library that lacks what the statements use."""
        version = uow.catalogue.server_version()
        if version < MINIMUM_VERSION:
            raise UnsupportedServerError(
                found=f"SQLite {'.'.join(map(str, version))}",
                required=f"SQLite {'.'.join(map(str, MINIMUM_VERSION))} or later",
            )
        return self.name

    def verify_session(self, uow: UnitOfWork) -> None:
        """Do nothing: what a host chose for its file is its own."""

    def lock_for_writing(self, uow: UnitOfWork, part: SchemaPart) -> None:
        """Take the file's write lock with a statement that changes nothing.

        A transaction that began by reading is refused it if another wrote since.
        """
        uow.catalogue.write_nothing(part)

    def initialise_schema(self, uow: UnitOfWork, part: SchemaPart) -> None:
        """Create a part of the schema in a database that has none of its tables."""
        if not uow.catalogue.tables(part):
            uow.catalogue.create_tables(part)
            uow.schema_version(part).write()

    def migration_lock(self, connection: Connection) -> AbstractContextManager[None]:
        """Do nothing: the file's lock is that of a transaction."""
        return nullcontext()

    def begin_migration(self, connection: Connection) -> None:
        """Take the file's write lock, if the transaction has not had it from its start.

        A host's may have begun by reading, or in name only.
        """
        if connection.get_execution_options().get(WRITES, False):
            return
        if getattr(connection.connection.driver_connection, "in_transaction", False):
            connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def statement_limit(self, uow: UnitOfWork) -> int:
        """Give the longest value that SQLite takes."""
        return _MAX_LENGTH

    def error_type(self, error: DBAPIError) -> type[StorageError]:
        """Tell by SQLite's message: drivers before Python 3.11 gave no code."""
        text = str(error.orig)
        if "locked" in text:
            return CheckpointerLockTimeoutError
        if "unable to open" in text or "not a database" in text:
            return ConnectionFailedError
        return StorageError

    def refusal(self, error: Exception) -> ThreadlogError | None:
        """Do nothing: SQLite has no server of another kind."""


def _on_connect(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    try:
        # The driver would begin transactions late and by its own rules.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()
    except BaseException:
        # SQLAlchemy 2.0 would leave it open, and with it a thread that outlives the program.
        connection.close()
        raise


def _on_begin(connection: Connection) -> None:
    # A transaction that begins by reading cannot wait for the write lock later: SQLite
    # refuses at once, since waiting could deadlock.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
