"""Databases and revisions that migrations refuse and leave unchanged."""

import sys

import pytest
from sqlalchemy import make_url

from tests.schema.migrations.running import upgrade
from tests.support.schemas import (
    run,
    tables,
)
from threadlog import migrating
from threadlog.errors import (
    ConfigurationError,
    ConnectionFailedError,
    CubepiSchemaError,
    CubepiSchemaMismatch,
    MissingExtraError,
)
from threadlog.models import GRAPH, MESSAGES, METADATA, SchemaPart


@pytest.mark.parametrize(
    ("part", "made", "actual", "hint"),
    [
        (
            MESSAGES,
            [
                "CREATE TABLE cubepi_schema_version (version INT PRIMARY KEY)",
                "INSERT INTO cubepi_schema_version VALUES (3)",
            ],
            3,
            "version 5 with the migrations",
        ),
        (
            MESSAGES,
            [
                "CREATE TABLE cubepi_schema_version (version INT PRIMARY KEY)",
                "INSERT INTO cubepi_schema_version VALUES (5), (6)",
            ],
            6,
            "nothing was changed",
        ),
        (
            MESSAGES,
            ["CREATE TABLE cubepi_threads (thread_id VARCHAR(255) PRIMARY KEY)"],
            0,
            r"data tables \(cubepi_threads\) but no version table",
        ),
        (
            MESSAGES,
            [
                "CREATE TABLE cubepi_schema_version (version INT PRIMARY KEY)",
                "CREATE TABLE cubepi_runs (thread_id VARCHAR(255), run_id VARCHAR(255))",
            ],
            0,
            "cubepi_runs lacks claimed_at, completed_at, completion_seq",
        ),
        (
            MESSAGES,
            ["CREATE TABLE cubepi_schema_version (number INT PRIMARY KEY)"],
            0,
            "cubepi_schema_version lacks version",
        ),
        (
            GRAPH,
            [
                "CREATE TABLE threadlog_graph_version (version INT PRIMARY KEY)",
                "INSERT INTO threadlog_graph_version VALUES (2)",
            ],
            2,
            "The database is newer than this release: upgrade threadlog; nothing was changed",
        ),
        (
            METADATA,
            ["CREATE TABLE app_threads (thread_id VARCHAR(36) PRIMARY KEY)"],
            0,
            r"data tables \(app_threads\) but no version table",
        ),
        (
            METADATA,
            [
                "CREATE TABLE threadlog_metadata_version (version INT PRIMARY KEY)",
                "CREATE TABLE app_threads (thread_id VARCHAR(36) PRIMARY KEY, status INT)",
            ],
            0,
            "app_threads lacks config, created_at, metadata, state_updated_at, ttl, updated_at",
        ),
        (
            METADATA,
            [
                "CREATE TABLE threadlog_graph_version (version INT PRIMARY KEY)",
                "CREATE TABLE app_runs (id INT PRIMARY KEY)",
            ],
            0,
            r"data tables \(app_runs\) but no version table. If they are your own, .* --part",
        ),
    ],
    ids=[
        *("older", "newer beside ours", "no version table", "columns lacking", "malformed"),
        *("graph newer", "metadata without version table", "metadata columns lacking"),
        "an application's own",
    ],
)
async def test_what_is_of_another_version_is_refused(
    empty_url: str, part: SchemaPart, made: list[str], actual: int, hint: str
) -> None:
    """Another schema is left exactly as it was."""
    await run(empty_url, *made)
    before = await tables(empty_url)
    with pytest.raises(CubepiSchemaMismatch, match=hint) as caught:
        await upgrade(empty_url, part)
    assert (caught.value.expected, caught.value.actual) == (part.version, actual)
    assert await tables(empty_url) == before


async def test_a_revision_of_a_newer_release_is_refused(empty_url: str, part: SchemaPart) -> None:
    await upgrade(empty_url, part)
    await run(empty_url, f"UPDATE {part.revision_table} SET version_num = '9999'")
    with pytest.raises(CubepiSchemaError, match=r"9999.*another release"):
        await upgrade(empty_url, part)


async def test_revisions_of_one_part_are_no_other_s(empty_url: str) -> None:
    """The histories are two, and a revision alone does not say of which."""
    with pytest.raises(CubepiSchemaError, match=r"0005"):
        await migrating.upgrade(empty_url, "0005", part="graph")
    for call, revision in ((migrating.upgrade, "0005"), (migrating.downgrade, "-1")):
        with pytest.raises(ConfigurationError, match=f"{revision}.*part='messages'"):
            await call(empty_url, revision)
    with pytest.raises(ConfigurationError, match=r"'messages', 'graph', .*, not 'graphs'"):
        await migrating.upgrade(empty_url, part="graphs")  # type: ignore[arg-type]  # mistaken
    assert await tables(empty_url) == set()
    assert await migrating.upgrade(empty_url, "0005", part="messages") == {"messages": "created"}
    assert await migrating.upgrade(empty_url, "graph0001", part="graph") == {"graph": "created"}


async def test_errors_are_threadlogs(
    innodb_server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = make_url(innodb_server_url).set(database="threadlog_no_such_database")
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
