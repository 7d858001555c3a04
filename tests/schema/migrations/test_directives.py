"""The directives that create and drop tables, and write their version."""

from collections.abc import Sequence
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection

from tests.schema.migrations.directives import (
    Call,
    KilledError,
    assert_stored,
    faults,
    give,
    migrate,
    migrate_killed_after_each_statement,
    store,
)
from tests.schema.migrations.running import ROWS
from tests.support.databases import on_connection
from tests.support.schemas import (
    definitions,
    differences,
    expected,
    framework,
    opens,
    run,
    statements_of,
    tables,
    version_rows,
)
from threadlog.errors import CubepiSchemaError
from threadlog.models import GRAPH, MESSAGES, METADATA, SchemaPart


async def test_created_at_version_5_it_is_what_the_models_say(empty_url: str) -> None:
    wanted = await expected(empty_url)
    await migrate(empty_url, "create_threadlog_schema", 5)
    assert await definitions(empty_url) == wanted
    assert await version_rows(empty_url) == [5]
    assert await faults(empty_url) == []
    await opens(empty_url)  # with thread control, in a file of SQLite
    await migrate(empty_url, "drop_threadlog_control_schema", 1)
    await migrate(empty_url, "drop_threadlog_schema", 5)
    assert await tables(empty_url) == set()


@pytest.mark.parametrize(
    ("part", "statements"), [(GRAPH, 10), (METADATA, 9)], ids=["graph", "metadata"]
)
async def test_another_part_is_what_the_models_say(
    empty_url: str, part: SchemaPart, statements: int
) -> None:
    wanted = await expected(empty_url, part)
    create = (f"create_threadlog_{part.name}_schema", 1)
    killed = await migrate_killed_after_each_statement(empty_url, *create)
    assert len(killed) == statements
    assert await definitions(empty_url, part) == wanted
    assert await version_rows(empty_url, part) == [1]
    assert await differences(empty_url, part) == []
    assert await tables(empty_url) == part.tables
    await run(empty_url, *ROWS[part.name])
    await migrate(empty_url, *create)
    await opens(empty_url, part)
    drop = (f"drop_threadlog_{part.name}_schema", 1)
    killed = await migrate_killed_after_each_statement(empty_url, *drop)
    assert len(killed) == len(part.tables)
    assert await tables(empty_url) == set()


async def test_either_part_may_be_dropped_without_the_other(empty_url: str) -> None:
    """The directives of one part touch nothing of the other."""
    await migrate(empty_url, "create_threadlog_schema", 5)
    await migrate(empty_url, "create_threadlog_graph_schema", 1)
    await migrate(empty_url, "drop_threadlog_schema", 5)
    assert await tables(empty_url) == GRAPH.tables
    await migrate(empty_url, "create_threadlog_schema", 5)
    await migrate(empty_url, "drop_threadlog_graph_schema", 1)
    assert await tables(empty_url) == MESSAGES.tables
    await opens(empty_url)


async def test_what_another_tool_made_is_adopted(innodb_database: str) -> None:
    """An application can adopt the framework's tables into its own history."""
    await run(innodb_database, *statements_of(framework(5)))
    await store(innodb_database, 5)
    await migrate(innodb_database, "create_threadlog_schema", 5)
    await assert_stored(innodb_database, 5)
    made = (await definitions(innodb_database))["cubepi_threads"]
    assert "KEY `ix_cubepi_threads_recent`" in made


async def test_dropping_nothing_does_nothing(empty_url: str) -> None:
    """A downgrade that broke off at its very end can be run again."""
    await run(empty_url, "CREATE TABLE cubepi_of_somebody_else (id INT PRIMARY KEY)")
    await migrate(empty_url, "drop_threadlog_schema", 5)
    assert await tables(empty_url) == {"cubepi_of_somebody_else"}


@pytest.mark.parametrize("held", [[], [5], [1, 3]])
async def test_the_version_is_written(empty_url: str, held: Sequence[int]) -> None:
    await run(empty_url, "CREATE TABLE cubepi_schema_version (version INT PRIMARY KEY)")
    await run(empty_url, *(f"INSERT INTO cubepi_schema_version VALUES ({v})" for v in held))
    await migrate(empty_url, "write_threadlog_version", 4)
    assert await version_rows(empty_url) == [4]


@pytest.mark.parametrize("held", [[], [1], [2, 3]])
async def test_the_version_of_the_graph_state_is_written(
    empty_url: str, held: Sequence[int]
) -> None:
    await run(empty_url, "CREATE TABLE threadlog_graph_version (version INT PRIMARY KEY)")
    await run(empty_url, *(f"INSERT INTO threadlog_graph_version VALUES ({v})" for v in held))
    await migrate(empty_url, "write_threadlog_graph_version", 1)
    assert await version_rows(empty_url, GRAPH) == [1]


@pytest.mark.parametrize(
    ("call", "step"),
    [
        (("upgrade_threadlog_schema", 4, 5), "create_index"),
        (("downgrade_threadlog_schema", 5, 4), "drop_index"),
        (("drop_threadlog_schema", 5), "drop_table"),
        (("drop_threadlog_graph_schema", 1), "drop_table"),
    ],
)
async def test_what_is_half_done_does_not_open(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, call: Call, step: str
) -> None:
    """The version comes last on the way up, and goes first on the way down."""
    part = GRAPH if "graph" in call[0] else MESSAGES
    create = "create_threadlog_graph_schema" if part is GRAPH else "create_threadlog_schema"
    await migrate(empty_url, create, call[1])
    do = getattr(Operations, step)

    def die(operations: Operations, name: str, *arguments: Any, **options: Any) -> None:
        if name != part.version_table.name:
            raise KilledError
        do(operations, name, *arguments, **options)

    def work(connection: Connection) -> None:
        with pytest.raises(KilledError):
            give(Operations(MigrationContext.configure(connection)), *call)

    monkeypatch.setattr(Operations, step, die)
    await on_connection(empty_url, work)
    with pytest.raises(CubepiSchemaError):
        await opens(empty_url, part)
