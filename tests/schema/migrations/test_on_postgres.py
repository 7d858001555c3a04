"""Migrations of PostgreSQL: what they make there, adopt, complete and undo."""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

import pytest
from alembic.operations import Operations
from cubeloop.checkpointer.postgres import alembic_helpers
from cubeloop.checkpointer.postgres.models import cubeloop_metadata
from sqlalchemy import Connection, create_engine, func, make_url, select

from tests.schema.migrations.directives import (
    Call,
    assert_stored,
    faults,
    migrate,
    migrate_killed_after_each_statement,
    script,
    store,
)
from tests.schema.migrations.running import ROWS, fail, prepare, upgrade
from tests.schema.migrations.test_frozen import FROZEN, HISTORIES, tidy
from tests.support.databases import engine_for, on_connection
from tests.support.postgres_schemas import framework, partitions, split
from tests.support.schemas import (
    TABLES,
    definitions,
    differences,
    expected,
    opens,
    run,
    statements_of,
    tables,
    version_rows,
)
from threadlog import PostgresCheckpointer, migrating
from threadlog.databases.postgres import database as backend
from threadlog.errors import CheckpointerLockTimeoutError, CubepiSchemaMismatch
from threadlog.messages import TextContent, UserMessage
from threadlog.migrations import postgres
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
    cubepi_metadata,
)

NOWHERE: Final = "postgresql://user:p%25w@nowhere.invalid/none"
_STATEMENTS: Final[dict[PartName, int]] = {
    "messages": 17,
    "graph": 12,
    "store": 8,
    "control": 11,
    "metadata": 11,
    "search": 10,
}

# What is ours alone: two indexes, the collation of ids, and how a default is written.
_INDEXES: Final = "CREATE INDEX ix_cubepi_threads_"


@pytest.mark.parametrize(("name", "history"), HISTORIES)
def test_what_directives_do_is_frozen(name: str, history: Sequence[Call]) -> None:
    frozen = (FROZEN / f"{name}_postgres.sql").read_text(encoding="utf-8")
    assert tidy(script("postgresql", *history)) == tidy(frozen)


@pytest.mark.parametrize(
    ("part", "call"),
    [
        ("messages", ("create_threadlog_schema", 5)),
        ("graph", ("create_threadlog_graph_schema", 1)),
        ("store", ("create_threadlog_store_schema", 1)),
        ("control", ("create_threadlog_control_schema", 1)),
        ("metadata", ("create_threadlog_metadata_schema", 1)),
        ("search", ("create_threadlog_search_schema", 1)),
    ],
)
def test_the_revision_is_the_directive(part: PartName, call: Call) -> None:
    own = tidy(migrating.upgrade_sql(NOWHERE, part=part))
    ours = tidy(script("postgresql", call))
    assert [statement for statement in own if "alembic_version" not in statement] == ours


def test_the_newest_version_is_that_of_the_models() -> None:
    """The script includes every table of theirs, with partitions."""
    newest = script("postgresql", ("create_threadlog_schema", 5))
    assert sorted(re.findall(r"^CREATE TABLE IF NOT EXISTS (\w+)", newest, re.MULTILINE)) == TABLES
    assert newest.count("PARTITION BY HASH (thread_id)") == 2
    assert newest.count("0..63") == 2


async def test_tables_have_partitions_keys_and_collations(postgres_database: str) -> None:
    await migrating.upgrade(postgres_database)
    found = await definitions(postgres_database)
    key = "FOREIGN KEY (thread_id) REFERENCES cubepi_threads(thread_id) ON DELETE CASCADE"
    for table in ("cubepi_messages", "cubepi_runs"):
        assert "\nHASH (thread_id)\n" in found[table]
        for place in (0, 9, 63):
            bound = f"FOR VALUES WITH (modulus 64, remainder {place})"
            assert f"{table}_p{place:02d} {bound}" in found[table]
    for table, count in {
        "cubepi_threads": 3,
        "cubepi_messages": 2,
        "cubepi_runs": 2,
        "cubepi_hitl_answers": 3,
    }.items():
        assert len(re.findall(r"text C\b", found[table])) == count
        assert (key in found[table]) == (table != "cubepi_threads")
    assert "USING gin (metadata jsonb_path_ops)" in found["cubepi_messages"]
    assert "metadata jsonb NOT NULL '{}'::jsonb" in found["cubepi_messages"]
    assert "payload bytea NOT NULL" in found["cubepi_messages"]
    found = await definitions(postgres_database, METADATA)
    assert "thread_id uuid NOT NULL" in found["app_runs"]
    assert "created_at timestamp with time zone NOT NULL" in found["app_runs"]


