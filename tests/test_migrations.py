"""threadlog's own revision: what it makes, completes, refuses and adopts."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.operations import Operations
from sqlalchemy import Connection, func, make_url, select
from sqlalchemy.ext.asyncio import create_async_engine
from typer.testing import CliRunner

from tests.databases import on_connection
from tests.schemas import (
    FRAMEWORK,
    OWN_TABLE,
    PARTITIONS,
    TABLES,
    definitions,
    differences,
    expected,
    opens,
    run,
    statements_of,
    tables,
    version_rows,
)
from threadlog import Checkpointer, MySQLCheckpointer, migrating
from threadlog.backends import mysql
from threadlog.cli import app
from threadlog.errors import (
    CheckpointerLockTimeoutError,
    ConfigurationError,
    ConnectionFailedError,
    CubepiSchemaError,
    CubepiSchemaMismatch,
    CubepiSchemaUninitialized,
    MissingExtraError,
)
from threadlog.messages import TextContent, UserMessage
from threadlog.migrations import write_schema_version_op
from threadlog.models import cubepi_metadata


async def test_the_revision_makes_what_the_models_say(empty_url: str) -> None:
    """Pins equal tables, partitions and collations included, and their version."""
    wanted = await expected(empty_url)
    await migrating.upgrade(empty_url)
    assert await definitions(empty_url) == wanted
    assert await version_rows(empty_url) == [5]
    assert await tables(empty_url) == {*TABLES, OWN_TABLE}


async def test_a_migrated_database_opens(empty_url: str) -> None:
    """Pins that what the revision makes is what the facade takes."""
    await migrating.upgrade(empty_url)
    async with Checkpointer(empty_url) as checkpointer:
        await checkpointer.append("t", [UserMessage(content=[TextContent(text="hi")])])
        assert await checkpointer.load("t") is not None


async def test_tables_on_mysql_have_partitions_and_collations(mysql_database: str) -> None:
    """Pins by literal text what the comparison with the models would miss in both."""
    await migrating.upgrade(mysql_database)
    found = await definitions(mysql_database)
    for table in ("cubepi_messages", "cubepi_runs"):
        assert "PARTITION BY KEY (thread_id)\nPARTITIONS 64" in found[table]
    for table, count in {
        "cubepi_threads": 3,
        "cubepi_messages": 2,
        "cubepi_hitl_answers": 3,
    }.items():
        assert found[table].count("COLLATE utf8mb4_bin") == count
    assert "DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP" in found["cubepi_threads"]
    assert all("ENGINE=InnoDB" in made for made in found.values())


async def test_autogenerate_finds_nothing_afterwards(empty_url: str) -> None:
    """Pins that a host whose metadata holds the models gets no migration out of nothing."""
    await migrating.upgrade(empty_url)
    assert await differences(empty_url) == []


async def test_up_down_and_up_again(empty_url: str) -> None:
    """Pins that downgrading drops everything, data and forks included, and leaves no trace."""
    await migrating.upgrade(empty_url)
    first = await definitions(empty_url)
    await run(
        empty_url,
        "INSERT INTO cubepi_threads (thread_id, extra) VALUES ('a', '{}')",
        "INSERT INTO cubepi_threads (thread_id, parent_thread_id, extra) VALUES ('b', 'a', '{}')",
    )
    await migrating.downgrade(empty_url)
    assert await tables(empty_url) == {OWN_TABLE}
    await migrating.upgrade(empty_url)
    assert await definitions(empty_url) == first
    assert await version_rows(empty_url) == [5]


async def test_upgrading_twice_changes_nothing(empty_url: str) -> None:
    """Pins that a deployment may migrate at every start."""
    assert await migrating.upgrade(empty_url) == "created"
    before = await definitions(empty_url)
    assert await migrating.upgrade(empty_url) == "there already"
    assert (await definitions(empty_url), await version_rows(empty_url)) == (before, [5])


async def test_tables_dropped_by_hand_are_made_again(empty_url: str) -> None:
    """Pins that a revision recorded for tables that are gone is not believed."""
    await migrating.upgrade(empty_url)
    await on_connection(empty_url, cubepi_metadata.drop_all)
    assert await migrating.upgrade(empty_url) == "created"
    assert await version_rows(empty_url) == [5]


def _lose(what: str) -> Callable[[Connection], None]:
    """Make what takes a table, an index or the version row out of a migrated database."""

    def work(connection: Connection) -> None:
        if what == "version row":
            connection.exec_driver_sql("DELETE FROM cubepi_schema_version")
        elif what in cubepi_metadata.tables:
            cubepi_metadata.tables[what].drop(connection)
        else:
            of_models = {str(i.name): i for t in cubepi_metadata.tables.values() for i in t.indexes}
            of_models[what].drop(connection)

    return work


_INDEXES = sorted(str(i.name) for t in cubepi_metadata.tables.values() for i in t.indexes)
_DATA_TABLES = [table for table in TABLES if table != "cubepi_schema_version"]


@pytest.mark.parametrize("lost", ["version row", *_DATA_TABLES, *_INDEXES])
async def test_what_was_lost_afterwards_is_made_again(empty_url: str, lost: str) -> None:
    """Pins that a recorded revision is believed only as far as the database bears it out."""
    await migrating.upgrade(empty_url)
    before = await definitions(empty_url)
    await on_connection(empty_url, _lose(lost))
    assert await migrating.upgrade(empty_url) == "completed"
    assert await definitions(empty_url) == before
    assert await version_rows(empty_url) == [5]
    await opens(empty_url)


async def test_a_lost_version_table_is_not_made_again(empty_url: str) -> None:
    """Pins the refusal: a downgrade that broke off leaves the same, with tables missing."""
    await migrating.upgrade(empty_url)
    await run(empty_url, "DROP TABLE cubepi_schema_version")
    before = await tables(empty_url)
    with pytest.raises(CubepiSchemaMismatch, match=r"downgrade that broke off.*--sql"):
        await migrating.upgrade(empty_url)
    assert await tables(empty_url) == before
    script = statements_of(migrating.upgrade_sql(empty_url))
    await run(empty_url, *(made for made in script if "cubepi_schema_version" in made))
    assert await migrating.upgrade(empty_url) == "there already"
    await opens(empty_url)


@pytest.mark.parametrize(
    ("broken", "hint"),
    [
        ("UPDATE cubepi_schema_version SET version = 6", "schema version 6"),
        ("INSERT INTO cubepi_schema_version VALUES (4)", "schema version 4"),
        ("ALTER TABLE cubepi_hitl_answers DROP COLUMN answer", "cubepi_hitl_answers lacks answer"),
    ],
)
async def test_a_recorded_revision_hides_no_mismatch(
    empty_url: str, broken: str, hint: str
) -> None:
    """Pins that success is claimed of no database that would not open."""
    await migrating.upgrade(empty_url)
    await run(empty_url, broken)
    for _ in range(2):
        with pytest.raises(CubepiSchemaMismatch, match=hint):
            await migrating.upgrade(empty_url)
    await migrating.downgrade(empty_url)
    assert await tables(empty_url) == {OWN_TABLE}


async def test_what_alembic_did_is_verified(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that Alembic's word alone is not passed on."""
    monkeypatch.setattr(Operations, "execute", lambda *_: None, raising=False)
    with pytest.raises(CubepiSchemaUninitialized):
        await migrating.upgrade(empty_url)
    monkeypatch.undo()
    monkeypatch.setattr(command, "upgrade", lambda config, _: _pretend(config))
    with pytest.raises(CubepiSchemaError, match="cubepi_runs"):
        await migrating.upgrade(empty_url)


