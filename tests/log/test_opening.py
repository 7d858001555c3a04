"""URLs, drivers, TLS, and what is verified on entering."""

import logging
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.databases import engines_of, on_connection, sent_by
from tests.support.factories import UserFactory
from tests.support.patience import eventually
from tests.support.servers.server import Server
from threadlog import Checkpointer, MySQLCheckpointer, SyncCheckpointer
from threadlog.databases.base import EngineUse, PoolSize
from threadlog.databases.mysql.database import MySQLBackend
from threadlog.databases.registry import backend_of
from threadlog.databases.urls import parse_url
from threadlog.errors import (
    CheckpointerLockTimeoutError,
    ConfigurationError,
    ConnectionFailedError,
    CubepiSchemaMismatch,
    CubepiSchemaUninitialized,
    ServerUnreachableError,
    ThreadlogError,
    UnsupportedServerError,
)
from threadlog.messages import TextContent, UserMessage
from threadlog.models import EXPECTED_SCHEMA_VERSION
from threadlog.repositories import UnitOfWork

SECRET = "s3cr3t/p@ss:wörd%"  # noqa: S105 - made up
ENCODED = "s3cr3t%2Fp%40ss%3Aw%C3%B6rd%25"


async def execute(url: str, *statements: str) -> None:
    """Run SQL in one transaction."""

    def run(connection: Connection) -> None:
        for statement in statements:
            connection.exec_driver_sql(statement)

    await on_connection(url, run)


async def enter(url: str) -> None:
    """Open and close a checkpointer."""
    async with Checkpointer(url):
        pass


async def test_an_empty_mysql_database_is_uninitialised(innodb_database: str) -> None:
    with pytest.raises(CubepiSchemaUninitialized, match="threadlog migrate"):
        await enter(innodb_database)
    tables = await on_connection(innodb_database, lambda c: c.execute(text("SHOW TABLES")).all())
    assert tables == []


async def test_an_empty_version_table_is_uninitialised(innodb_url: str) -> None:
    await execute(innodb_url, "DELETE FROM cubepi_schema_version")
    with pytest.raises(CubepiSchemaUninitialized, match="write_schema_version_op"):
        await enter(innodb_url)


@pytest.mark.parametrize("table", ["drop", "malformed"])
async def test_data_tables_without_a_version_are_a_mismatch(innodb_url: str, table: str) -> None:
    """Unknown data is not taken for an empty database."""
    await execute(innodb_url, "DROP TABLE cubepi_schema_version")
    if table == "malformed":
        await execute(innodb_url, "CREATE TABLE cubepi_schema_version (release_name INT)")
    with pytest.raises(CubepiSchemaMismatch, match="do not create") as caught:
        await enter(innodb_url)
    assert (caught.value.expected, caught.value.actual) == (EXPECTED_SCHEMA_VERSION, 0)


@pytest.mark.parametrize(("version", "advice"), [(4, "older"), (6, "upgrade threadlog")])
async def test_another_version_is_a_mismatch(database_url: str, version: int, advice: str) -> None:
    await enter(database_url)
    await execute(database_url, f"UPDATE cubepi_schema_version SET version = {version}")
    with pytest.raises(CubepiSchemaMismatch, match=advice) as caught:
        await enter(database_url)
    assert (caught.value.expected, caught.value.actual) == (5, version)


async def test_two_version_rows_are_a_mismatch(database_url: str) -> None:
    """The right row beside a wrong one does not pass."""
    await enter(database_url)
    await execute(database_url, "INSERT INTO cubepi_schema_version VALUES (4)")
    with pytest.raises(CubepiSchemaMismatch, match="one row") as caught:
        await enter(database_url)
    assert caught.value.actual == 4


class OldServer:
    """A catalogue that says what an old or another server would."""

    def __init__(self, version: tuple[int, ...], *, mariadb: bool) -> None:
        self._version, self._mariadb = version, mariadb

    def server_version(self) -> tuple[int, ...]:
        """Return the version."""
        return self._version

    def is_mariadb(self) -> bool:
        """Return True if the server is MariaDB."""
        return self._mariadb


class OldUnitOfWork:
    """A unit of work on such a server."""

    def __init__(self, version: tuple[int, ...], *, mariadb: bool = False) -> None:
        self.catalogue = OldServer(version, mariadb=mariadb)
        self.connection = Mock()


def verify(uow: OldUnitOfWork) -> None:
    """Verify a server that is not to be had here."""
    unit: UnitOfWork = uow  # type: ignore[assignment]  # has what is asked of it
    MySQLBackend().verify_server(unit)


