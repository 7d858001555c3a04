"""The results of checking a database: every fault, and how to correct it."""

import asyncio
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, TextClause, make_url, text

from tests.support.databases import on_connection
from threadlog import Checkpointer
from threadlog.databases.mysql.database import MySQLBackend
from threadlog.errors import (
    ConfigurationError,
    CubepiSchemaMismatch,
    StorageError,
    UnsupportedServerError,
)
from threadlog.repositories import UnitOfWork
from threadlog.schema.check import CheckResult, check_database
from threadlog.schema.migrate import upgrade

TYPE = "VARCHAR(255) COLLATE utf8mb4_general_ci"
BOTH_ENDS = (
    f"ALTER TABLE cubepi_threads MODIFY thread_id {TYPE} NOT NULL, MODIFY parent_thread_id {TYPE}"
)
NEEDLE = "geheim"
ADVICE = " Run: threadlog migrate URL"
MYSQL_CHECKS = [
    "connection",
    "server",
    "schema",
    "columns",
    "engine",
    "partitions",
    "collation",
    "index",
    "access",
]


async def execute(url: str, *statements: str) -> None:
    """Run statements on a database."""
    for statement in statements:
        await on_connection(url, partial(_execute, text(statement)))


def _execute(statement: TextClause, connection: Connection) -> None:
    connection.execute(statement)


async def faults(url: str) -> list[CheckResult]:
    """Return the check results that are not ok."""
    return [finding for finding in await check_database(url) if finding.status != "ok"]


async def test_a_good_mysql_database_is_ok(innodb_url: str) -> None:
    """Every check runs, once, and finds nothing."""
    findings = await check_database(innodb_url)
    assert [finding.check for finding in findings] == MYSQL_CHECKS
    assert {finding.status for finding in findings} == {"ok"}


async def test_a_good_sqlite_database_is_ok(sqlite_url: str) -> None:
    """SQLite is not asked for partitions, engines and collations."""
    async with Checkpointer(sqlite_url):
        pass
    findings = await check_database(sqlite_url)
    of_part = ["schema", "columns", "index", "access"]
    expected = ["connection", "server", *of_part, *of_part]
    assert [finding.check for finding in findings] == expected
    assert {finding.status for finding in findings} == {"ok"}


@pytest.mark.parametrize(
    ("index", "slow"),
    [
        ("ix_cubepi_threads_waiting", "listing threads that wait for a person"),
        ("ix_cubepi_threads_parent", "deleting a thread"),
    ],
)
async def test_an_index_that_sqlite_lacks_is_reported_and_created(
    sqlite_url: str, index: str, slow: str
) -> None:
    async with Checkpointer(sqlite_url):
        pass
    await execute(sqlite_url, f"DROP INDEX {index}")
    (fault,) = [found for found in await check_database(sqlite_url) if found.status != "ok"]
    assert fault.message == f"{index} is missing: {slow} reads the whole of cubepi_threads."
    assert fault.remedy is not None
    await execute(sqlite_url, fault.remedy)
    assert {found.status for found in await check_database(sqlite_url)} == {"ok"}


