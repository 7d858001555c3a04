"""Errors that the database raises in a transaction, as callers see them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from tests.support.commits import kill_connection
from tests.support.databases import engine_for, engines_of, on_connection
from tests.support.factories import UserFactory
from tests.support.patience import patience
from threadlog import Checkpointer, ThreadlogError, errors
from threadlog.databases.mysql.database import MySQLBackend
from threadlog.databases.postgres.database import PostgresBackend
from threadlog.databases.sqlite import SQLiteBackend
from threadlog.errors import (
    CheckpointerLockTimeoutError,
    ColumnTooShortError,
    ConnectionFailedError,
    ConnectionLostError,
    DeadlockError,
    NotWritableError,
    ServerUnreachableError,
    StatementTimeoutError,
    StorageError,
    TooManyConnectionsError,
    TransactionFailedError,
)
from threadlog.messages import TextContent

_OTHERS_OF_MYSQL: Final = (
    "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
)
OTHERS: Final = {
    "mysql": _OTHERS_OF_MYSQL,
    "mariadb": _OTHERS_OF_MYSQL,
    "postgresql": "SELECT pid FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()",
}
"""The connections to a database, but for the one that asks."""

WAITING: Final = {
    "mysql": f"{_OTHERS_OF_MYSQL} AND info LIKE '%FOR UPDATE%'",
    "mariadb": f"{_OTHERS_OF_MYSQL} AND info LIKE '%FOR UPDATE%'",
    "postgresql": f"{OTHERS['postgresql']} AND wait_event_type = 'Lock'",
}
"""The connections that wait for a row."""

LOCK_TIMEOUT: Final = {
    "mysql": ("SET SESSION innodb_lock_wait_timeout = 1", 1205),
    "mariadb": ("SET SESSION innodb_lock_wait_timeout = 1", 1205),
    "postgresql": ("SET lock_timeout = '1s'", "55P03"),
}
"""What lets a connection wait for a second only, and the error then."""

DEADLOCK: Final = {"mysql": 1213, "mariadb": 1213, "postgresql": "40P01"}
NO_TABLE: Final = {"mysql": "1146", "mariadb": "1146", "postgresql": "does not exist"}


def has_code(error: BaseException, code: object) -> bool:
    """Return True if a driver's error has this error number of the server, or SQLSTATE."""
    return code in (error.args[0], getattr(error, "sqlstate", None))


