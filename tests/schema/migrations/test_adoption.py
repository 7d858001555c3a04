"""Tables that others made, which are adopted."""

from pathlib import Path

from tests.schema.migrations.running import ROWS, lose, upgrade
from tests.support.databases import on_connection
from tests.support.schemas import (
    FRAMEWORK,
    definitions,
    differences,
    run,
    statements_of,
    version_rows,
)
from threadlog import Checkpointer
from threadlog.messages import TextContent, UserMessage
from threadlog.models import GRAPH, MESSAGES


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
    kept = await on_connection(
        empty_url,
        lambda connection: connection.exec_driver_sql("SELECT COUNT(*) FROM app_runs").scalar(),
    )
    assert kept == 1