def _pretend(config: Config) -> None:
    """Make all tables but one."""
    connection = config.attributes["connection"]
    cubepi_metadata.create_all(connection)
    cubepi_metadata.tables["cubepi_runs"].drop(connection)
    for statement in write_schema_version_op().split(";"):
        connection.exec_driver_sql(statement)


# --- Several at once ---------------------------------------------------------------


def _migrate_at_once(url: str, count: int) -> list[tuple[int, str, str]]:
    """Run ``threadlog migrate`` in processes; give each one's status and output."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "threadlog", "migrate", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONWARNINGS": "default"},
        )
        for _ in range(count)
    ]
    outputs = [process.communicate(timeout=240) for process in started]
    return [(p.returncode, *output) for p, output in zip(started, outputs, strict=True)]


async def test_processes_may_migrate_at_once(empty_url: str) -> None:
    """Pins that replicas that start together all succeed, and one of them does the work."""
    results = await asyncio.to_thread(_migrate_at_once, empty_url, 4)
    assert [(status, error) for status, _, error in results] == [(0, "")] * 4
    assert sorted(output.split()[0] for _, output, _ in results) == ["Created", *["Nothing"] * 3]
    assert await version_rows(empty_url) == [5]
    assert await differences(empty_url) == []
    await opens(empty_url)


async def test_a_migration_waits_for_another_only_so_long(
    mysql_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins threadlog's error, and that nothing was done."""
    monkeypatch.setattr(mysql, "_MIGRATION_SECONDS", 1)
    url = make_url(mysql_database).set(drivername="mysql+asyncmy")
    engine = create_async_engine(url)
    async with engine.connect() as other:
        held = await other.scalar(select(func.get_lock(mysql._lock_name(url), 0)))
        with pytest.raises(CheckpointerLockTimeoutError, match="Another migration"):
            await migrating.upgrade(mysql_database)
    await engine.dispose()
    assert held == 1
    assert await tables(mysql_database) == set()
    assert await migrating.upgrade(mysql_database) == "created"


