"""SQLite 3.35 and later, as a file or in memory."""

import sqlite3
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import URL, AsyncAdaptedQueuePool, Connection, Engine, QueuePool, event
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import ConnectionPoolEntry

from threadlog.databases.base import (
    AUTOCOMMIT_REFUSED,
    Backend,
    Driver,
    EngineSettings,
    EngineUse,
    PoolSize,
    choose_driver,
    pool_options,
    refuse_older,
    take_pool_options,
)
from threadlog.databases.timeouts import TimeLimits, take_limits
from threadlog.errors import (
    CheckpointerLockTimeoutError,
    ConfigurationError,
    ConnectionFailedError,
    StorageError,
)
from threadlog.models import CONTROL, MESSAGES, SchemaPart
from threadlog.repositories import UnitOfWork
from threadlog.repositories.unit_of_work import WRITES_OPTION

MINIMUM_VERSION: Final = (3, 35, 0)

# The time that a writer waits for another before SQLite reports the file as locked.
_BUSY_SECONDS: Final = 30

# How long a connection tries to switch a file to a write-ahead log when SQLite refuses at once.
_WAL_SECONDS: Final = 0.5

# The values of a URL's database for a database in memory.
_IN_MEMORY: Final = (None, "", ":memory:")

# SQLITE_MAX_LENGTH of a default build: sqlite.org/limits.html
_MAX_LENGTH: Final = 1_000_000_000