def test_old_servers_are_refused() -> None:
    for version in ((8, 0, 12), (5, 7, 44)):
        with pytest.raises(UnsupportedServerError, match=r"Use MySQL 8\.0\.13") as caught:
            verify(OldUnitOfWork(version))
        assert "8.0.13" in caught.value.required
    for version in ((10, 5, 29), (5, 5, 68)):
        with pytest.raises(UnsupportedServerError, match=r"Use MariaDB 10\.6"):
            verify(OldUnitOfWork(version, mariadb=True))
    verify(OldUnitOfWork((8, 0, 13)))
    verify(OldUnitOfWork((9, 7, 4, 2)))
    verify(OldUnitOfWork((10, 6, 0), mariadb=True))


async def test_encoded_credentials_and_database_names(
    innodb_server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await execute(
        innodb_server_url,
        "DROP DATABASE IF EXISTS `thread log/ü`",
        "CREATE DATABASE `thread log/ü`",
        "DROP USER IF EXISTS 'tl@user'@'%%'",
        f"CREATE USER 'tl@user'@'%%' IDENTIFIED BY '{SECRET.replace('%', '%%')}'",
        "GRANT ALL ON `thread log/ü`.* TO 'tl@user'@'%%'",
    )
    server = make_url(innodb_server_url)
    url = f"mysql://tl%40user:{ENCODED}@{server.host}:{server.port}/thread%20log%2F%C3%BC"
    try:
        with pytest.raises(CubepiSchemaUninitialized) as caught:
            await enter(url)
        wrong = url.replace(ENCODED, f"{ENCODED}x")
        with pytest.raises(ConnectionFailedError) as refused:
            await enter(wrong)
        shown = [repr(Checkpointer(url)), str(caught.value), repr(refused.value), caplog.text]
        assert "Access denied" in str(refused.value)
        assert all(SECRET not in text and ENCODED not in text for text in shown)
        assert "tl%40user:***@" in shown[0]
    finally:
        await execute(innodb_server_url, "DROP DATABASE `thread log/ü`", "DROP USER 'tl@user'@'%%'")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("not a url", "cannot be parsed"),
        (f"mysql://user:{SECRET}@:x/db", "cannot be parsed"),
        ("oracle://user:secret@host/db", "does not support 'oracle'"),
        ("mysql+nosql://user:secret@host/db", "'nosql' is not supported in URLs"),
        ("mysql://user:secret@host/db?pool_recycle=soon", "pool_recycle"),
        ("mysql://user:secret@host/db?pool_pre_ping=perhaps", "pool_pre_ping"),
        ("mysql://user:secret@host", "names no database"),
        ("mysql://user:secret@host/db?ssl_mode=SOMETIMES", "ssl_mode"),
        ("mysql://user:secret@host/db?ssl_ca=nowhere.pem", "TLS options"),
        ("mysql://user:secret@host/db?ssl_typo=1", "ssl_typo"),
        ("sqlite+pysqlcipher:///file.db", "'pysqlcipher' is not supported in URLs"),
        ("mysql://user:secret@host/db?charset=latin1", "must be utf8mb4"),
        ("mysql://user:secret@host/db?init_command=SET+@x=1", "init_command"),
    ],
)
def test_urls_that_cannot_be_used(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        Checkpointer(url)
    assert "secret" not in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "asynchronous", "synchronous"),
    [
        ("mysql+pymysql://u:secret@h/d", "mysql+asyncmy", "mysql+pymysql"),
        ("mysql+mysqldb://u:secret@h/d", "mysql+asyncmy", "mysql+pymysql"),
        ("mariadb+aiomysql://u:secret@h/d", "mysql+aiomysql", "mysql+pymysql"),
        ("postgresql+psycopg2://u:secret@h/d", "postgresql+asyncpg", "postgresql+psycopg"),
        ("postgres+psycopg://u:secret@h/d", "postgresql+asyncpg", "postgresql+psycopg"),
        ("sqlite+aiosqlite:///f.db", "sqlite+aiosqlite", "sqlite+pysqlite"),
        ("sqlite+pysqlite:///f.db", "sqlite+aiosqlite", "sqlite+pysqlite"),
    ],
)
def test_drivers_of_applications_are_replaced_and_logged(
    url: str, asynchronous: str, synchronous: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "threadlog")
    backend, parsed = backend_of(parse_url(url)), parse_url(url)
    for use, wanted in ((EngineUse(), asynchronous), (EngineUse(synchronous=True), synchronous)):
        assert backend.settings(parsed, PoolSize(1, 1), use).url.drivername == wanted
    named = parsed.drivername.partition("+")[2]
    for open_, wanted in ((Checkpointer, asynchronous), (SyncCheckpointer, synchronous)):
        caplog.clear()
        open_(url)
        used = wanted.partition("+")[2]
        told = [] if named == used else [f"names the driver {named}; {used} is used"]
        assert [text for text in told if text in caplog.text] == told
        assert bool(caplog.records) is bool(told)
        assert "secret" not in caplog.text


