"""An application's own migrations: the helpers, and the migrations that autogenerate writes."""

import ast
import asyncio
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Column, Connection, Integer, MetaData, Table, TypeDecorator, inspect
from typer.testing import CliRunner

import threadlog.migrations.plugin  # noqa: F401 - registers the directives
from tests.support.databases import create_schema, on_connection
from tests.support.matrix import parts_in_turn
from tests.support.schemas import (
    HOST_ENV,
    OWN_TABLE,
    PARTITIONS,
    TABLES,
    definitions,
    differences,
    expected,
    framework,
    needed_by,
    opens,
    run,
    statements_of,
    tables,
    version_rows,
)
from threadlog import migrating, migrations
from threadlog.cli import app
from threadlog.errors import CubepiSchemaMismatch
from threadlog.migrations import (
    exclude_threadlog_tables,
    messages_partition_clause,
    runs_partition_clause,
    write_schema_version_op,
)
from threadlog.models import (
    GRAPH,
    MESSAGES,
    METADATA,
    PARTS,
    SchemaPart,
    cubepi_metadata,
    graph_metadata,
    server_metadata,
)
from threadlog.schema.check import check_database


def test_helper_texts() -> None:
    assert messages_partition_clause() == PARTITIONS
    assert runs_partition_clause() == PARTITIONS
    delete, insert = write_schema_version_op().split(";")
    assert delete == "DELETE FROM cubepi_schema_version WHERE version >= 0"
    assert insert.strip() == "INSERT INTO cubepi_schema_version (version) VALUES (5)"
    assert "VALUES (6)" in write_schema_version_op(6)


def test_helpers_have_the_framework_s_names_and_are_split_as_its_are() -> None:
    """Only the import of an application's migration changes.

    The framework's source is read, not imported: that would need its MySQL driver.
    """
    spec = find_spec("cubeloop")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent / "checkpointer" / "mysql" / "alembic_helpers.py"
    functions = [
        node.name
        for node in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    ]
    # The last gives runs_partition_clause(), for symmetry with PostgreSQL.
    assert {*functions} - {"create_runs_partitions_op"} == {*HELPERS}
    counts = {name: len(split(getattr(migrations, name)())) for name in HELPERS}
    assert counts == HELPERS


HELPERS: Final = {
    "messages_partition_clause": 1,
    "runs_partition_clause": 1,
    "add_pending_request_column_op": 1,
    "add_run_id_column_op": 1,
    "add_messages_run_id_column_op": 2,
    "create_runs_table_op": 1,
    "upgrade_v3_to_v4_op": 3,
    "create_hitl_answers_table_op": 1,
    "upgrade_v4_to_v5_op": 3,
    "write_schema_version_op": 2,
}


def split(texts: str) -> list[str]:
    """Split a text as an application's migrations do."""
    return [statement for statement in texts.split(";") if statement.strip()]


async def test_the_helpers_upgrade_as_the_directive_does(innodb_database: str) -> None:
    await run(innodb_database, *statements_of(framework(1)))
    await run(
        innodb_database,
        *split(migrations.add_pending_request_column_op()),
        *split(migrations.add_run_id_column_op()),
        *split(migrations.upgrade_v3_to_v4_op()),
        *split(migrations.upgrade_v4_to_v5_op()),
        *split(write_schema_version_op()),
    )
    by_texts = await definitions(innodb_database)
    assert await version_rows(innodb_database) == [5]
    assert [found for found in await check_database(innodb_database) if found.status != "ok"] == []
    assert await differences(innodb_database) == []
    await run(innodb_database, *(f"DROP TABLE {table}" for table in by_texts))
    await run(innodb_database, *statements_of(framework(1)))

    def upgrade(connection: Connection) -> None:
        operations: Any = Operations(MigrationContext.configure(connection))
        operations.upgrade_threadlog_schema(from_version=1, to_version=5)

    await on_connection(innodb_database, upgrade)
    assert await definitions(innodb_database) == by_texts


