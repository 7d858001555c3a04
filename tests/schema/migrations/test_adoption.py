"""Tables that others made, which are adopted."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import Connection
from typer.testing import CliRunner

from tests.schema.migrations.directives import migrate
from tests.schema.migrations.running import ROWS, lose, upgrade
from tests.support.databases import on_connection
from tests.support.schemas import (
    FRAMEWORK,
    definitions,
    differences,
    expected,
    opens,
    run,
    statements_of,
    tables,
    version_rows,
)
from threadlog import Checkpointer, migrating
from threadlog.cli import app
from threadlog.langgraph import Saver
from threadlog.messages import TextContent, UserMessage
from threadlog.models import GRAPH, MESSAGES, METADATA, PARTS, STORE, server_metadata
from threadlog.persistence import MetadataStore


async def test_a_database_of_the_framework_is_adopted(innodb_database: str) -> None:
    await run(innodb_database, *statements_of(FRAMEWORK))
    before = await definitions(innodb_database)
    await upgrade(innodb_database, MESSAGES)
    after = await definitions(innodb_database)
    assert "KEY `ix_cubepi_threads_recent` (`updated_at`,`thread_id`)" in after["cubepi_threads"]
    assert "`run_id` varchar(64)" in after["cubepi_threads"]
    assert before | {"cubepi_threads": ""} == after | {"cubepi_threads": ""}
    assert await version_rows(innodb_database) == [5]
    async with Checkpointer(innodb_database) as checkpointer:
        message = UserMessage(content=[TextContent(text="hi")], run_id="R")
        await checkpointer.append("t", [message])
        loaded = await checkpointer.load("t")
    assert loaded is not None
    assert loaded.messages == [message]


async def test_an_sqlite_file_of_first_use_is_adopted(tmp_path: Path) -> None:
    """A file that the facade made loses nothing, and opens afterwards."""
    url = f"sqlite:///{tmp_path}/threads.db"
    message = UserMessage(content=[TextContent(text="hi")])
    async with Checkpointer(url) as checkpointer:
        await checkpointer.append("t", [message])
    before = await definitions(url)
    await upgrade(url, MESSAGES)
    assert await definitions(url) == before
    async with Checkpointer(url) as checkpointer:
        loaded = await checkpointer.load("t")
    assert loaded is not None
    assert loaded.messages == [message]


async def test_graph_tables_of_a_host_are_adopted(empty_url: str) -> None:
    """An application can hand over its tables, which keep their rows and get their indexes."""
    await on_connection(empty_url, GRAPH.metadata.create_all)
    await run(
        empty_url,
        *ROWS["graph"],
    )
    await lose(empty_url, GRAPH, "ix_threadlog_checkpoints_run")
    assert await upgrade(empty_url, GRAPH) == "completed"
    assert await differences(empty_url, GRAPH) == []
    assert await count_rows(empty_url, "threadlog_checkpoint_blobs") == 1


async def count_rows(url: str, table: str) -> int:
    """Return how many rows a table has."""
    query = f"SELECT COUNT(*) FROM {table}"
    return await on_connection(url, lambda c: int(c.exec_driver_sql(query).scalar_one()))


@pytest.mark.parametrize("by", ["migrate", "setup", "directive"])
async def test_tables_of_a_server_that_were_created_with_the_graph_state_are_adopted(
    empty_url: str, by: str
) -> None:
    """Once they belonged to that part, whose version row was theirs too."""
    await upgrade(empty_url, GRAPH)
    wanted = await expected(empty_url, METADATA)
    await on_connection(empty_url, create_server_tables)
    await run(empty_url, *ROWS["graph"], *ROWS["metadata"])
    await lose(empty_url, METADATA, "idx_app_runs_inflight_updated")
    if by == "migrate":
        done = await migrating.upgrade(empty_url)
        assert (done["graph"], done["metadata"]) == ("unchanged", "completed")
        assert await migrating.upgrade(empty_url, part="metadata") == {"metadata": "unchanged"}
    elif by == "setup":
        async with MetadataStore(empty_url) as store:
            await store.setup()
    else:
        await migrate(empty_url, "create_threadlog_metadata_schema", 1)
    assert await definitions(empty_url, METADATA) == wanted
    for table in ("threadlog_checkpoint_blobs", "app_threads", "app_runs"):
        assert await count_rows(empty_url, table) == 1
    await opens(empty_url, METADATA)
    await opens(empty_url, GRAPH)


def create_server_tables(connection: Connection) -> None:
    """Create the tables without their version table, as an earlier threadlog did."""
    tables = [table for table in server_metadata.sorted_tables if table.name.startswith("app_")]
    server_metadata.create_all(connection, tables=tables)


async def test_an_application_with_a_table_of_that_name_has_the_other_parts(
    empty_url: str,
) -> None:
    await run(empty_url, "CREATE TABLE app_runs (id INT PRIMARY KEY)")
    async with Saver(empty_url) as saver:
        await saver.setup()
        assert await saver.aget_tuple({"configurable": {"thread_id": "t"}}) is None
    result = await asyncio.to_thread(CliRunner().invoke, app, ["migrate", empty_url])
    assert result.exit_code == 1
    assert "app_runs" in result.stderr
    assert "--part" in result.stderr
    every = {table for part in PARTS for table in part.tables} - METADATA.tables
    assert await tables(empty_url) >= every
    await opens(empty_url, STORE)