def test_pool_options_in_the_url_are_the_engines() -> None:
    for scheme in ("mysql://u@h/d", "postgresql://u@h/d", "sqlite:///f.db"):
        url = parse_url(f"{scheme}?pool_recycle=300&pool_pre_ping=true")
        options = backend_of(url).settings(url, PoolSize(1, 1), EngineUse()).options
        assert (options["pool_recycle"], options["pool_pre_ping"]) == (300, True)


def test_engine_of_aiomysql_that_cannot_send_bytes_is_refused() -> None:
    """As aiomysql 0.3.2 with PyMySQL 1.2, which raise a TypeError of their own."""

    def raise_type_error(_: object) -> None:
        raise TypeError("'str' object is not callable")

    unit = Mock()
    unit.connection.dialect.driver = "aiomysql"
    unit.catalogue.send_bytes.side_effect = raise_type_error
    with pytest.raises(ConfigurationError, match="aiomysql cannot send bytes"):
        MySQLBackend().verify_server(unit)


def test_mysql_checkpointer_takes_only_mysql() -> None:
    with pytest.raises(ConfigurationError, match="mysql://"):
        MySQLCheckpointer("sqlite:///file.db")
    assert "MySQLCheckpointer mysql://u:***@h/d" in repr(MySQLCheckpointer("mysql://u:p@h/d"))


@pytest.mark.parametrize("driver", ["", "+asyncmy", "+pymysql"])
async def test_driver_names(innodb_url: str, driver: str) -> None:
    async with Checkpointer(innodb_url.replace("://", f"{driver}://")) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        assert len(await checkpointer.read("t")) == 1


def test_aiomysql_is_chosen_where_the_url_asks_for_it() -> None:
    url = parse_url("mysql+aiomysql://user@host/db")
    settings = backend_of(url).settings(url, PoolSize(1, 10), EngineUse())
    assert settings.url.drivername == "mysql+aiomysql"


@pytest.mark.processes
def test_a_driver_that_no_extra_brings_is_named_itself() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", MISSING, "mysql+aiomysql://user@host/db", "aiomysql"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown == "The package 'aiomysql' is not installed. Run: pip install aiomysql None\n"