@pytest.mark.parametrize(
    ("harm", "status", "check", "told"),
    [
        (
            "ALTER TABLE cubepi_messages REMOVE PARTITIONING",
            "error",
            "partitions",
            "cubepi_messages is not partitioned",
        ),
        (
            "ALTER TABLE cubepi_runs COALESCE PARTITION 60",
            "error",
            "partitions",
            "cubepi_runs has 4 partitions by KEY (thread_id)",
        ),
        (
            f"ALTER TABLE cubepi_messages MODIFY thread_id {TYPE} NOT NULL",
            "error",
            "collation",
            "cubepi_messages.thread_id: the collation is utf8mb4_general_ci",
        ),
        (
            f"ALTER TABLE cubepi_messages MODIFY run_id {TYPE}",
            "warning",
            "collation",
            "such as R1 and r1, are mixed up",
        ),
        (
            "ALTER TABLE cubepi_schema_version ENGINE=MyISAM",
            "error",
            "engine",
            "cubepi_schema_version uses the engine MyISAM",
        ),
        (
            "DROP INDEX ix_cubepi_threads_recent ON cubepi_threads",
            "warning",
            "index",
            "ix_cubepi_threads_recent is missing: listing recent threads reads",
        ),
        (
            "DROP INDEX ix_cubepi_threads_waiting ON cubepi_threads",
            "warning",
            "index",
            "ix_cubepi_threads_waiting is missing: listing threads that wait for a person reads",
        ),
    ],
)
async def test_a_fault_is_reported_and_its_remedy_mends_it(
    innodb_url: str, harm: str, status: str, check: str, told: str
) -> None:
    await execute(innodb_url, harm)
    (fault,) = await faults(innodb_url)
    assert (fault.status, fault.check) == (status, check)
    assert told in fault.message
    await execute(innodb_url, fault.remedy)
    assert await faults(innodb_url) == []


async def test_both_ends_of_a_foreign_key_are_mended_by_one_statement(innodb_url: str) -> None:
    on_mariadb = innodb_url.startswith("mariadb")
    if on_mariadb:
        await execute(
            innodb_url, "ALTER TABLE cubepi_threads DROP FOREIGN KEY cubepi_threads_ibfk_1"
        )
    await execute(innodb_url, BOTH_ENDS)
    (fault,) = await faults(innodb_url)
    assert (fault.status, fault.check) == ("error", "collation")
    assert "cubepi_threads.thread_id, parent_thread_id: the collation" in fault.message
    assert ("A foreign key refers to a column" in fault.message) is on_mariadb
    assert (fault.remedy == "") is on_mariadb
    if not on_mariadb:
        await execute(innodb_url, fault.remedy)
        assert await faults(innodb_url) == []


async def test_every_fault_is_reported_at_once(innodb_url: str) -> None:
    """The first fault does not hide the others."""
    await execute(
        innodb_url,
        "UPDATE cubepi_schema_version SET version = 4",
        "ALTER TABLE cubepi_messages REMOVE PARTITIONING",
        "ALTER TABLE cubepi_threads DROP COLUMN forked_at_seq",
        "DROP TABLE cubepi_hitl_answers",
        "DROP INDEX ix_cubepi_threads_recent ON cubepi_threads",
    )
    found = [(fault.check, fault.status) for fault in await faults(innodb_url)]
    assert found == [
        ("schema", "error"),
        ("columns", "error"),
        ("columns", "error"),
        ("partitions", "error"),
        ("index", "warning"),
    ]


async def test_missing_tables_and_columns_are_named(innodb_url: str) -> None:
    await execute(
        innodb_url,
        "ALTER TABLE cubepi_threads DROP COLUMN forked_at_seq",
        "DROP TABLE cubepi_hitl_answers",
    )
    answers, threads = await faults(innodb_url)
    assert "The table cubepi_hitl_answers is missing" in answers.message
    assert "cubepi_threads lacks forked_at_seq" in threads.message


@pytest.mark.parametrize(
    ("harm", "advice"),
    [
        ("DELETE FROM cubepi_schema_version WHERE version = 0", ADVICE),
        ("DELETE FROM cubepi_schema_version", ADVICE),
        ("UPDATE cubepi_schema_version SET version = 4", ""),
        ("UPDATE cubepi_schema_version SET version = 6", ""),
        ("DROP TABLE cubepi_schema_version", ""),
        ("ALTER TABLE cubepi_threads DROP COLUMN forked_at_seq", ""),
    ],
)
async def test_migrate_is_advised_only_where_it_would_run(
    innodb_url: str, harm: str, advice: str
) -> None:
    """The words about a missing table do not lead to a command that refuses."""
    await execute(innodb_url, "DROP TABLE cubepi_hitl_answers", harm)
    told = [fault.message for fault in await faults(innodb_url) if fault.check == "columns"]
    assert told[0] == f"The table cubepi_hitl_answers is missing.{advice}"
    assert any("migrate URL" in message for message in told) == bool(advice)
    if advice:
        await upgrade(innodb_url)
        assert await faults(innodb_url) == []
    else:
        with pytest.raises(CubepiSchemaMismatch):
            await upgrade(innodb_url)