async def test_the_script_makes_the_same_tables(postgres_database: str, part: SchemaPart) -> None:
    """A DBA who runs the SQL by hand gets what the upgrade makes."""
    wanted = await expected(postgres_database, part)
    text = migrating.upgrade_sql(NOWHERE, part=part.name)
    assert text.lstrip().startswith("BEGIN;")
    assert text.rstrip().endswith("COMMIT;")
    await prepare(postgres_database, part)
    await run(postgres_database, *statements_of(text))
    assert await definitions(postgres_database, part) == wanted
    assert await upgrade(postgres_database, part) == "unchanged"
    await opens(postgres_database, part)


def test_the_script_runs_as_one_text(postgres_database: str) -> None:
    url = make_url(postgres_database).set(drivername="postgresql+psycopg")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute(migrating.upgrade_sql(NOWHERE))
    engine.dispose()
    done = asyncio.run(migrating.upgrade(postgres_database))
    assert done == {part.name: "unchanged" for part in PARTS}


@pytest.mark.parametrize(
    ("part", "done"),
    [(part, done) for part in ALL_PARTS for done in range(1, _STATEMENTS[part.name], 2)],
    ids=lambda of: getattr(of, "name", of),
)
async def test_a_script_that_broke_off_is_completed(
    postgres_database: str, part: SchemaPart, done: int
) -> None:
    """After any statement, each committed by itself, the upgrade goes on."""
    wanted = await expected(postgres_database, part)
    text = statements_of(migrating.upgrade_sql(postgres_database, part=part.name))
    assert len(text) == _STATEMENTS[part.name]
    await prepare(postgres_database, part)
    await run(postgres_database, *text[:done])
    await upgrade(postgres_database, part)
    assert await definitions(postgres_database, part) == wanted
    assert await version_rows(postgres_database, part) == [part.version]


async def test_a_failure_leaves_nothing(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch, part: SchemaPart
) -> None:
    """A part's migration is one transaction."""
    await prepare(postgres_database, part)
    before = await tables(postgres_database), await on_connection(postgres_database, partitions)
    monkeypatch.setattr(Operations, "create_index", fail, raising=False)
    with pytest.raises(RuntimeError, match="broke off"):
        await upgrade(postgres_database, part)
    after = await tables(postgres_database), await on_connection(postgres_database, partitions)
    assert after == before