MISSING = """
import asyncio, sys
for name in sys.argv[2:]:
    sys.modules[name] = None
import threadlog, threadlog.errors
async def main():
    try:
        async with threadlog.Checkpointer(sys.argv[1]):
            pass
    except threadlog.errors.MissingExtraError as error:
        print(error, error.extra)
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("mysql://user@host/db", "asyncmy", "mysql"),
        ("mariadb://user@host/db", "asyncmy", "mariadb"),
    ],
)
@pytest.mark.processes
def test_a_missing_driver_names_the_line_to_run(url: str, package: str, extra: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", MISSING, url, package], capture_output=True, text=True, check=True
    ).stdout
    assert f"pip install 'threadlog[{extra}]'" in shown
    assert shown.split()[-1] == extra


@pytest.mark.processes
def test_sqlite_needs_no_extra() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", MISSING, "sqlite://", "aiosqlite"], capture_output=True, check=True
    )
    assert shown.stdout == b""


async def test_tls_options_of_the_url_are_honoured(mysql_url: str, mysql_server: Server) -> None:
    cipher = text(
        "SELECT variable_value FROM performance_schema.session_status "
        "WHERE variable_name = 'Ssl_cipher'"
    )
    folder = mysql_server.data_folder
    urls = [f"{mysql_url}?ssl_mode=REQUIRED", f"{mysql_url}?ssl=true"]
    if folder is not None:
        ca = f"ssl_ca={folder}/ca.pem"
        client = f"ssl_cert={folder}/client-cert.pem&ssl_key={folder}/client-key.pem"
        urls += [
            f"{mysql_url}?{ca}&ssl_mode=VERIFY_CA",
            f"{mysql_url}?{ca}&{client}&ssl-mode=verify_ca",
        ]
    for url in urls:
        async with (
            Checkpointer(url) as checkpointer,
            AsyncEngine(engines_of(checkpointer)[0]).connect() as connection,
        ):
            assert (await connection.execute(cipher)).scalar_one().startswith(("TLS", "ECDHE"))
    stranger = Path(__file__).parents[1] / "support" / "data" / "stranger-ca.pem"
    with pytest.raises(ConnectionFailedError, match=r"(?i)certificate"):
        await enter(f"{mysql_url}?ssl_ca={stranger}")


async def test_unknown_driver_options_are_named(innodb_url: str) -> None:
    with pytest.raises(ConfigurationError, match="no_such_option"):
        await enter(f"{innodb_url}?no_such_option=1")


@pytest.mark.parametrize("option", ["connect_timeout=abc", "read_timeout=x"])
async def test_wrong_values_of_driver_options_are_named(innodb_url: str, option: str) -> None:
    with pytest.raises(ConfigurationError, match=r"options?"):
        await enter(f"{innodb_url}?{option}")


async def test_content_is_never_read_as_sql(innodb_url: str, innodb_server_url: str) -> None:
    said = [
        "a\\b",
        "it's",
        "',NULL),(0x76696374696d,99,0x75736572,_utf8mb4 0x7b7d,0x80,NULL) -- ",
    ]
    before = text("SELECT @@GLOBAL.sql_mode")
    mode = await on_connection(innodb_server_url, lambda c: str(c.execute(before).scalar_one()))
    await execute(innodb_server_url, f"SET GLOBAL sql_mode = '{mode},NO_BACKSLASH_ESCAPES'")
    try:
        async with Checkpointer(innodb_url) as checkpointer:
            messages = [UserMessage(content=[TextContent(text=words)]) for words in said]
            await checkpointer.append("t", messages)
            data = await checkpointer.load("t")
            assert data is not None
            assert data.messages == messages
            assert [t.thread_id for t in await checkpointer.list_threads()] == ["t"]
            assert await checkpointer.load("victim") is None
            async with AsyncEngine(engines_of(checkpointer)[0]).connect() as connection:
                zone = await connection.execute(text("SELECT @@time_zone, @@sql_mode"))
                found = zone.one()
            assert found[0] == "+00:00"
            assert "STRICT_TRANS_TABLES" in found[1]
    finally:
        await execute(innodb_server_url, f"SET GLOBAL sql_mode = '{mode}'")


async def test_a_server_that_does_not_answer(unused_tcp_port: int) -> None:
    with pytest.raises(ServerUnreachableError, match=r"did not answer.*server runs"):
        await enter(f"mysql://root@127.0.0.1:{unused_tcp_port}/db?retry_seconds=0")


async def test_a_database_that_does_not_exist(innodb_server_url: str) -> None:
    """The error is not retried for half a minute."""
    with pytest.raises(ConnectionFailedError, match="no_such_database"):
        await enter(f"{innodb_server_url.rstrip('/')}/no_such_database")


async def test_sqlite_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailedError, match="unable to open"):
        await enter(f"sqlite:///{tmp_path}/missing/file.db")
    (tmp_path / "text.db").write_text("this is not a database" * 100, encoding="utf-8")
    threads = threading.active_count()
    for _ in range(5):
        with pytest.raises(ConnectionFailedError, match="not a database"):
            await enter(f"sqlite:///{tmp_path}/text.db")
    assert eventually(lambda: threading.active_count() <= threads), "failed openings keep threads"


async def test_sqlite_timeout_is_the_whole_wait_for_a_lock(sqlite_url: str) -> None:
    """The driver has waited already: ten attempts took ten times as long."""
    path = sqlite_url.removeprefix("sqlite:///")
    async with Checkpointer(f"{sqlite_url}?timeout=1") as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(CheckpointerLockTimeoutError):
            await checkpointer.append("t", [UserFactory()])
        assert 0.9 < time.monotonic() - began < 3
        holder.rollback()
        holder.close()
        await checkpointer.append("t", [UserFactory()])
        assert len(await checkpointer.read("t")) == 2


async def test_sqlite_waits_for_another_that_switches_the_file(sqlite_url: str) -> None:
    """SQLite may refuse to switch to a write-ahead log at once, whatever the time limit."""
    path = sqlite_url.removeprefix("sqlite:///")
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    releasing = threading.Timer(0.1, holder.close)
    releasing.start()
    try:
        await enter(f"{sqlite_url}?timeout=0")
    finally:
        releasing.join()


async def test_sqlite_is_set_up_for_durability(sqlite_url: str) -> None:
    async with Checkpointer(sqlite_url) as checkpointer:
        with engines_of(checkpointer)[0].connect() as connection:
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
            }
    assert found == {
        "journal_mode": "wal",
        "foreign_keys": 1,
        "synchronous": 2,
        "busy_timeout": 30_000,
    }


async def test_sqlite_takes_its_write_lock_at_the_start(sqlite_url: str) -> None:
    async with Checkpointer(sqlite_url) as checkpointer:
        sent = sent_by(checkpointer)
        await checkpointer.append("t", [UserFactory()])
        assert sent[0] == "BEGIN IMMEDIATE"
        sent.clear()
        await checkpointer.load("t")
        assert [statement.split()[0] for statement in sent] == ["SELECT"]  # without BEGIN


async def test_entering_twice_is_refused(sqlite_url: str) -> None:
    """An object can be entered only once at a time."""
    async with Checkpointer(sqlite_url) as checkpointer:
        with pytest.raises(ThreadlogError, match="entered already"):
            await checkpointer.__aenter__()
        assert await checkpointer.list_threads() == []
