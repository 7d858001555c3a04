"""What the database does to a transaction, and what callers see of it."""

import asyncio
from collections.abc import AsyncIterator
from importlib import import_module

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from tests.databases import engine_for, engines_of, on_connection
from tests.factories import UserFactory
from threadlog import Checkpointer, ThreadlogError, errors
from threadlog.backends.mysql import MySQLBackend
from threadlog.backends.sqlite import SQLiteBackend
from threadlog.errors import (
    CheckpointerLockTimeoutError,
    ConnectionLostError,
    DeadlockError,
    MissingExtraError,
    NotWritableError,
    StorageError,
)
from threadlog.store import translated

WAITING = text(
    "SELECT id FROM information_schema.processlist WHERE db = DATABASE() "
    "AND info LIKE '%FOR UPDATE%' AND info NOT LIKE '%processlist%'"
)


@pytest.fixture
async def other(innodb_url: str) -> AsyncIterator[AsyncConnection]:
    """Give another application's connection to the database."""
    engine = engine_for(innodb_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


@pytest.fixture
async def opened(innodb_url: str) -> AsyncIterator[Checkpointer]:
    """Give a checkpointer with a thread of one message."""
    async with Checkpointer(innodb_url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        yield checkpointer


async def waiting(other: AsyncConnection) -> int:
    """Give the connection id of the append that waits for the thread's lock."""
    for _ in range(200):
        found = (await other.execute(WAITING)).scalars().all()
        if found:
            return int(found[0])
        await asyncio.sleep(0.02)
    raise AssertionError("nobody waits")


async def test_a_killed_connection_is_replaced_and_the_append_run_again(
    opened: Checkpointer, innodb_url: str, other: AsyncConnection
) -> None:
    """Pins that a connection lost before COMMIT costs the caller nothing but time."""
    blocker = engine_for(innodb_url)
    async with blocker.connect() as lock:
        await lock.execute(text("SELECT 1 FROM cubepi_threads WHERE thread_id = 't' FOR UPDATE"))
        append = asyncio.create_task(opened.append("t", UserFactory.build_batch(2)))
        await other.execute(text(f"KILL {await waiting(other)}"))
        await waiting(other)
        await lock.rollback()
    await append
    await blocker.dispose()
    assert [s.seq for s in await opened.read("t")] == [1, 2, 3]


async def test_every_pooled_connection_killed_between_calls(
    opened: Checkpointer, other: AsyncConnection
) -> None:
    """Pins that the next call works without a restart, as after a night of idling."""
    await asyncio.gather(*(opened.append(f"t{n}", [UserFactory()]) for n in range(10)))
    mine = (await other.execute(text("SELECT CONNECTION_ID()"))).scalar_one()
    idle = await other.execute(
        text("SELECT id FROM information_schema.processlist WHERE db = DATABASE()")
    )
    for number in idle.scalars().all():
        if number != mine:
            await other.execute(text(f"KILL {number}"))
    await asyncio.gather(*(opened.append("t", [UserFactory()]) for _ in range(10)))
    assert [s.seq for s in await opened.read("t")] == list(range(1, 12))


async def test_a_lock_timeout_is_run_again(
    opened: Checkpointer, innodb_url: str, other: AsyncConnection
) -> None:
    """Pins error 1205 on the real server: retried until the lock is free."""
    engine = engines_of(opened)[0].sync_engine
    timeouts: list[BaseException] = []
    event.listen(
        engine, "begin", lambda c: c.exec_driver_sql("SET SESSION innodb_lock_wait_timeout = 1")
    )
    seen = asyncio.Event()

    def note(context: ExceptionContext) -> None:
        timeouts.append(context.original_exception)
        seen.set()

    event.listen(engine, "handle_error", note)
    blocker = engine_for(innodb_url)
    async with blocker.connect() as lock:
        await lock.execute(text("SELECT 1 FROM cubepi_threads WHERE thread_id = 't' FOR UPDATE"))
        append = asyncio.create_task(opened.append("t", UserFactory.build_batch(2)))
        await asyncio.wait_for(seen.wait(), 10)
        await lock.rollback()
    await append
    await blocker.dispose()
    assert timeouts[0].args[0] == 1205
    assert [s.seq for s in await opened.read("t")] == [1, 2, 3]


async def test_a_deadlock_is_run_again(
    opened: Checkpointer, innodb_url: str, other: AsyncConnection
) -> None:
    """Pins error 1213 on the real server: a heavier transaction wins, ours runs again."""
    engine = engines_of(opened)[0].sync_engine
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
    blocker = engine_for(innodb_url)
    async with blocker.connect() as heavy:
        # InnoDB rolls back the transaction that changed fewer rows.
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
    assert [fault.args[0] for fault in faults] == [1213]
    assert {t.thread_id: t.parent_thread_id for t in await opened.list_threads()} == {
        "f": None,
        "t": None,
    }


async def test_a_server_that_refuses_says_why(opened: Checkpointer, innodb_url: str) -> None:
    """Pins an error that running again does not help: raised at once, cause chained."""
    drop = text("DROP TABLE cubepi_messages")
    await on_connection(innodb_url, lambda c: c.execute(drop) and None)
    with pytest.raises(StorageError, match="1146") as caught:
        await opened.append("t", [UserFactory(metadata={"secret": "what was said"})])
    assert caught.value.retryable is False
    assert caught.value.__cause__ is not None
    assert "what was said" not in str(caught.value) + str(caught.value.__cause__)


async def test_a_locked_sqlite_file_is_a_lock_timeout(sqlite_url: str) -> None:
    """Pins the typed error, and that it works again once the lock is free."""
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
    """What a driver raises."""


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
def test_mysql_errors_are_told_apart(error: OperationalError, kind: type[StorageError]) -> None:
    """Pins which errors a transaction survives by being run again."""
    assert MySQLBackend().error_type(error) is kind


def test_a_package_that_a_log_in_needs_is_named() -> None:
    """Pins the driver's own words, for an account of MariaDB that uses ed25519."""
    with pytest.raises(MissingExtraError, match="pip install pynacl"), translated(MySQLBackend()):
        import_module("pymysql._auth").ed25519_password(b"secret", b"x" * 32)
    with pytest.raises(RuntimeError, match="of another"), translated(MySQLBackend()):
        raise RuntimeError("of another")


def test_sqlite_errors_are_told_apart() -> None:
    """Pins the same for SQLite."""
    backend = SQLiteBackend()
    assert backend.error_type(wrapped("database is locked")) is CheckpointerLockTimeoutError
    assert backend.error_type(wrapped("database or disk is full")) is StorageError


def test_all_errors_are_of_one_family() -> None:
    """Pins one root, and advice in each error of the database."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert all(
        issubclass(kind, ThreadlogError) for kind in kinds if kind.__module__ == errors.__name__
    )
    for kind in kinds:
        if issubclass(kind, StorageError):
            assert str(kind("reason")).startswith("reason. ")
            assert len(str(kind("reason"))) > 20