async def test_the_lock_is_given_back(mysql_database: str) -> None:
    """Pins the release after success and after an error, on a connection that lives on."""
    engine = create_async_engine(make_url(mysql_database).set(drivername="mysql+asyncmy"))
    lock = mysql.MySQLBackend().migration_lock

    def work(connection: Connection) -> None:
        with lock(connection):
            assert _held(connection) == 1
            assert not connection.in_transaction()
        with pytest.raises(RuntimeError, match="broke off"), lock(connection):
            _fail()
        assert _held(connection) == 0

    async with engine.connect() as connection:
        await connection.run_sync(work)
    await engine.dispose()


def _held(connection: Connection) -> int:
    """Count the named locks that a connection holds."""
    held = connection.exec_driver_sql(
        "SELECT COUNT(*) FROM performance_schema.metadata_locks JOIN performance_schema.threads "
        "ON owner_thread_id = thread_id WHERE object_type = 'USER LEVEL LOCK' "
        "AND processlist_id = CONNECTION_ID()"
    ).scalar_one()
    connection.rollback()
    return int(held)


# --- What the command says ---------------------------------------------------------


def test_the_command_says_what_happened(empty_url: str) -> None:
    """Pins one line for each outcome."""
    said = []
    for lost in ("", "version row", ""):
        if lost:
            asyncio.run(on_connection(empty_url, _lose(lost)))
        result = CliRunner().invoke(app, ["migrate", empty_url])
        assert (result.exit_code, result.stderr) == (0, "")
        assert "has the schema of version 5." in result.stdout
        said.append(result.stdout.split(":")[0])
    assert said == ["Created the tables", "Created what was missing", "Nothing to do"]


def test_the_command_says_what_its_script_is_for() -> None:
    """Pins that --sql claims no more than it does."""
    result = CliRunner().invoke(app, ["migrate", "--help"], env={"COLUMNS": "200"})
    assert "for an empty database" in result.stdout