async def test_a_host_may_leave_our_tables_out(empty_url: str) -> None:
    await migrating.upgrade(empty_url)
    await run(empty_url, "CREATE TABLE orders (id INT PRIMARY KEY)")
    await run(empty_url, "CREATE TABLE legacy_orders (id INT PRIMARY KEY)")

    def both(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:
        return exclude_threadlog_tables(name, type_, parent_names) and name != "legacy_orders"

    async def dropped(include_name: object) -> set[str]:
        def work(connection: Connection) -> set[str]:
            options = {"include_name": include_name} if include_name else {}
            context = MigrationContext.configure(connection, opts=options)
            found = compare_metadata(context, MetaData())
            return {difference[1].name for difference in found if difference[0] == "remove_table"}

        return await on_connection(empty_url, work)

    ours = {name for part in PARTS for name in (*part.tables, part.revision_table)}
    assert {*TABLES, OWN_TABLE} < ours
    assert await dropped(None) == {*ours, "orders", "legacy_orders"}
    assert await dropped(exclude_threadlog_tables) == {"orders", "legacy_orders"}
    assert await dropped(both) == {"orders"}
    assert exclude_threadlog_tables(None, "schema", {})
    assert exclude_threadlog_tables("cubepi_threads", "column", {"table_name": "orders"})


@pytest.mark.parametrize("held", [[], [5], [1, 3]])
async def test_the_version_is_written_any_number_of_times(empty_url: str, held: list[int]) -> None:

    def work(connection: Connection) -> None:
        op = Operations(MigrationContext.configure(connection))
        op.create_table("cubepi_schema_version", Column("version", Integer, primary_key=True))
        for version in held:
            op.execute(f"INSERT INTO cubepi_schema_version VALUES ({version})")
        for statement in write_schema_version_op().split(";") * 2:
            if statement.strip():
                op.execute(statement)

    await on_connection(empty_url, work)
    assert await version_rows(empty_url) == [5]


async def test_the_manual_recipe_gives_the_same_partitions(innodb_database: str) -> None:
    wanted = await expected(innodb_database)
    plain = [re.sub(f" {re.escape(PARTITIONS)}", "", made) for made in _models_ddl()]
    await run(
        innodb_database,
        *plain,
        "ALTER TABLE cubepi_messages " + messages_partition_clause(),
        "ALTER TABLE cubepi_runs " + runs_partition_clause(),
        *write_schema_version_op().split(";"),
    )
    assert await definitions(innodb_database) == wanted
    await opens(innodb_database)


def _models_ddl() -> list[str]:
    """Return the statements that create the tables, without Alembic's."""
    script = statements_of(migrating.upgrade_sql("mysql://nowhere/none", part="messages"))
    return [made for made in script if made.startswith("CREATE") and OWN_TABLE not in made]


@pytest.mark.parametrize("part", parts_in_turn(PARTS))
async def test_an_autogenerated_migration_runs_as_it_is(
    empty_url: str, tmp_path: Path, part: SchemaPart
) -> None:
    """An application's one history can include one of threadlog's parts without the other."""
    wanted = await expected(empty_url, part)
    host = MetaData()
    Table("orders", host, Column("id", Integer, primary_key=True))
    config = host_project(tmp_path / "host")

    def generate_and_run(connection: Connection) -> None:
        metadata = [one.metadata for one in (*needed_by(part), part)]
        config.attributes["host"] = (connection, [host, *metadata])
        command.revision(config, "add threadlog", autogenerate=True)
        command.upgrade(config, "head")

    def generate_again(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        merged = MetaData()
        for metadata in (host, *(one.metadata for one in (*needed_by(part), part))):
            for table in metadata.tables.values():
                table.to_metadata(merged)
        return list(compare_metadata(context, merged))

    await on_connection(empty_url, generate_and_run)
    (made,) = (tmp_path / "host" / "versions").glob("*.py")
    assert "threadlog.models" not in made.read_text(encoding="utf-8")
    assert await definitions(empty_url, part) == wanted
    assert await tables(empty_url, part) == {*part.tables, "orders", "alembic_version"}
    assert await on_connection(empty_url, generate_again) == []
    await on_connection(empty_url, partial(_write_version, part))
    await opens(empty_url, part)


def _write_version(part: SchemaPart, connection: Connection) -> None:
    """Add a person's edits to a migration that autogenerate wrote."""
    op: Any = Operations(MigrationContext.configure(connection))
    kind = "" if part is MESSAGES else f"{part.name}_"
    getattr(op, f"write_threadlog_{kind}version")(version=part.version)


async def test_an_autogenerated_migration_mends_a_column(empty_url: str, tmp_path: Path) -> None:
    await on_connection(empty_url, server_metadata.create_all)
    await run(empty_url, "ALTER TABLE app_threads DROP COLUMN state_updated_at")
    config = host_project(tmp_path / "host")

    def generate_and_run(connection: Connection) -> None:
        config.attributes["host"] = (connection, server_metadata)
        command.revision(config, "mend", autogenerate=True)
        command.upgrade(config, "head")

    await on_connection(empty_url, generate_and_run)
    (made,) = (tmp_path / "host" / "versions").glob("*.py")
    assert "threadlog.models" not in made.read_text(encoding="utf-8")
    await run(empty_url, "DROP TABLE alembic_version")
    assert await differences(empty_url, METADATA) == []
    column = server_metadata.tables["app_threads"].columns["state_updated_at"]
    assert isinstance(column.type, TypeDecorator)  # the model's own is as it was


@pytest.mark.parametrize("part", parts_in_turn(PARTS))
async def test_an_autogenerated_migration_goes_down_and_up(
    empty_url: str, tmp_path: Path, part: SchemaPart
) -> None:
    config = host_project(tmp_path / "host")

    def up_and_down(connection: Connection) -> None:
        metadata = [one.metadata for one in (part, *needed_by(part))]
        config.attributes["host"] = (connection, metadata)
        command.revision(config, "add threadlog", autogenerate=True)
        for _ in range(2):
            command.upgrade(config, "head")
            command.downgrade(config, "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
        command.upgrade(config, "head")

    await on_connection(empty_url, up_and_down)
    assert {*part.tables, "alembic_version"} == await tables(empty_url, part)


async def test_a_host_s_tables_get_no_bookkeeping(empty_url: str) -> None:
    """The application's next autogenerate sees no table that it would drop."""
    await run(empty_url, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    await on_connection(empty_url, create_schema)
    before = await tables(empty_url)
    done = await migrating.upgrade(empty_url)
    assert done == skipped_but(messages="external")
    result = await asyncio.to_thread(CliRunner().invoke, app, ["migrate", empty_url])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "managed by your own Alembic history. Change it" in " ".join(result.stdout.split())
    assert "Skipped the graph tables: " in result.stdout
    assert "Execute op.create_threadlog_graph_schema(version=1) in it" in result.stdout
    assert "--part graph" in result.stdout
    await migrating.downgrade(empty_url)
    assert await tables(empty_url) == before
    assert "alembic_version" in before


async def test_a_host_s_graph_tables_get_no_bookkeeping(empty_url: str) -> None:
    await run(empty_url, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    await on_connection(empty_url, graph_metadata.create_all)
    await on_connection(empty_url, partial(_write_version, GRAPH))
    before = await tables(empty_url)
    done = await migrating.upgrade(empty_url)
    assert done == skipped_but(graph="external")
    await migrating.downgrade(empty_url)
    assert await tables(empty_url) == before


def skipped_but(**outcomes: str) -> dict[str, str]:
    """Return the outcomes of all parts, of which the others are skipped."""
    return {part.name: "skipped" for part in PARTS} | outcomes


async def test_a_part_beside_a_host_s_is_made_for_who_names_it(empty_url: str) -> None:
    """An application can manage one part itself, and threadlog the other from then on."""
    await run(empty_url, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    await on_connection(empty_url, create_schema)
    assert await migrating.upgrade(empty_url, part="graph") == {"graph": "created"}
    done = await migrating.upgrade(empty_url)
    assert done == skipped_but(messages="external", graph="unchanged")
    await migrating.downgrade(empty_url, part="graph")
    assert await migrating.upgrade(empty_url) == skipped_but(messages="external", graph="created")
    assert OWN_TABLE not in await tables(empty_url)


async def test_a_host_without_a_part_in_its_history_gets_none_unasked(empty_url: str) -> None:
    await run(empty_url, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    result = await asyncio.to_thread(CliRunner().invoke, app, ["migrate", empty_url])
    assert result.exit_code == 1
    assert result.stdout.count("Skipped the ") == len(PARTS)
    assert "Execute op.create_threadlog_schema(version=5) in it" in result.stdout
    assert "Nothing was created" in result.stderr
    assert await tables(empty_url) == {"alembic_version"}
    for part in PARTS:
        done = await migrating.upgrade(empty_url, part=part.name)
        assert done == {part.name: "created"}
    assert await migrating.upgrade(empty_url) == {part.name: "unchanged" for part in PARTS}


@pytest.mark.parametrize("version", [4, 6])
async def test_a_host_s_tables_of_another_version_are_refused(empty_url: str, version: int) -> None:
    """An application's history is no exception, and no revision table remains."""
    await run(empty_url, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    await on_connection(empty_url, cubepi_metadata.create_all)
    await run(empty_url, *write_schema_version_op(version).split(";"))
    with pytest.raises(CubepiSchemaMismatch):
        await migrating.upgrade(empty_url)
    assert OWN_TABLE not in await tables(empty_url)


async def test_downgrading_a_database_that_was_never_upgraded_does_nothing(empty_url: str) -> None:
    """Not even bookkeeping is left behind."""
    await migrating.downgrade(empty_url)
    assert await tables(empty_url) == set()


def host_project(folder: Path) -> Config:
    """Create an application's Alembic project."""
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(HOST_ENV, encoding="utf-8")
    template = Path(str(files("alembic") / "templates" / "generic" / "script.py.mako"))
    (folder / "script.py.mako").write_text(template.read_text(encoding="utf-8"), encoding="utf-8")
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


@pytest.mark.processes
def test_importing_the_helpers_imports_no_alembic() -> None:
    """An application's code can import the helpers without Alembic."""
    code = "import sys, threadlog.migrations, threadlog.schema.migrate; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "threadlog.migrations.helpers" in loaded
    assert not [name for name in loaded if name.split(".")[0] == "alembic"]
