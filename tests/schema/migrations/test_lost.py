"""Losses after a migration: which are repaired, and which are refused."""

import pytest

from tests.schema.migrations.running import LOSSES, is_mysql, lose, upgrade
from tests.support.schemas import definitions, opens, run, statements_of, tables, version_rows
from threadlog import migrating
from threadlog.errors import CubepiSchemaError, CubepiSchemaMismatch
from threadlog.models import GRAPH, MESSAGES, METADATA, SchemaPart

# MySQL does not let go of an index that a foreign key needs.
_HELD = "idx_app_runs_thread_created"

# PostgreSQL lets go of a table only together with the foreign keys that lead to it.
_REFERRED = {"cubepi_threads", "app_threads"}


async def test_upgrade_after_each_loss_completes_the_schema(
    empty_url: str, part: SchemaPart
) -> None:
    """A recorded revision is believed only as far as the database bears it out."""
    held = {_HELD} if is_mysql(empty_url) else set()
    if empty_url.startswith("postgresql"):
        held = _REFERRED
    await upgrade(empty_url, part)
    before = await definitions(empty_url, part)
    losses = [lost for of, lost in LOSSES if of is part and lost not in held]
    assert losses
    for lost in losses:
        print(lost)
        await lose(empty_url, part, lost)
        assert await upgrade(empty_url, part) == "completed"
        assert await definitions(empty_url, part) == before
        assert await version_rows(empty_url, part) == [part.version]
        await opens(empty_url, part)


async def test_a_lost_version_table_is_not_made_again(empty_url: str, part: SchemaPart) -> None:
    await upgrade(empty_url, part)
    lost = part.version_table.name
    await run(empty_url, f"DROP TABLE {lost}")
    before = await tables(empty_url)
    with pytest.raises(CubepiSchemaMismatch, match=r"interrupted downgrade.*--sql"):
        await upgrade(empty_url, part)
    assert await tables(empty_url) == before
    script = statements_of(migrating.upgrade_sql(empty_url, part=part.name))
    await run(empty_url, *(made for made in script if lost in made))
    assert await upgrade(empty_url, part) == "unchanged"
    await opens(empty_url, part)


@pytest.mark.parametrize(
    ("part", "broken", "hint"),
    [
        (MESSAGES, "UPDATE cubepi_schema_version SET version = 6", "schema version 6"),
        (MESSAGES, "INSERT INTO cubepi_schema_version VALUES (4)", "schema version 4"),
        (
            MESSAGES,
            "ALTER TABLE cubepi_hitl_answers DROP COLUMN answer",
            "cubepi_hitl_answers lacks answer",
        ),
        (GRAPH, "UPDATE threadlog_graph_version SET version = 2", "schema version 2"),
        (METADATA, "ALTER TABLE app_runs DROP COLUMN error", "app_runs lacks error"),
    ],
)
async def test_a_recorded_revision_hides_no_mismatch(
    empty_url: str, part: SchemaPart, broken: str, hint: str
) -> None:
    """Success is claimed of no database that would not open."""
    await upgrade(empty_url, part)
    await run(empty_url, broken)
    for _ in range(2):
        with pytest.raises(CubepiSchemaMismatch, match=hint):
            await upgrade(empty_url, part)
    await migrating.downgrade(empty_url)
    assert await tables(empty_url) == {part.revision_table}


@pytest.mark.parametrize(
    ("part", "lost"),
    [(MESSAGES, "ix_cubepi_threads_recent"), (GRAPH, "ix_threadlog_checkpoints_run")],
)
async def test_a_newer_revision_is_never_forgotten(
    empty_url: str, part: SchemaPart, lost: str
) -> None:
    """An older release does not recreate anything that a newer release dropped."""
    await upgrade(empty_url, part)
    await run(empty_url, f"UPDATE {part.revision_table} SET version_num = '9999'")
    await lose(empty_url, part, lost)
    before = await definitions(empty_url, part)
    with pytest.raises(CubepiSchemaError, match=r"9999.*another release"):
        await upgrade(empty_url, part)
    assert await definitions(empty_url, part) == before
