"""threadlog's own revision: what it makes, completes, refuses and adopts."""

import logging
import sys
from pathlib import Path

import pytest
from alembic.operations import Operations
from sqlalchemy import make_url

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
from threadlog.errors import (
    ConfigurationError,
    ConnectionFailedError,
    CubepiSchemaError,
    CubepiSchemaMismatch,
    CubepiSchemaUninitialized,
    MissingExtraError,
)
from threadlog.messages import TextContent, UserMessage
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
    await migrating.upgrade(empty_url)
    before = await definitions(empty_url)
    await migrating.upgrade(empty_url)
    assert (await definitions(empty_url), await version_rows(empty_url)) == (before, [5])


async def test_tables_dropped_by_hand_are_made_again(empty_url: str) -> None:
    """Pins that a revision recorded for tables that are gone is not believed."""
    await migrating.upgrade(empty_url)
    await on_connection(empty_url, cubepi_metadata.drop_all)
    await migrating.upgrade(empty_url)
    assert await version_rows(empty_url) == [5]


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


@pytest.mark.parametrize("done", range(1, 13))
async def test_a_run_that_broke_off_is_completed(mysql_database: str, done: int) -> None:
    """Pins that after any statement the upgrade can simply be run again."""
    wanted = await expected(mysql_database)
    script = statements_of(migrating.upgrade_sql(mysql_database))
    assert len(script) == 13
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
