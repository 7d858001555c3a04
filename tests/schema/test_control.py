"""Thread control: a part of the schema whose tables refer to the message log."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import Column, Connection, Integer, MetaData, Table, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from typer.testing import CliRunner

from tests.schema.migrations.directives import migrate
from tests.schema.migrations.running import ROWS, fail, upgrade
from tests.schema.test_host_migrations import host_project
from tests.support.databases import on_connection
from tests.support.schemas import definitions, differences, opens, run, tables, version_rows
from tests.support.ways import host_engine
from threadlog import Checkpointer, SyncCheckpointer, migrating
from threadlog.cli import app
from threadlog.errors import (
    CubepiSchemaError,
    CubepiSchemaMismatch,
    CubepiSchemaUninitialized,
    ThreadReferencedError,
)
from threadlog.models import (
    CONTROL,
    MESSAGES,
    PARTS,
    Thread,
    control_metadata,
    cubepi_metadata,
)
from threadlog.models.tables import OF_CONTROL
from threadlog.repositories.catalog.schema_version import SchemaVersionRepository

MESSAGES_FIRST = "Create the message log first: threadlog migrate URL --part messages"
CONTROL_FIRST = "Drop thread control first: op.drop_threadlog_control_schema"


async def rows(url: str) -> int:
    """Count the rows of thread control."""

    def work(connection: Connection) -> int:
        counts = [select(func.count()).select_from(table) for table in OF_CONTROL]
        return sum(connection.scalars(count).one() for count in counts)

    return await on_connection(url, work)


# --- The order of the parts ---------------------------------------------------------


async def test_control_without_messages_is_refused(empty_url: str) -> None:
    with pytest.raises(CubepiSchemaUninitialized, match=MESSAGES_FIRST):
        await migrating.upgrade(empty_url, part="control")
    with pytest.raises(CubepiSchemaUninitialized, match=MESSAGES_FIRST):
        await migrate(empty_url, "create_threadlog_control_schema", 1)
    result = await asyncio.to_thread(
        CliRunner().invoke, app, ["migrate", empty_url, "--part", "control"]
    )
    assert (result.exit_code, result.stdout) == (1, "")
    assert MESSAGES_FIRST in " ".join(result.stderr.split())
    assert await tables(empty_url) == set()


async def test_messages_are_not_dropped_before_control(empty_url: str) -> None:
    await migrating.upgrade(empty_url)
    await run(empty_url, *ROWS["control"])
    before = await tables(empty_url)
    with pytest.raises(CubepiSchemaError, match=CONTROL_FIRST):
        await migrating.downgrade(empty_url, part="messages")
    with pytest.raises(CubepiSchemaError, match=CONTROL_FIRST):
        await migrate(empty_url, "drop_threadlog_schema", 5)
    assert await tables(empty_url) == before
    assert await rows(empty_url) == 4
    await opens(empty_url)
    await migrating.downgrade(empty_url)
    assert await tables(empty_url) == {part.revision_table for part in PARTS}


# --- Opening an SQLite file ---------------------------------------------------------


async def test_new_file_gets_both_parts(sqlite_url: str) -> None:
    async with Checkpointer(sqlite_url):
        pass
    assert await tables(sqlite_url) == MESSAGES.tables | CONTROL.tables
    assert await version_rows(sqlite_url, CONTROL) == [CONTROL.version]
    assert await differences(sqlite_url, CONTROL) == []


async def test_new_file_gets_both_parts_or_none(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = SchemaVersionRepository.write

    def fail_for_control(self: SchemaVersionRepository) -> None:
        write(self)
        if self._part is CONTROL:
            fail()

    monkeypatch.setattr(SchemaVersionRepository, "write", fail_for_control)
    with pytest.raises(RuntimeError, match="broke off"):
        async with Checkpointer(sqlite_url):
            pass
    assert await tables(sqlite_url) == set()


def test_file_with_messages_gets_control_on_opening(sqlite_url: str) -> None:
    asyncio.run(upgrade(sqlite_url, MESSAGES))
    with SyncCheckpointer(sqlite_url):
        pass
    assert asyncio.run(tables(sqlite_url, CONTROL)) == CONTROL.tables
    assert asyncio.run(upgrade(sqlite_url, CONTROL)) == "unchanged"


async def test_file_of_another_version_gets_nothing(sqlite_url: str) -> None:
    await migrate(sqlite_url, "create_threadlog_schema", 4)
    before = await tables(sqlite_url)
    with pytest.raises(CubepiSchemaMismatch):
        await opens(sqlite_url)
    assert await tables(sqlite_url) == before


async def test_file_of_an_application_s_history_gets_nothing(sqlite_url: str) -> None:
    """The application's next autogenerate would drop the tables."""
    await run(sqlite_url, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    await migrate(sqlite_url, "create_threadlog_schema", 5)
    async with Checkpointer(sqlite_url) as log:
        assert await log.list_threads() == []
    assert await tables(sqlite_url) == {*MESSAGES.tables, "alembic_version"}


# --- Deletion of a thread -----------------------------------------------------------


async def test_rows_are_deleted_with_their_thread(empty_url: str) -> None:
    await upgrade(empty_url, CONTROL)
    await run(empty_url, *ROWS["control"])
    assert await rows(empty_url) == 4
    async with Checkpointer(empty_url) as log:
        assert await log.delete_thread("a")
    assert await rows(empty_url) == 0


@pytest.mark.parametrize("parts", [[MESSAGES], [MESSAGES, CONTROL]], ids=["messages", "both"])
async def test_application_that_enforces_no_foreign_keys_leaves_no_rows(
    sqlite_url: str, parts: list[Any]
) -> None:
    """With the method and with its own session, whether thread control exists or not."""
    for part in parts:
        await on_connection(sqlite_url, part.metadata.create_all)
    statements = ROWS["control"] if CONTROL in parts else ROWS["control"][:1]
    engine = host_engine(sqlite_url)
    async with Checkpointer(engine=engine) as log:
        await run(sqlite_url, *statements)
        assert await log.delete_thread("a")
        await run(sqlite_url, *statements)
        async with AsyncSession(engine) as session:
            assert await session.scalar(select(func.count()).select_from(Thread)) == 1
            await session.delete(await session.get_one(Thread, "a"))
            await session.commit()
        assert await log.list_threads() == []
    await engine.dispose()
    assert CONTROL not in parts or await rows(sqlite_url) == 0


async def test_another_key_that_blocks_a_deletion_is_named_alone(sqlite_url: str) -> None:
    async with Checkpointer(sqlite_url) as log:
        await run(
            sqlite_url,
            *ROWS["control"],
            "CREATE TABLE notes (thread_id VARCHAR(255) REFERENCES cubepi_threads (thread_id))",
            "INSERT INTO notes VALUES ('a')",
        )
        with pytest.raises(ThreadReferencedError) as caught:
            await log.delete_thread("a")
    assert caught.value.table == "notes"
    assert await rows(sqlite_url) == 4


# --- An application's own history ---------------------------------------------------


@pytest.mark.parametrize("swapped", [False, True])
async def test_autogenerated_migration_has_the_directives_in_order(
    empty_url: str, tmp_path: Path, *, swapped: bool
) -> None:
    host = MetaData()
    Table("orders", host, Column("id", Integer, primary_key=True))
    metadata = [host, cubepi_metadata, control_metadata]
    config = host_project(tmp_path / "host")

    def work(connection: Connection) -> None:
        config.attributes["host"] = (connection, metadata[::-1] if swapped else metadata)
        command.revision(config, "add threadlog", autogenerate=True)
        command.upgrade(config, "head")
        command.check(config)
        command.downgrade(config, "base")
        command.upgrade(config, "head")
        command.check(config)

    await on_connection(empty_url, work)
    (made,) = (tmp_path / "host" / "versions").glob("*.py")
    calls = [line.strip() for line in made.read_text("utf-8").splitlines() if "_schema(" in line]
    assert calls == [
        "op.create_threadlog_schema(version=5)",
        "op.create_threadlog_control_schema(version=1)",
        "op.drop_threadlog_control_schema(version=1)",
        "op.drop_threadlog_schema(version=5)",
    ]
    for part in (MESSAGES, CONTROL):
        assert await version_rows(empty_url, part) == [part.version]


async def test_tables_of_messages_without_a_directive_come_before_control(empty_url: str) -> None:
    """As for an application that has changed a table's options or columns."""
    messages = MetaData()
    for table in cubepi_metadata.tables.values():
        table.to_metadata(messages)
    messages.tables["cubepi_threads"].append_column(Column("tenant", Integer))
    given: Any = [control_metadata, messages]  # Alembic takes several

    def work(connection: Connection) -> str:
        script = produce_migrations(MigrationContext.configure(connection), given)
        assert script.upgrade_ops is not None
        return render_python_code(script.upgrade_ops)

    lines = (await on_connection(empty_url, work)).splitlines()
    created = [line.strip() for line in lines if "op.create_t" in line]
    assert created[-1] == "op.create_threadlog_control_schema(version=1)"
    assert sum("op.create_table(" in line for line in created) == len(MESSAGES.tables)


async def test_lost_table_is_created_again_with_its_foreign_key(
    empty_url: str, tmp_path: Path
) -> None:
    await upgrade(empty_url, CONTROL)
    before = await definitions(empty_url, CONTROL)
    await run(empty_url, *(f"DROP TABLE {part.revision_table}" for part in (MESSAGES, CONTROL)))
    await run(empty_url, "DROP TABLE threadlog_leases", "DROP TABLE threadlog_owners")
    config = host_project(tmp_path / "host")

    def work(connection: Connection) -> None:
        config.attributes["host"] = (connection, [cubepi_metadata, control_metadata])
        command.revision(config, "mend", autogenerate=True)
        command.upgrade(config, "head")
        command.check(config)

    await on_connection(empty_url, work)
    assert await definitions(empty_url, CONTROL) == before


async def test_tables_that_are_given_up_are_dropped_before_the_threads(empty_url: str) -> None:
    """Alembic sorts tables of the database by chance."""
    await upgrade(empty_url, CONTROL)

    def work(connection: Connection) -> list[str]:
        script = produce_migrations(MigrationContext.configure(connection), MetaData())
        assert script.upgrade_ops is not None
        lines = render_python_code(script.upgrade_ops).splitlines()
        return [line for line in lines if "op.drop_table(" in line]

    dropped = await on_connection(empty_url, work)
    assert dropped[-1].strip() == "op.drop_table('cubepi_threads')"
    assert len(dropped) == len(MESSAGES.tables | CONTROL.tables) + 2