@pytest.fixture
async def other(server_url: str) -> AsyncIterator[AsyncConnection]:
    """Yield another application's connection to the database."""
    engine = engine_for(server_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


@pytest.fixture
async def opened(server_url: str) -> AsyncIterator[Checkpointer]:
    """Yield a checkpointer with a thread of one message."""
    async with Checkpointer(server_url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        yield checkpointer


async def waiting(other: AsyncConnection) -> int:
    """Return the connection id of the append that waits for the thread's lock."""
    for _ in range(200):
        found = (await other.execute(text(WAITING[other.dialect.name]))).scalars().all()
        if found:
            return int(found[0])
        await asyncio.sleep(0.02)
    raise AssertionError("nobody waits")


async def test_a_killed_connection_is_replaced_and_the_append_run_again(
    opened: Checkpointer,
    server_url: str,
    other: AsyncConnection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A connection lost before COMMIT costs the caller nothing but time, and is logged."""
    assert "threadlog" not in {record.name.partition(".")[0] for record in caplog.records}
    blocker = engine_for(server_url)
    async with blocker.connect() as lock:
        await lock.execute(text("SELECT 1 FROM cubepi_threads WHERE thread_id = 't' FOR UPDATE"))
        secret = UserFactory(content=[TextContent(text="what was said")])
        append = asyncio.create_task(opened.append("t", [secret, UserFactory()]))
        await kill_connection(other, await waiting(other))
        await waiting(other)
        await lock.rollback()
    await append
    await blocker.dispose()
    logged = [r for r in caplog.records if r.name == "threadlog.runtime.transactions"]
    assert [record.levelname for record in logged] == ["WARNING"]
    assert logged[0].getMessage().startswith("Running a transaction again: ")
    assert "what was said" not in caplog.text
    assert [s.seq for s in await opened.read("t")] == [1, 2, 3]


async def test_every_pooled_connection_killed_between_calls(
    opened: Checkpointer, other: AsyncConnection
) -> None:
    """The next call works without a restart, as after a night of idling."""
    await asyncio.gather(*(opened.append(f"t{n}", [UserFactory()]) for n in range(10)))
    idle = await other.execute(text(OTHERS[other.dialect.name]))
    for number in idle.scalars().all():
        await kill_connection(other, number)
    await asyncio.gather(*(opened.append("t", [UserFactory()]) for _ in range(10)))
    assert [s.seq for s in await opened.read("t")] == list(range(1, 12))


async def test_a_lock_timeout_is_run_again(
    opened: Checkpointer, server_url: str, other: AsyncConnection
) -> None:
    engine = engines_of(opened)[0]
    timeouts: list[BaseException] = []
    limit, code = LOCK_TIMEOUT[engine.dialect.name]
    event.listen(engine, "begin", lambda c: c.exec_driver_sql(limit))
    seen = asyncio.Event()

    def note(context: ExceptionContext) -> None:
        timeouts.append(context.original_exception)
        seen.set()

    event.listen(engine, "handle_error", note)
    blocker = engine_for(server_url)
    async with blocker.connect() as lock:
        await lock.execute(text("SELECT 1 FROM cubepi_threads WHERE thread_id = 't' FOR UPDATE"))
        append = asyncio.create_task(opened.append("t", UserFactory.build_batch(2)))
        async with patience():
            await seen.wait()
        await lock.rollback()
    await append
    await blocker.dispose()
    assert has_code(timeouts[0], code)
    assert [s.seq for s in await opened.read("t")] == [1, 2, 3]


async def test_a_deadlock_is_run_again(
    opened: Checkpointer, server_url: str, other: AsyncConnection
) -> None:
    engine = engines_of(opened)[0]
    faults: list[BaseException] = []
    event.listen(
        engine,
        "handle_error",
        lambda context: faults.append(context.original_exception),
    )
    await opened.append("parent", [UserFactory()])
    await other.execute(
        text("INSERT INTO cubepi_threads (thread_id, parent_thread_id) VALUES ('f', 'parent')")
    )
    blocker = engine_for(server_url)
    async with blocker.connect() as heavy:
        # InnoDB rolls back the transaction that changed fewer rows, PostgreSQL the first to wait.
        await heavy.execute(text("INSERT INTO cubepi_threads (thread_id) VALUES ('x')"))
        await heavy.execute(
            text(
                "INSERT INTO cubepi_runs (thread_id, run_id) VALUES "
                + ", ".join(f"('x', 'r{n}')" for n in range(200))
            )
        )
        await heavy.execute(text("SELECT 1 FROM cubepi_threads WHERE thread_id = 'f' FOR UPDATE"))
        delete = asyncio.create_task(opened.delete_thread("parent", detach_forks=True))
        await asyncio.sleep(0.3)
        await heavy.execute(
            text("SELECT 1 FROM cubepi_threads WHERE thread_id = 'parent' FOR UPDATE")
        )
        await heavy.rollback()
    assert await delete is True
    await blocker.dispose()
    assert [has_code(fault, DEADLOCK[engine.dialect.name]) for fault in faults] == [True]
    assert {t.thread_id: t.parent_thread_id for t in await opened.list_threads()} == {
        "f": None,
        "t": None,
    }


async def test_a_server_that_refuses_says_why(opened: Checkpointer, server_url: str) -> None:
    drop = text("DROP TABLE cubepi_messages")
    await on_connection(server_url, lambda c: c.execute(drop) and None)
    match = NO_TABLE[engines_of(opened)[0].dialect.name]
    with pytest.raises(StorageError, match=match) as caught:
        await opened.append("t", [UserFactory(metadata={"secret": "what was said"})])
    assert caught.value.retryable is False
    assert caught.value.__cause__ is not None
    assert "what was said" not in str(caught.value) + str(caught.value.__cause__)


async def test_a_locked_sqlite_file_is_a_lock_timeout(sqlite_url: str) -> None:
    url = f"{sqlite_url}?timeout=0.05"
    async with Checkpointer(url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        engine = create_async_engine(sqlite_url.replace("sqlite:", "sqlite+aiosqlite:"))
        async with engine.connect() as connection:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
            with pytest.raises(CheckpointerLockTimeoutError, match="locked"):
                await checkpointer.append("t", [UserFactory()])
            assert len(await checkpointer.read("t")) == 1
            await connection.exec_driver_sql("ROLLBACK")
        await engine.dispose()
        await checkpointer.append("t", [UserFactory()])
        assert len(await checkpointer.read("t")) == 2


class DriverError(Exception):
    """An error as a driver raises it."""


def wrapped(
    *arguments: object, lost: bool = False, statement: str = "statement"
) -> OperationalError:
    """Wrap a driver's error as SQLAlchemy does."""
    return OperationalError(statement, {}, DriverError(*arguments), connection_invalidated=lost)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (wrapped(1213, "Deadlock found"), DeadlockError),
        (wrapped(3101, "Plugin instructed the server to rollback"), DeadlockError),
        (wrapped(1020, "Record has changed since last read"), DeadlockError),
        (wrapped(1290, "running with the --read-only option"), NotWritableError),
        (wrapped(1205, "Lock wait timeout exceeded"), CheckpointerLockTimeoutError),
        (wrapped(1045, "Access denied"), ConnectionFailedError),
        (wrapped(1698, "Access denied"), ConnectionFailedError),
        (wrapped(1040, "Too many connections"), TooManyConnectionsError),
        (wrapped(1203, "max_user_connections"), TooManyConnectionsError),
        (wrapped(2003, "Can't connect"), ServerUnreachableError),
        (wrapped(2003, "certificate verify failed"), ConnectionFailedError),
        (wrapped(2013, "Lost connection"), ConnectionLostError),
        (wrapped(4031, "The client was disconnected"), ConnectionLostError),
        (wrapped("network operation failed", lost=True), ConnectionLostError),
        (wrapped(1062, "Duplicate entry"), StorageError),
        (
            wrapped(1062, "Duplicate entry", statement="INSERT INTO cubepi_messages (x"),
            DeadlockError,
        ),
        (wrapped(1062, "Duplicate entry", statement="INSERT INTO cubepi_messages2"), StorageError),
        (wrapped(1180, "Got error 149 - 'Lock deadlock' during COMMIT"), DeadlockError),
        (wrapped(1180, "Got error 28 - 'No space left' during COMMIT"), StorageError),
        (wrapped(1290, "running with the --super-read-only option"), NotWritableError),
        (wrapped(1290, "running with the --secure-file-priv option"), StorageError),
        (wrapped(1836, "Running in read-only mode"), NotWritableError),
        (wrapped(3100, "Error on observer"), NotWritableError),
        (wrapped(3797, "Error while waiting"), NotWritableError),
        (wrapped(3032, "The server is currently in offline mode"), ConnectionLostError),
        (wrapped(), StorageError),
    ],
)
def test_mysql_errors_are_distinguished(error: OperationalError, kind: type[StorageError]) -> None:
    assert MySQLBackend().error_type(error) is kind


def with_code(
    code: str | None, words: str = "words", *, statement: str = "statement", lost: bool = False
) -> OperationalError:
    """Wrap an error of PostgreSQL's drivers as SQLAlchemy does."""
    error = wrapped(words, statement=statement, lost=lost)
    assert error.orig is not None
    error.orig.sqlstate = code  # type: ignore[attr-defined]  # as the drivers' errors have it
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (with_code("40001"), DeadlockError),
        (with_code("40P01"), DeadlockError),
        (with_code("55P03"), CheckpointerLockTimeoutError),
        (with_code("57014"), StatementTimeoutError),
        (with_code(None, "no answer within 1 s (read_timeout)"), StatementTimeoutError),
        (with_code("25006"), NotWritableError),
        (with_code("25P02"), TransactionFailedError),
        (with_code("57P01"), ConnectionLostError),
        (with_code("08006"), ConnectionLostError),
        (with_code("53300"), TooManyConnectionsError),
        (with_code(None, "FATAL:  sorry, too many clients already"), TooManyConnectionsError),
        (with_code("08P01", "no more connections allowed"), TooManyConnectionsError),
        (with_code(None, "no connection within 3 s (connect_timeout)"), ServerUnreachableError),
        (with_code(None, "FATAL:  the database system is starting up"), ConnectionLostError),
        (with_code(None, "certificate verify failed"), ConnectionFailedError),
        (with_code("XX000", lost=True), ConnectionLostError),
        (with_code(None, lost=True), ConnectionLostError),
        (with_code(None, "password authentication failed"), ConnectionFailedError),
        (with_code("28P01"), ConnectionFailedError),
        (with_code("3D000"), ConnectionFailedError),
        (with_code("22001"), ColumnTooShortError),
        (with_code("23505"), StorageError),
        (with_code("23505", statement="INSERT INTO cubepi_messages (x"), DeadlockError),
        (with_code("23505", statement="INSERT INTO cubepi_messages2 (x"), StorageError),
        (with_code("42P01"), StorageError),
    ],
)
def test_postgresql_errors_are_distinguished(
    error: OperationalError, kind: type[StorageError]
) -> None:
    assert PostgresBackend().error_type(error) is kind


def test_sqlite_errors_are_distinguished() -> None:
    backend = SQLiteBackend()
    assert backend.error_type(wrapped("database is locked")) is CheckpointerLockTimeoutError
    assert backend.error_type(wrapped("database or disk is full")) is StorageError


def test_all_errors_are_of_one_family() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert all(
        issubclass(kind, ThreadlogError) for kind in kinds if kind.__module__ == errors.__name__
    )
    for kind in kinds:
        if issubclass(kind, StorageError):
            assert str(kind("reason")).startswith("reason. ")
            assert len(str(kind("reason"))) > 20