async def test_migrating_prints_and_logs_nothing(
    empty_url: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Pins that neither Alembic nor a driver's warning reaches a terminal."""
    await migrating.upgrade(empty_url)
    await run(empty_url, f"DROP TABLE {OWN_TABLE}", "DROP TABLE cubepi_runs")
    await migrating.upgrade(empty_url)
    await run(empty_url, "DROP TABLE cubepi_runs")
    await migrating.downgrade(empty_url)
    migrating.upgrade_sql(empty_url)
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# --- Runs that broke off -----------------------------------------------------------


@pytest.mark.parametrize("done", range(1, 12))
async def test_a_run_that_broke_off_is_completed(mysql_database: str, done: int) -> None:
    """Pins that after any statement the upgrade can simply be run again."""
    wanted = await expected(mysql_database)
    script = statements_of(migrating.upgrade_sql(mysql_database))
    assert len(script) == 12
    await run(mysql_database, *script[:done])
    await migrating.upgrade(mysql_database)
    assert await definitions(mysql_database) == wanted
    assert await version_rows(mysql_database) == [5]


async def test_a_failure_while_running_is_completed(
    mysql_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins the same for an exception in the middle, through the real machinery."""
    monkeypatch.setattr(Operations, "create_index", _fail, raising=False)
    with pytest.raises(RuntimeError, match="broke off"):
        await migrating.upgrade(mysql_database)
    monkeypatch.undo()
    with pytest.raises(CubepiSchemaUninitialized, match="did not finish"):
        await opens(mysql_database)
    await migrating.upgrade(mysql_database)
    assert await differences(mysql_database) == []
    await opens(mysql_database)


async def test_a_failure_on_sqlite_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that SQLite's DDL is one transaction."""
    url = f"sqlite:///{tmp_path}/threads.db"
    monkeypatch.setattr(Operations, "create_index", _fail, raising=False)
    with pytest.raises(RuntimeError, match="broke off"):
        await migrating.upgrade(url)
    assert await tables(url) == set()


async def test_a_downgrade_that_broke_off_is_completed(mysql_database: str) -> None:
    """Pins that what is half dropped does not open, and can be dropped."""
    await migrating.upgrade(mysql_database)
    await run(mysql_database, "DROP TABLE cubepi_schema_version", "DROP TABLE cubepi_hitl_answers")
    with pytest.raises(CubepiSchemaMismatch):
        await opens(mysql_database)
    await migrating.downgrade(mysql_database)
    assert await tables(mysql_database) == {OWN_TABLE}


def _fail(*args: object, **options: object) -> None:
    raise RuntimeError("broke off")


# --- Refusing ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "actual", "hint"),
    [
        (
            [
                "CREATE TABLE cubepi_schema_version (version INT PRIMARY KEY)",
                "INSERT INTO cubepi_schema_version VALUES (3)",
            ],
            3,
            "version 5 with the migrations",
        ),
        (
            [
                "CREATE TABLE cubepi_schema_version (version INT PRIMARY KEY)",
                "INSERT INTO cubepi_schema_version VALUES (5), (6)",
            ],
            6,
            "nothing was changed",
        ),
        (
            ["CREATE TABLE cubepi_threads (thread_id VARCHAR(255) PRIMARY KEY)"],
            0,
            r"data tables \(cubepi_threads\) but no version table",
        ),
        (
            [
                "CREATE TABLE cubepi_schema_version (version INT PRIMARY KEY)",
                "CREATE TABLE cubepi_runs (thread_id VARCHAR(255), run_id VARCHAR(255))",
            ],
            0,
            "cubepi_runs lacks claimed_at, completed_at, completion_seq",
        ),
        (
            ["CREATE TABLE cubepi_schema_version (number INT PRIMARY KEY)"],
            0,
            "cubepi_schema_version lacks version",
        ),
    ],
    ids=["older", "newer beside ours", "no version table", "columns lacking", "malformed"],
)
async def test_what_is_not_version_5_is_refused(
    empty_url: str, made: list[str], actual: int, hint: str
) -> None:
    """Pins that another schema is left exactly as it was."""
    await run(empty_url, *made)
    before = await tables(empty_url)
    with pytest.raises(CubepiSchemaMismatch, match=hint) as caught:
        await migrating.upgrade(empty_url)
    assert (caught.value.expected, caught.value.actual) == (5, actual)
    assert await tables(empty_url) == before


async def test_a_revision_of_a_newer_release_is_refused(empty_url: str) -> None:
    """Pins threadlog's error where Alembic does not know the revision."""
    await migrating.upgrade(empty_url)
    await run(empty_url, f"UPDATE {OWN_TABLE} SET version_num = '9999'")
    with pytest.raises(CubepiSchemaError, match=r"9999.*another release"):
        await migrating.upgrade(empty_url)


async def test_a_newer_revision_is_never_forgotten(empty_url: str) -> None:
    """Pins that what a newer release dropped is not made again by an older one."""
    await migrating.upgrade(empty_url)
    await run(empty_url, f"UPDATE {OWN_TABLE} SET version_num = '9999'")
    await on_connection(empty_url, _lose("ix_cubepi_threads_recent"))
    before = await definitions(empty_url)
    with pytest.raises(CubepiSchemaError, match=r"9999.*another release"):
        await migrating.upgrade(empty_url)
    assert await definitions(empty_url) == before


async def test_errors_are_threadlogs(
    mysql_server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins the errors that a command line has to explain."""
    nowhere = make_url(mysql_server_url).set(database="threadlog_no_such_database")
    with pytest.raises(ConnectionFailedError):
        await migrating.upgrade(nowhere)
    with pytest.raises(ConfigurationError):
        migrating.upgrade_sql("oracle://nowhere/none")
    monkeypatch.setitem(sys.modules, "alembic.config", None)
    for call in (migrating.upgrade, migrating.downgrade):
        with pytest.raises(MissingExtraError, match=r"threadlog\[migrations\]"):
            await call(nowhere)
    with pytest.raises(MissingExtraError):
        migrating.upgrade_sql(nowhere)


# --- Adopting ----------------------------------------------------------------------


async def test_a_database_of_the_framework_is_adopted(mysql_database: str) -> None:
    """Pins the drop-in: its tables stay, the missing indexes come, the facade works."""
    await run(mysql_database, *statements_of(FRAMEWORK))
    before = await definitions(mysql_database)
    await migrating.upgrade(mysql_database)
    after = await definitions(mysql_database)
    assert "KEY `ix_cubepi_threads_recent` (`updated_at`,`thread_id`)" in after["cubepi_threads"]
    assert "`run_id` varchar(64)" in after["cubepi_threads"]
    assert before | {"cubepi_threads": ""} == after | {"cubepi_threads": ""}
    assert await version_rows(mysql_database) == [5]
    async with MySQLCheckpointer(mysql_database) as checkpointer:
        message = UserMessage(content=[TextContent(text="hi")], run_id="R")
        await checkpointer.append("t", [message])
        loaded = await checkpointer.load("t")
    assert loaded is not None
    assert loaded.messages == [message]


async def test_an_sqlite_file_of_first_use_is_adopted(tmp_path: Path) -> None:
    """Pins that a file that the facade made loses nothing, and opens afterwards."""
    url = f"sqlite:///{tmp_path}/threads.db"
    message = UserMessage(content=[TextContent(text="hi")])
    async with Checkpointer(url) as checkpointer:
        await checkpointer.append("t", [message])
    before = await definitions(url)
    await migrating.upgrade(url)
    assert await definitions(url) == before
    async with Checkpointer(url) as checkpointer:
        loaded = await checkpointer.load("t")
    assert loaded is not None
    assert loaded.messages == [message]


# --- Without a connection ----------------------------------------------------------


async def test_the_script_makes_the_same_tables(mysql_database: str) -> None:
    """Pins that a DBA who runs the SQL by hand gets what the upgrade makes."""
    wanted = await expected(mysql_database)
    script = migrating.upgrade_sql("mysql://user:p%25w@nowhere.invalid/none")
    assert script.count(PARTITIONS) == 2
    assert script.count("COLLATE utf8mb4_bin") == 10
    assert "INSERT INTO cubepi_schema_version (version) VALUES (5)" in script
    await run(mysql_database, *statements_of(script))
    assert await definitions(mysql_database) == wanted
    await migrating.upgrade(mysql_database)
    await opens(mysql_database)


async def test_the_script_for_sqlite_makes_the_same_tables(tmp_path: Path) -> None:
    """Pins that the text follows the URL's dialect."""
    url = f"sqlite:///{tmp_path}/script.db"
    script = migrating.upgrade_sql(url)
    assert "PARTITION" not in script
    await run(url, *statements_of(script))
    made = await definitions(url)
    await on_connection(url, cubepi_metadata.drop_all)
    assert made == await expected(url)


def test_writing_the_script_touches_no_file(tmp_path: Path) -> None:
    """Pins that no SQLite file is made for its script."""
    migrating.upgrade_sql(f"sqlite:///{tmp_path}/script.db")
    assert not list(tmp_path.iterdir())
