"""Migrations that broke off, and are run again."""

from pathlib import Path
from typing import Final

import pytest
from alembic.operations import Operations

from tests.schema.migrations.running import fail, prepare, upgrade
from tests.support.schemas import (
    definitions,
    differences,
    expected,
    opens,
    run,
    statements_of,
    tables,
    version_rows,
)
from threadlog import migrating
from threadlog.errors import CubepiSchemaMismatch, CubepiSchemaUninitialized
from threadlog.models import (
    ALL_PARTS,
    CONTROL,
    GRAPH,
    MESSAGES,
    METADATA,
    PARTS,
    STORE,
    PartName,
    SchemaPart,
)
from threadlog.schema import migrate

_STATEMENTS: Final[dict[PartName, int]] = {
    "messages": 13,
    "graph": 12,
    "store": 8,
    "control": 11,
    "metadata": 11,
    "search": 9,
}


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("part", "done"),
    [(part, done) for part in ALL_PARTS for done in range(1, _STATEMENTS[part.name])],
    ids=lambda of: getattr(of, "name", of),
)
async def test_a_run_that_broke_off_is_completed(
    innodb_database: str, part: SchemaPart, done: int
) -> None:
    """After any statement the upgrade can simply be run again."""
    wanted = await expected(innodb_database, part)
    script = statements_of(migrating.upgrade_sql(innodb_database, part=part.name))
    assert len(script) == _STATEMENTS[part.name]
    await prepare(innodb_database, part)
    await run(innodb_database, *script[:done])
    await upgrade(innodb_database, part)
    assert await definitions(innodb_database, part) == wanted
    assert await version_rows(innodb_database, part) == [part.version]


async def test_a_failure_while_running_is_completed(
    innodb_database: str, part: SchemaPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(innodb_database, part)
    monkeypatch.setattr(Operations, "create_index", fail, raising=False)
    with pytest.raises(RuntimeError, match="broke off"):
        await upgrade(innodb_database, part)
    monkeypatch.undo()
    with pytest.raises(CubepiSchemaUninitialized, match="did not finish"):
        await opens(innodb_database, part)
    await upgrade(innodb_database, part)
    assert await differences(innodb_database, part) == []
    await opens(innodb_database, part)


async def test_the_first_part_is_done_where_the_second_breaks_off(
    innodb_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Operations.create_index
    monkeypatch.setattr(
        Operations,
        "create_index",
        lambda self, name, *rest: fail() if "checkpoints" in name else create(self, name, *rest),
        raising=False,
    )
    told: list[tuple[PartName, migrate.Outcome]] = []
    with pytest.raises(RuntimeError, match="broke off"):
        await migrating.upgrade(innodb_database, report=lambda *done: told.append(done))
    assert told == [("messages", "created")]
    await opens(innodb_database)
    monkeypatch.undo()
    done = await migrating.upgrade(innodb_database)
    others = {part.name: "created" for part in PARTS}
    assert done == others | {"messages": "unchanged", "graph": "completed"}
    await opens(innodb_database, GRAPH)


async def test_a_failure_on_sqlite_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: SchemaPart
) -> None:
    """SQLite's DDL is one transaction."""
    url = f"sqlite:///{tmp_path}/threads.db"
    await prepare(url, part)
    monkeypatch.setattr(Operations, "create_index", fail, raising=False)
    with pytest.raises(RuntimeError, match="broke off"):
        await upgrade(url, part)
    assert await tables(url, part) == set()


@pytest.mark.parametrize(
    ("part", "dropped"),
    [
        (MESSAGES, ["cubepi_schema_version", "cubepi_hitl_answers"]),
        (GRAPH, ["threadlog_graph_version", "threadlog_checkpoints"]),
        (METADATA, ["threadlog_metadata_version", "app_runs"]),
        (STORE, ["threadlog_store_version"]),
        (CONTROL, ["threadlog_control_version", "threadlog_owners"]),
    ],
)
async def test_a_downgrade_that_broke_off_is_completed(
    innodb_database: str, part: SchemaPart, dropped: list[str]
) -> None:
    """A schema of which some tables are dropped does not open, and can be dropped."""
    await upgrade(innodb_database, part)
    await run(innodb_database, *(f"DROP TABLE {table}" for table in dropped))
    with pytest.raises(CubepiSchemaMismatch):
        await opens(innodb_database, part)
    await migrating.downgrade(innodb_database, part=part.name)
    assert await tables(innodb_database, part) == {part.revision_table}
