"""Engines whose every transaction is part of one that is rolled back in the end."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import (
    URL,
    AsyncAdaptedQueuePool,
    Dialect,
    Engine,
    PoolProxiedConnection,
    QueuePool,
    create_engine,
    event,
)
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from threadlog.databases.base import Backend, Driver
from threadlog.databases.registry import backend_of
from threadlog.databases.urls import parse_url
from threadlog.errors import MissingExtraError
from threadlog.testing.tables import create_all

T = TypeVar("T")

_SAVEPOINT: Final = "threadlog_test"

# Long enough for a call that runs, short enough for a person who waits for a test.
_WAIT_SECONDS: Final = 10


@asynccontextmanager
async def rolled_back_engine(url: str | URL, **options: Any) -> AsyncIterator[AsyncEngine]:
    """Create an engine whose transactions all belong to one, which is rolled back at the end.

    A transaction of the application, of a `Checkpointer`, a ``Saver`` or a ``Store`` on the engine
    is a savepoint of the one transaction: its rollback undoes its own rows, its commit shows them
    to the next one, and after the block the database is as it was. The engine has one connection:
    a transaction waits until the one before has ended, and fails after ten seconds.

    An SQLite database is given threadlog's tables first, in the same transaction, and foreign keys
    are enforced. On a server the tables must exist: MySQL commits a transaction that creates a
    table.

    Args:
        url: the database; ``sqlite://`` for a new one in memory.
        options: arguments of ``create_async_engine``.

    Raises:
        MissingExtraError: the database's driver is not installed.
    """
    backend = backend_of(parse_url(url))
    options = {"poolclass": AsyncAdaptedQueuePool, **_pool_options(backend), **options}
    engine = _create(create_async_engine, url, backend.asynchronous, options)
    rollback = await greenlet_spawn(_begin, engine.sync_engine, backend)
    try:
        yield engine
    finally:
        await greenlet_spawn(rollback.run)
        await engine.dispose()


@contextmanager
def sync_rolled_back_engine(url: str | URL, **options: Any) -> Iterator[Engine]:
    """Create a plain engine; see `rolled_back_engine`.

    Args:
        url: the database.
        options: arguments of ``create_engine``.
    """
    backend = backend_of(parse_url(url))
    options = {"poolclass": QueuePool, **_pool_options(backend), **options}
    engine = _create(create_engine, url, backend.synchronous, options)
    rollback = _begin(engine, backend)
    try:
        yield engine
    finally:
        rollback.run()
        engine.dispose()


def _create(create: Callable[..., T], url: str | URL, driver: Driver, options: dict[str, Any]) -> T:
    parsed = parse_url(url)
    try:
        return create(
            parsed.set(drivername=f"{parsed.get_backend_name()}+{driver.name}"), **options
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or driver.name, driver.extra) from error


def _pool_options(backend: Backend) -> dict[str, Any]:
    return {
        "pool_size": 1,
        "max_overflow": 0,
        "pool_timeout": _WAIT_SECONDS,
        "pool_reset_on_return": None,
        "connect_args": {"check_same_thread": False} if backend.embedded else {},
    }


def _begin(engine: Engine, backend: Backend) -> "_OuterTransaction":
    """Begin the outer transaction on an engine's only connection."""
    if backend.embedded:
        event.listen(engine, "connect", _begin_when_told)
    with engine.connect() as connection:
        if backend.embedded:
            _execute(connection.connection, "BEGIN")
        outer = _OuterTransaction(engine.dialect, connection.connection)
        if backend.embedded:
            create_all(connection)
            connection.commit()
    return outer


def _begin_when_told(connection: Any, record: object) -> None:
    connection.isolation_level = None  # the driver would begin transactions by its own rules
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")  # as on servers; not possible in a transaction
    cursor.close()


class _OuterTransaction:
    """The transaction of an engine's only connection, and its savepoint in place of others."""

    def __init__(self, dialect: Dialect, connection: PoolProxiedConnection) -> None:
        self._connection = connection.dbapi_connection
        # SQLAlchemy begins and ends the transactions of an engine by these methods of its dialect.
        methods = vars(dialect)
        methods["do_begin"] = self._begin
        methods["do_commit"] = self._commit
        methods["do_rollback"] = self._rollback
        methods["set_isolation_level"] = self._keep_isolation_level

    def _begin(self, connection: PoolProxiedConnection) -> None:
        _execute(connection, f"SAVEPOINT {_SAVEPOINT}")

    def _commit(self, connection: PoolProxiedConnection) -> None:
        _execute(connection, f"RELEASE SAVEPOINT {_SAVEPOINT}")

    def _rollback(self, connection: PoolProxiedConnection) -> None:
        _execute(connection, f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
        self._commit(connection)

    def _keep_isolation_level(self, connection: object, level: str) -> None:
        """Do nothing: drivers end the transaction in which the level is set."""

    def run(self) -> None:
        """Roll the transaction back."""
        if self._connection is not None:
            self._connection.rollback()


def _execute(connection: PoolProxiedConnection, statement: str) -> None:
    cursor = connection.cursor()
    cursor.execute(statement)
    cursor.close()
