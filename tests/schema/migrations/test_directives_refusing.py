"""Databases that the directives refuse and leave unchanged."""

from collections.abc import Sequence

import pytest

from tests.schema.migrations.directives import (
    Call,
    columns,
    migrate,
    script,
)
from tests.support.schemas import (
    run,
    tables,
)
from threadlog.errors import (
    ConfigurationError,
    CubepiSchemaMismatch,
)


@pytest.mark.parametrize(
    ("broken", "call", "error"),
    [
        ([], ("create_threadlog_schema", 5), r"version 3; 5 is needed.*op\.upgrade_threadlog"),
        ([], ("upgrade_threadlog_schema", 1, 2), "version 3; .*goes from version 1 to 2"),
        ([], ("upgrade_threadlog_schema", 4, 5), "version 3; .*goes from version 4 to 5"),
        ([], ("downgrade_threadlog_schema", 5, 4), "version 3; .*goes from version 5 to 4"),
        (
            ["UPDATE cubepi_schema_version SET version = 4"],
            ("upgrade_threadlog_schema", 4, 5),
            "cubepi_messages lacks run_id, so it is not of version 4",
        ),
        (
            ["DELETE FROM cubepi_schema_version"],
            ("upgrade_threadlog_schema", 4, 5),
            "cubepi_messages lacks run_id",
        ),
        (
            ["DROP TABLE cubepi_schema_version"],
            ("upgrade_threadlog_schema", 3, 5),
            "There is no cubepi_schema_version",
        ),
        (
            ["DROP TABLE cubepi_schema_version"],
            ("create_threadlog_schema", 3),
            "no version table",
        ),
        (
            ["DROP TABLE cubepi_messages"],
            ("downgrade_threadlog_schema", 5, 3),
            "There is no cubepi_messages",
        ),
    ],
)
async def test_another_version_is_refused(
    empty_url: str, broken: Sequence[str], call: Call, error: str
) -> None:
    """A database that does not fit the application's history is left unchanged."""
    await migrate(empty_url, "create_threadlog_schema", 3)
    await run(empty_url, *broken)
    before = await columns(empty_url)
    with pytest.raises(CubepiSchemaMismatch, match=f"{error}.*nothing was changed"):
        await migrate(empty_url, *call)
    assert await columns(empty_url) == before


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (["UPDATE threadlog_graph_version SET version = 2"], "version 2; 1 is needed"),
        (["DROP TABLE threadlog_graph_version"], "no version table"),
        (
            ["ALTER TABLE threadlog_checkpoint_blobs DROP COLUMN value"],
            "threadlog_checkpoint_blobs lacks value",
        ),
    ],
)
async def test_another_version_of_the_graph_state_is_refused(
    empty_url: str, broken: Sequence[str], error: str
) -> None:
    await migrate(empty_url, "create_threadlog_graph_schema", 1)
    await run(empty_url, *broken)
    before = await columns(empty_url)
    with pytest.raises(CubepiSchemaMismatch, match=f"{error}.*nothing was changed"):
        await migrate(empty_url, "create_threadlog_graph_schema", 1)
    assert await columns(empty_url) == before


async def test_upgrading_an_empty_database_is_refused(empty_url: str) -> None:
    """An upgrade creates nothing in place of tables that ought to be there."""
    with pytest.raises(CubepiSchemaMismatch, match="There is no cubepi_schema_version"):
        await migrate(empty_url, "upgrade_threadlog_schema", 4, 5)
    assert await tables(empty_url) == set()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("create_threadlog_schema", 6), "1 to 5, not 6"),
        (("create_threadlog_schema", 0), "1 to 5, not 0"),
        (("drop_threadlog_schema", 6), "1 to 5, not 6"),
        (("write_threadlog_version", 6), "1 to 5, not 6"),
        (("upgrade_threadlog_schema", 0, 5), "1 to 5, not 0"),
        (("upgrade_threadlog_schema", 5, 6), "1 to 5, not 6"),
        (("upgrade_threadlog_schema", 5, 4), "an earlier schema version to a later"),
        (("upgrade_threadlog_schema", 5, 5), "an earlier schema version to a later"),
        (("downgrade_threadlog_schema", 4, 5), "later one to an earlier"),
        (("downgrade_threadlog_schema", 1, 0), "1 to 5, not 0"),
        (("create_threadlog_graph_schema", 2), "schema version 1, not 2"),
        (("drop_threadlog_graph_schema", 0), "schema version 1, not 0"),
        (("write_threadlog_graph_version", 5), "schema version 1, not 5"),
    ],
)
def test_unknown_versions_are_refused(call: Call, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        script("mysql", call)