async def test_a_downgrade_that_fails_leaves_all(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await upgrade(postgres_database, MESSAGES)
    before = await definitions(postgres_database)
    drop = Operations.drop_table
    monkeypatch.setattr(
        Operations,
        "drop_table",
        lambda self, name, **rest: fail() if name == "cubepi_runs" else drop(self, name, **rest),
        raising=False,
    )
    with pytest.raises(RuntimeError, match="broke off"):
        await migrating.downgrade(postgres_database, part="messages")
    assert await definitions(postgres_database) == before
    await opens(postgres_database)


@pytest.mark.parametrize(
    ("lost", "statements"),
    [
        ("partitions", [f"DROP TABLE cubepi_messages_p{place:02d}" for place in (0, 9, 63)]),
        ("all partitions", [f"DROP TABLE cubepi_runs_p{place:02d}" for place in range(64)]),
        ("index", ["DROP INDEX ix_cubepi_messages_metadata_gin"]),
    ],
)
async def test_what_was_lost_of_the_layout_is_made_again(
    postgres_database: str, lost: str, statements: list[str]
) -> None:
    await upgrade(postgres_database, MESSAGES)
    before = await definitions(postgres_database)
    await run(postgres_database, *statements)
    assert await upgrade(postgres_database, MESSAGES) == "completed", lost
    assert await definitions(postgres_database) == before


async def test_other_partitions_are_taken_on(postgres_database: str) -> None:
    """A table whose partitions are whole in another number is left as it is."""
    await upgrade(postgres_database, MESSAGES)
    await run(
        postgres_database,
        *(f"DROP TABLE cubepi_runs_p{place:02d}" for place in range(64)),
        "CREATE TABLE runs_all PARTITION OF cubepi_runs FOR VALUES WITH (modulus 1, remainder 0)",
    )
    before = await definitions(postgres_database)
    assert await upgrade(postgres_database, MESSAGES) == "unchanged"
    assert await definitions(postgres_database) == before


@pytest.fixture
async def frameworks_database(postgres_database: str) -> str:
    """Return the URL of a database that the framework's own models and texts created."""

    def make(connection: Connection) -> None:
        cubeloop_metadata.create_all(connection)
        for text in (
            alembic_helpers.create_message_partitions_op(),
            alembic_helpers.create_runs_partitions_op(),
            alembic_helpers.write_schema_version_op(),
        ):
            for statement in split(text):
                connection.exec_driver_sql(statement)

    await on_connection(postgres_database, make)
    return postgres_database


def _without_our_ways(described: str) -> str:
    """Undo how the framework's tables and ours differ."""
    text = described.replace(" text default", " text C").replace("now()", "CURRENT_TIMESTAMP")
    text = re.sub(r" (NULL::text|NULL::jsonb)$", "", text, flags=re.MULTILINE)
    return re.sub(r" nextval\(.*\)$", "", text, flags=re.MULTILINE)


async def test_the_framework_s_tables_are_ours(frameworks_database: str) -> None:
    made = await definitions(frameworks_database)
    await on_connection(frameworks_database, cubeloop_metadata.drop_all)
    ours = await expected(frameworks_database)
    for table in TABLES:
        lines = [line for line in ours[table].splitlines() if not line.startswith(_INDEXES)]
        lines = _without_our_ways("\n".join(lines)).splitlines()
        assert sorted(_without_our_ways(made[table]).splitlines()) == sorted(lines)


async def test_a_database_of_the_framework_is_adopted(frameworks_database: str) -> None:
    before = await definitions(frameworks_database)
    async with PostgresCheckpointer(frameworks_database) as checkpointer:
        message = UserMessage(content=[TextContent(text="hi")], run_id="R")
        await checkpointer.append("t", [message])
    assert await upgrade(frameworks_database, MESSAGES) == "completed"
    after = await definitions(frameworks_database)
    assert after["cubepi_threads"].count(_INDEXES) == 3
    assert before | {"cubepi_threads": ""} == after | {"cubepi_threads": ""}
    assert await version_rows(frameworks_database) == [5]
    assert await faults(frameworks_database) == []
    assert await differences(frameworks_database) == []
    async with PostgresCheckpointer(frameworks_database) as checkpointer:
        loaded = await checkpointer.load("t")
    assert loaded is not None
    assert loaded.messages == [message]


async def test_control_has_the_collation_of_the_threads(frameworks_database: str) -> None:
    """Columns of different collations could not be compared."""
    await upgrade(frameworks_database, CONTROL)
    await run(
        frameworks_database,
        *ROWS["control"],
        "SELECT * FROM threadlog_leases JOIN cubepi_threads USING (thread_id)",
        "SELECT * FROM threadlog_leases JOIN cubepi_runs USING (thread_id, run_id)",
    )
    found = await definitions(frameworks_database, CONTROL)
    assert not [table for table in found if "text C" in found[table]]
    assert await faults(frameworks_database) == []
    assert await differences(frameworks_database, CONTROL) == []


@pytest.mark.parametrize("version", [1, 2, 3, 4])
async def test_the_framework_s_tables_are_upgraded(postgres_database: str, version: int) -> None:
    await run(postgres_database, *framework(version))
    await store(postgres_database, version)
    up = ("upgrade_threadlog_schema", version, 5)
    await migrate_killed_after_each_statement(postgres_database, *up)
    assert await version_rows(postgres_database) == [5]
    await assert_stored(postgres_database, version)
    assert await faults(postgres_database) == []
    assert await differences(postgres_database) == []
    found = await definitions(postgres_database)
    assert not [table for table in found if "text C" in found[table]]


async def test_the_texts_upgrade_as_the_framework_s_do(postgres_database: str) -> None:
    """Only the import of an application's migration changes."""
    await run(postgres_database, *framework(5))
    theirs = await definitions(postgres_database)
    await run(postgres_database, *(f"DROP TABLE {table} CASCADE" for table in theirs))
    await run(postgres_database, *framework(5, postgres))
    ours = await definitions(postgres_database)
    lines = ours["cubepi_threads"].splitlines()
    theirs_too = [line for line in lines if not line.startswith(_INDEXES)]
    assert len(lines) - len(theirs_too) == 3
    ours["cubepi_threads"] = "\n".join(theirs_too)
    assert ours == theirs
    names = [name for name in vars(alembic_helpers) if name.endswith("_op")]
    assert sorted(names) == sorted(postgres.__all__)
    for name in {*names} - {"upgrade_v4_to_v5_op"}:
        assert len(split(getattr(postgres, name)())) == len(split(getattr(alembic_helpers, name)()))


async def test_a_migration_waits_for_another_only_so_long(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch, part: SchemaPart
) -> None:
    await prepare(postgres_database, part)
    monkeypatch.setattr(backend, "_MIGRATION_SECONDS", 1)
    engine = engine_for(postgres_database)
    async with engine.connect() as other:
        await other.execute(select(func.pg_advisory_lock(backend._MIGRATION_LOCK)))
        with pytest.raises(CheckpointerLockTimeoutError, match="Another migration"):
            await migrating.upgrade(postgres_database, part=part.name)
        await other.execute(select(func.pg_advisory_unlock(backend._MIGRATION_LOCK)))
    await engine.dispose()
    assert await tables(postgres_database, part) == set()
    assert await migrating.upgrade(postgres_database, part=part.name) == {part.name: "created"}


async def test_the_lock_is_given_back(postgres_database: str) -> None:
    engine = engine_for(postgres_database, isolation_level="SERIALIZABLE")
    begin_migration = backend.PostgresBackend().begin_migration

    def work(connection: Connection) -> None:
        limit = connection.exec_driver_sql("SHOW lock_timeout").scalar_one()
        connection.rollback()
        with connection.begin():
            begin_migration(connection)
            assert _locks(connection) == 1
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == limit
            # A transaction with one snapshot would not see what an earlier migration committed.
            level = connection.exec_driver_sql("SHOW transaction_isolation").scalar_one()
            assert level == "read committed"
        with connection.begin():
            assert _locks(connection) == 0

    async with engine.connect() as connection:
        await connection.run_sync(work)
    await engine.dispose()


def _locks(connection: Connection) -> int:
    """Count the advisory locks that a connection holds."""
    query = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    return int(connection.exec_driver_sql(query).scalar_one())


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
async def test_what_is_half_dropped_is_dropped(
    postgres_database: str, part: SchemaPart, dropped: list[str]
) -> None:
    """The database does not open, and a downgrade drops the rest."""
    await upgrade(postgres_database, part)
    await run(postgres_database, *(f"DROP TABLE {table}" for table in dropped))
    with pytest.raises(CubepiSchemaMismatch):
        await opens(postgres_database, part)
    await migrating.downgrade(postgres_database, part=part.name)
    assert await tables(postgres_database, part) == {part.revision_table}
    await migrating.downgrade(postgres_database)
    assert await on_connection(postgres_database, partitions) == set()


async def test_autogenerate_knows_a_framework_s_history(postgres_database: str) -> None:
    """The directive of an older version is nothing new to the newest metadata."""
    await migrate(postgres_database, "create_threadlog_schema", 4)
    found = [difference[0] for difference in await differences(postgres_database)]
    assert sorted(found) == ["add_index", "add_table"]
    await migrate(postgres_database, "upgrade_threadlog_schema", 4, 5)
    assert await differences(postgres_database) == []
    await on_connection(postgres_database, cubepi_metadata.drop_all)
