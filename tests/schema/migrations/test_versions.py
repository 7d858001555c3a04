"""The directives that go from version to version."""

from typing import Final

import pytest

from tests.schema.migrations.directives import (
    assert_stored,
    columns,
    faults,
    migrate,
    migrate_killed_after_each_statement,
    store,
)
from tests.support.schemas import (
    definitions,
    differences,
    framework,
    run,
    statements_of,
    tables,
    version_rows,
)

OLDER: Final = [1, 2, 3, 4]

# From version 1 on every statement is passed, so that the others need not run everywhere.
STARTS: Final = [
    1,
    *(pytest.param(version, marks=pytest.mark.one_database) for version in OLDER[1:]),
]


@pytest.mark.parametrize("version", STARTS)
async def test_killed_after_each_statement_it_goes_on(empty_url: str, version: int) -> None:
    await migrate_killed_after_each_statement(empty_url, "create_threadlog_schema", version)
    assert await version_rows(empty_url) == [version]
    first = await columns(empty_url)
    await store(empty_url, version)
    up = ("upgrade_threadlog_schema", version, 5)
    killed = await migrate_killed_after_each_statement(empty_url, *up)
    # The others index the foreign key by themselves.
    forks = empty_url.startswith(("postgresql", "sqlite"))
    assert len(killed) == {1: 11, 2: 10, 3: 9, 4: 5}[version] + forks
    assert await differences(empty_url) == []
    assert await faults(empty_url) == []
    await assert_stored(empty_url, version)
    down = ("downgrade_threadlog_schema", 5, version)
    killed = await migrate_killed_after_each_statement(empty_url, *down)
    assert len(killed) == {1: 10, 2: 9, 3: 8, 4: 5}[version] + forks
    assert await columns(empty_url) == first
    assert await version_rows(empty_url) == [version]
    await migrate_killed_after_each_statement(empty_url, "drop_threadlog_schema", version)
    assert await tables(empty_url) == set()


@pytest.mark.parametrize("version", STARTS)
async def test_the_framework_s_tables_are_upgraded(innodb_database: str, version: int) -> None:
    await run(innodb_database, *statements_of(framework(version)))
    await store(innodb_database, version)
    up = ("upgrade_threadlog_schema", version, 5)
    await migrate_killed_after_each_statement(innodb_database, *up)
    assert await version_rows(innodb_database) == [5]
    await assert_stored(innodb_database, version)
    # Columns that were there keep their collation.
    short = ["cubepi_threads.run_id"] if version >= 3 else []
    others = ["cubepi_messages.run_id", "cubepi_runs.run_id"] if version >= 4 else []
    found = await faults(innodb_database)
    assert sorted(found) == sorted(("warning", column) for column in [*short, *others])
    assert len(await differences(innodb_database)) == len(short)


async def test_upgraded_step_by_step_it_is_the_same(empty_url: str) -> None:
    """A history of many migrations ends where one of few does."""
    await migrate(empty_url, "create_threadlog_schema", 1)
    for version in OLDER:
        await migrate(empty_url, "upgrade_threadlog_schema", version, version + 1)
        assert await version_rows(empty_url) == [version + 1]
    by_steps = await definitions(empty_url)
    await migrate(empty_url, "drop_threadlog_schema", 5)
    await migrate(empty_url, "create_threadlog_schema", 1)
    await migrate(empty_url, "upgrade_threadlog_schema", 1, 5)
    assert await definitions(empty_url) == by_steps


async def test_an_upgrade_survives_autocommit(empty_url: str) -> None:
    await migrate(empty_url, "create_threadlog_schema", 3)
    await run(empty_url, "DELETE FROM cubepi_schema_version")
    await migrate(empty_url, "upgrade_threadlog_schema", 3, 5)
    assert await version_rows(empty_url) == [5]
    await run(empty_url, "DELETE FROM cubepi_schema_version")
    await migrate(empty_url, "downgrade_threadlog_schema", 5, 3)
    assert await version_rows(empty_url) == [3]


async def test_an_upgrade_that_is_done_may_be_run_again(empty_url: str) -> None:
    await migrate(empty_url, "create_threadlog_schema", 2)
    await migrate(empty_url, "upgrade_threadlog_schema", 2, 5)
    before = await definitions(empty_url)
    await migrate(empty_url, "upgrade_threadlog_schema", 2, 5)
    assert await definitions(empty_url) == before
    assert await version_rows(empty_url) == [5]
