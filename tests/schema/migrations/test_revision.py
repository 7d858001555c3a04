"""threadlog's own revisions: what they make, and take away again."""

import re

import pytest
from alembic import command
from alembic.config import Config
from alembic.operations import Operations

from tests.schema.migrations.running import ROWS, upgrade
from tests.support.databases import on_connection
from tests.support.schemas import (
    definitions,
    differences,
    expected,
    opens,
    run,
    tables,
    version_rows,
)
from threadlog import Checkpointer, migrating
from threadlog.errors import CubepiSchemaError, CubepiSchemaUninitialized
from threadlog.messages import TextContent, UserMessage
from threadlog.migrations import write_schema_version_op
from threadlog.models import (
    CONTROL,
    GRAPH,
    MESSAGES,
    METADATA,
    PARTS,
    STORE,
    SchemaPart,
    cubepi_metadata,
)

# Of text: JSON is text too on MariaDB, with a check.
_BYTEWISE = re.compile(r"COLLATE utf8mb4_bin(?!.*CHECK \(json_valid)")


@pytest.mark.whole_matrix
async def test_the_revision_makes_what_the_models_say(empty_url: str, part: SchemaPart) -> None:
    wanted = await expected(empty_url, part)
    await upgrade(empty_url, part)
    assert await definitions(empty_url, part) == wanted
    assert await version_rows(empty_url, part) == [part.version]
    assert await tables(empty_url, part) == {*part.tables, part.revision_table}


async def test_all_parts_are_made_unless_one_is_named(empty_url: str) -> None:
    done = await migrating.upgrade(empty_url)
    assert list(done.items()) == [(part.name, "created") for part in PARTS]
    every = {*(table for part in PARTS for table in part.tables)}
    bookkeeping = {part.revision_table for part in PARTS}
    assert await tables(empty_url) == every | bookkeeping
    for part in PARTS:
        assert await version_rows(empty_url, part) == [part.version]
    await migrating.downgrade(empty_url)
    assert await tables(empty_url) == bookkeeping


async def test_a_migrated_database_opens(empty_url: str) -> None:
    """The checkpointers accept the schema that the revisions create."""
    await migrating.upgrade(empty_url)
    async with Checkpointer(empty_url) as checkpointer:
        await checkpointer.append("t", [UserMessage(content=[TextContent(text="hi")])])
        assert await checkpointer.load("t") is not None
    await opens(empty_url, GRAPH)
    await opens(empty_url, STORE)
    await opens(empty_url, CONTROL)
    await opens(empty_url, METADATA)


async def test_tables_have_partitions_and_collations(innodb_database: str) -> None:
    await upgrade(innodb_database, MESSAGES)
    found = await definitions(innodb_database)
    for table in ("cubepi_messages", "cubepi_runs"):
        assert "PARTITION BY KEY (thread_id)\nPARTITIONS 64" in found[table].replace("`", "")
    for table, count in {
        "cubepi_threads": 3,
        "cubepi_messages": 2,
        "cubepi_hitl_answers": 3,
    }.items():
        assert len(_BYTEWISE.findall(found[table])) == count
    threads = found["cubepi_threads"].upper().replace("()", "")
    assert "DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP" in threads
    assert all("ENGINE=InnoDB" in made for made in found.values())


async def test_graph_tables_have_collations_and_times(innodb_database: str) -> None:
    found: dict[str, str] = {}
    for part in (GRAPH, METADATA):
        await upgrade(innodb_database, part)
        found |= await definitions(innodb_database, part)
    counts = {
        "threadlog_checkpoints": (5, 1, 1),
        "threadlog_checkpoint_blobs": (3, 2, 0),
        "threadlog_checkpoint_writes": (5, 1, 0),
        "app_threads": (1, 1, 3),
        "app_runs": (4, 2, 2),
    }
    for table, (texts, digits, times) in counts.items():
        assert len(_BYTEWISE.findall(found[table])) == texts, table
        assert found[table].count("CHARACTER SET ascii COLLATE ascii_bin") == digits, table
        assert found[table].count(" datetime(6) ") == times, table
    assert "REFERENCES `app_threads` (`thread_id`) ON DELETE CASCADE" in found["app_runs"]
    assert all("ENGINE=InnoDB" in made for made in found.values())


async def test_runs_are_deleted_with_their_thread(empty_url: str) -> None:
    """The database does it, whoever deletes the thread."""
    await upgrade(empty_url, METADATA)
    enforced = ["PRAGMA foreign_keys = ON"] if empty_url.startswith("sqlite") else []
    await run(empty_url, *enforced, *ROWS["metadata"], "DELETE FROM app_threads")
    left = await on_connection(
        empty_url,
        lambda connection: connection.exec_driver_sql("SELECT COUNT(*) FROM app_runs").scalar(),
    )
    assert left == 0


@pytest.mark.whole_matrix
async def test_autogenerate_finds_nothing_afterwards(empty_url: str, part: SchemaPart) -> None:
    """An application whose metadata includes the models gets no needless migration."""
    await upgrade(empty_url, part)
    assert await differences(empty_url, part) == []


@pytest.mark.whole_matrix
async def test_up_down_and_up_again(empty_url: str, part: SchemaPart) -> None:
    """Downgrading drops everything, data and forks included, and leaves no trace."""
    await upgrade(empty_url, part)
    first = await definitions(empty_url, part)
    await run(empty_url, *ROWS[part.name])
    await migrating.downgrade(empty_url, part=part.name)
    assert await tables(empty_url, part) == {part.revision_table}
    await upgrade(empty_url, part)
    assert await definitions(empty_url, part) == first
    assert await version_rows(empty_url, part) == [part.version]


async def test_upgrading_twice_changes_nothing(empty_url: str, part: SchemaPart) -> None:
    """A deployment may migrate at every start."""
    assert await upgrade(empty_url, part) == "created"
    before = await definitions(empty_url, part)
    assert await upgrade(empty_url, part) == "unchanged"
    assert await definitions(empty_url, part) == before
    assert await version_rows(empty_url, part) == [part.version]


async def test_tables_dropped_by_hand_are_made_again(empty_url: str, part: SchemaPart) -> None:
    """A revision recorded for tables that are gone is not believed."""
    await upgrade(empty_url, part)
    await on_connection(empty_url, part.metadata.drop_all)
    assert await upgrade(empty_url, part) == "created"
    assert await version_rows(empty_url, part) == [part.version]


async def test_what_alembic_did_is_verified(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alembic's word alone is not passed on."""
    monkeypatch.setattr(Operations, "execute", lambda *_: None, raising=False)
    with pytest.raises(CubepiSchemaUninitialized):
        await migrating.upgrade(empty_url)
    monkeypatch.undo()
    monkeypatch.setattr(command, "upgrade", lambda config, _: _pretend(config))
    with pytest.raises(CubepiSchemaError, match="cubepi_runs"):
        await migrating.upgrade(empty_url)


def _pretend(config: Config) -> None:
    """Create all tables but one."""
    connection = config.attributes["connection"]
    cubepi_metadata.create_all(connection)
    cubepi_metadata.tables["cubepi_runs"].drop(connection)
    for statement in write_schema_version_op().split(";"):
        connection.exec_driver_sql(statement)