async def test_another_version_is_reported(innodb_url: str) -> None:
    """Both versions are named."""
    await execute(innodb_url, "UPDATE cubepi_schema_version SET version = 4")
    (fault,) = await faults(innodb_url)
    assert fault.check == "schema"
    assert "schema version 4" in fault.message
    assert "5 is needed" in fault.message


async def test_an_empty_database_is_one_fault(innodb_database: str) -> None:
    """A database without tables does not get a line for each of them."""
    (fault,) = await faults(innodb_database)
    assert (fault.check, fault.status) == ("schema", "error")
    assert "threadlog migrate" in fault.message


async def test_an_unsupported_server_is_reported_and_the_rest_too(
    innodb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server which a checkpointer refuses is still looked over."""

    def refuse(self: MySQLBackend, uow: UnitOfWork) -> None:
        raise UnsupportedServerError(found="MariaDB 11.8.3", required="MySQL 8.0.13 or later")

    monkeypatch.setattr(MySQLBackend, "verify_server", refuse)
    findings = await check_database(innodb_url)
    assert [finding.check for finding in findings] == MYSQL_CHECKS
    assert findings[1].status == "error"
    assert "MariaDB 11.8.3" in findings[1].message


async def test_a_check_that_fails_is_reported_without_a_word_of_its_cause(
    innodb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finding, which has no cause, does not send anybody there."""

    def fail(self: MySQLBackend, uow: UnitOfWork) -> None:
        raise StorageError("1142: SELECT command denied")

    monkeypatch.setattr(MySQLBackend, "verify_server", fail)
    (fault,) = await faults(innodb_url)
    assert (fault.check, fault.message) == ("server", "1142: SELECT command denied.")


async def test_a_server_that_is_not_there_is_one_fault() -> None:
    """Nothing is raised, and the password is not told."""
    (fault,) = await check_database("mysql://root:geheim@127.0.0.1:1/app")
    assert (fault.check, fault.status) == ("connection", "error")
    assert "Check that the server runs" in fault.message
    assert "geheim" not in fault.message


async def test_a_refused_account_is_one_fault(innodb_database: str) -> None:
    """The server's own words are told."""
    url = make_url(innodb_database).set(username="nobody", password=NEEDLE)
    (fault,) = await check_database(url)
    assert (fault.check, fault.status) == ("connection", "error")
    assert "Access denied" in fault.message
    assert NEEDLE not in fault.message


def test_looking_for_an_sqlite_file_does_not_create_it(tmp_path: Path) -> None:
    """The check changes nothing."""
    (fault,) = asyncio.run(check_database(f"sqlite:///{tmp_path}/none.db"))
    assert fault.status == "error"
    assert "created, with its tables, on first use" in fault.message
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_is_no_database_is_one_fault(tmp_path: Path) -> None:
    """A wrong file is told and left as it was."""
    file = tmp_path / "letter.db"
    file.write_text("Dear reader, " * 100, encoding="utf-8")
    (fault,) = await check_database(f"sqlite:///{file}")
    assert (fault.check, fault.status) == ("connection", "error")
    assert "file is not a database" in fault.message


async def test_a_url_that_cannot_be_used_is_raised() -> None:
    """A mistake in the URL is the caller's, not the database's."""
    with pytest.raises(ConfigurationError, match="does not support 'oracle'"):
        await check_database("oracle://localhost/x")