class SQLiteBackend(Backend):
    """SQLite through the standard library; through aiosqlite on an application's engine."""

    name = "SQLite"
    framework_name = "sqlite"
    dialects = ("sqlite",)
    asynchronous = Driver("aiosqlite", "sqlite")
    synchronous = Driver("pysqlite", None)
    read_committed = False
    embedded = True

    def missing_file(self, url: URL) -> str | None:
        """Return the file that a URL names if it does not exist."""
        if url.database in _IN_MEMORY or url.query.get("uri"):
            return None
        return None if Path(url.database or "").exists() else url.database

    def divide(self, pool: PoolSize) -> tuple[PoolSize, PoolSize]:
        """Return one connection for everything.

        SQLite has one writer at a time, and connections that wait for its lock sleep and poll:
        eight of them store an eighth of what one does with its callers in a queue.
        """
        return PoolSize(1, 1), PoolSize(0, 0)

    def settings(self, url: URL, pool: PoolSize, use: EngineUse) -> EngineSettings:
        """Choose the driver, and for an in-memory database a name that connections share."""
        default = self.synchronous if use.synchronous else self.asynchronous
        driver = choose_driver(url, default, (), ("aiosqlite", "pysqlite"))
        query = dict(url.query)
        # A statement waits only for a lock, which has a limit of its own.
        limits = take_limits(query, ("pool_timeout", "retry_seconds"))
        pooling = take_pool_options(query)
        url = url.set(drivername=f"sqlite+{driver}", query=query)
        # The pool hands a connection to one thread at a time.
        arguments: dict[str, Any] = {"check_same_thread": False}
        if "timeout" not in url.query:
            arguments["timeout"] = _BUSY_SECONDS
        options = {
            "poolclass": QueuePool if use.synchronous else AsyncAdaptedQueuePool,
            **pool_options(pool, limits),
            **pooling,
            "connect_args": arguments,
        }
        if url.database in _IN_MEMORY:
            # A shared name, so that the content outlives any one connection.
            url = url.set(
                database=f"file:threadlog-{uuid4().hex}",
                query={"mode": "memory", "cache": "shared", "uri": "true"},
            )
        return EngineSettings(url, options, limits)

    def attach(self, engine: Engine, limits: TimeLimits) -> None:
        """Control transactions in place of the driver, and keep an in-memory database alive."""
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
        """Refuse a library that lacks features which the statements use."""
        refuse_older(self.name, uow.catalogue.server_version(), MINIMUM_VERSION)
        return self.name

    def verify_session(self, uow: UnitOfWork) -> None:
        """Refuse autocommit."""
        if self.is_autocommit(uow.connection):
            raise ConfigurationError(AUTOCOMMIT_REFUSED)

    def is_autocommit(self, connection: Connection) -> bool:
        """Ask the driver, which begins transactions unless it is told not to.

        An application may tell it so and begin them itself: one has begun by now.
        """
        driver = connection.connection.driver_connection
        begins = (
            getattr(driver, "isolation_level", "") is not None
            and getattr(driver, "autocommit", False) is not True
        )
        return not begins and not getattr(driver, "in_transaction", True)

    def lock_for_writing(self, uow: UnitOfWork, part: SchemaPart) -> None:
        """Lock the file for writing, with a statement that changes nothing.

        SQLite refuses the lock to a transaction that began by reading if another wrote since.
        """
        uow.catalogue.write_nothing(part)

    def initialise_schema(self, uow: UnitOfWork, part: SchemaPart) -> None:
        """Create a part of the schema in a database that has none of its tables.

        Thread control comes with the message log. Beside messages of an application's own
        Alembic history it does not: the next autogenerate would drop it.
        """
        is_missing = not uow.catalogue.tables(part)
        if is_missing:
            uow.catalogue.create_tables(part)
            uow.schema_version(part).write()
        if part is MESSAGES and (is_missing or not uow.catalogue.is_in_another_history(CONTROL)):
            self.initialise_schema(uow, CONTROL)

    def begin_snapshot(self, connection: Connection) -> None:
        """Begin it in SQLite: the driver of an application's engine does so for writing alone."""
        if not connection.in_transaction():
            connection.begin()
        if not getattr(connection.connection.driver_connection, "in_transaction", False):
            connection.exec_driver_sql("BEGIN")

    def begin_migration(self, connection: Connection) -> None:
        """Lock the file for writing, unless the transaction locked it when it began.

        SQLite has no lock beyond a transaction. An application's transaction may have begun by
        reading, or in SQLAlchemy only.
        """
        if connection.get_execution_options().get(WRITES_OPTION, False):
            return
        if getattr(connection.connection.driver_connection, "in_transaction", False):
            connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def statement_limit(self, uow: UnitOfWork) -> int:
        """Return the maximum length of a value."""
        return _MAX_LENGTH

    def lock_seconds(self, url: URL) -> float | None:
        """Return the URL's timeout: a retry would wait as long again."""
        try:
            return float(str(url.query.get("timeout", _BUSY_SECONDS)))
        except ValueError:
            return None  # the driver refuses it

    def error_type(self, error: DBAPIError) -> type[StorageError]:
        """Decide by SQLite's message: drivers before Python 3.11 gave no code."""
        text = str(error.orig)
        if "locked" in text:
            return CheckpointerLockTimeoutError
        if "unable to open" in text or "not a database" in text:
            return ConnectionFailedError
        return StorageError

    def referring_table(
        self, uow: UnitOfWork, error: IntegrityError, referred: Collection[str]
    ) -> str:
        """Look for the tables with such a key: SQLite's message does not name any."""
        return " or ".join(uow.catalogue.tables_referring_to(referred))

    def is_denied(self, error: DBAPIError) -> bool:
        """Decide by SQLite's message: the file, its folder or the URL forbids writing."""
        return "readonly database" in str(error.orig)


def _on_connect(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    try:
        # The driver would begin transactions late and by its own rules.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        _begin_wal(cursor)
        cursor.close()
    except BaseException:
        # SQLAlchemy 2.0 would leave it open, and aiosqlite's thread would keep the program alive.
        connection.close()
        raise


def _begin_wal(cursor: DBAPICursor) -> None:
    """Switch the file to a write-ahead log, which it may be already.

    SQLite may refuse this at once, whatever the time limit, where another connection switches
    the file at the same time or is the last to close it: sqlite.org/wal.html, section 9.
    """
    ends = time.monotonic() + _WAL_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > ends:
                raise
            time.sleep(0.01)  # blocks the event loop too, which is rare and short
        else:
            return


def _on_begin(connection: Connection) -> None:
    # A transaction that begins by reading cannot wait for the write lock later: SQLite
    # refuses at once, since waiting could deadlock.
    writes = connection.get_execution_options().get(WRITES_OPTION, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
