"""An application's migrations on PostgreSQL, whose tables have more than their metadata."""

from collections.abc import Sequence
from typing import Any, Final

import pytest
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Column, Connection, ForeignKey, Index, Integer, MetaData, Table, Text

from tests.support.databases import on_connection
from tests.support.schemas import definitions, run
from threadlog import migrating
from threadlog.migrations import exclude_threadlog_tables
from threadlog.migrations.plugin import NAME
from threadlog.models import (
    PARTS,
    control_metadata,
    cubepi_metadata,
    graph_metadata,
    server_metadata,
    store_metadata,
)

PLUGINS: Final = ("alembic.autogenerate.*", NAME)


def context_of(connection: Connection, plugins: Sequence[str] = PLUGINS) -> MigrationContext:
    """Configure Alembic as an application does, without threadlog's revision table."""
    own = {part.revision_table for part in PARTS}
    options = {
        "autogenerate_plugins": plugins,
        "include_name": lambda name, kind, parents: name not in own,
        "compare_server_default": True,
    }
    return MigrationContext.configure(connection, opts=options)


async def generated(url: str, metadata: Any, plugins: Sequence[str] = PLUGINS) -> tuple[str, str]:
    """Return the Python of upgrade and downgrade that autogenerate writes."""

    def work(connection: Connection) -> tuple[str, str]:
        script = produce_migrations(context_of(connection, plugins), metadata)
        assert script.upgrade_ops is not None
        assert script.downgrade_ops is not None
        return render_python_code(script.upgrade_ops), render_python_code(script.downgrade_ops)

    return await on_connection(url, work)


async def run_python(url: str, code: str) -> None:
    """Run the body of a migration, with nothing imported but ``op``."""

    def work(connection: Connection) -> None:
        lines = [line.strip() for line in code.splitlines() if not line.strip().startswith("#")]
        exec("\n".join(lines), {"op": Operations(context_of(connection))})  # noqa: S102 - as Alembic does

    await on_connection(url, work)


def nothing(code: tuple[str, str]) -> bool:
    """Return True if a migration does nothing."""
    return all("op." not in part for part in code)


@pytest.mark.parametrize("plugins", [PLUGINS, PLUGINS[:1]], ids=["opted in", "not"])
async def test_a_migrated_database_is_no_difference(
    postgres_database: str, plugins: Sequence[str]
) -> None:
    """Partitions, foreign keys and the index of metadata are not dropped."""
    await migrating.upgrade(postgres_database)
    every = [part.metadata for part in PARTS]
    assert nothing(await generated(postgres_database, every, plugins))


@pytest.mark.parametrize("table", ["cubepi_messages", "cubepi_runs"])
async def test_missing_partitions_are_noticed(postgres_database: str, table: str) -> None:
    """The migration written for them mends them, and its downgrade runs."""
    await migrating.upgrade(postgres_database, part="messages")
    before = await definitions(postgres_database)
    await run(postgres_database, f"DROP TABLE {table}_p07", f"DROP TABLE {table}_p63")
    found = await on_connection(
        postgres_database, lambda c: list(compare_metadata(context_of(c), cubepi_metadata))
    )
    assert found == [("create_partitions", table)]
    up, down = await generated(postgres_database, cubepi_metadata)
    assert 'op.execute("DO $$' in up
    assert "op." not in down
    assert nothing(await generated(postgres_database, cubepi_metadata, PLUGINS[:1]))
    await run_python(postgres_database, up)
    assert await definitions(postgres_database) == before
    assert nothing(await generated(postgres_database, cubepi_metadata))


async def test_a_table_that_is_not_partitioned_is_reported(postgres_database: str) -> None:
    await migrating.upgrade(postgres_database, part="messages")
    await run(
        postgres_database,
        "CREATE TABLE other (LIKE cubepi_runs INCLUDING ALL)",
        "DROP TABLE cubepi_runs",
        "ALTER TABLE other RENAME TO cubepi_runs",
    )
    with pytest.warns(UserWarning, match=r"cubepi_runs is not partitioned by HASH \(thread_id\)"):
        await generated(postgres_database, cubepi_metadata)


async def test_what_is_the_host_s_is_its_own(postgres_database: str) -> None:
    """An application's foreign keys and indexes on threadlog's tables are still compared."""
    await migrating.upgrade(postgres_database, part="messages")
    host = MetaData()
    for table in cubepi_metadata.tables.values():
        table.to_metadata(host)
    Index("ix_of_the_host", host.tables["cubepi_messages"].c.role)
    Table(
        "orders",
        host,
        Column("id", Integer, primary_key=True),
        Column("thread_id", Text, ForeignKey("cubepi_threads.thread_id")),
    )
    await on_connection(postgres_database, host.tables["orders"].create)
    await run(
        postgres_database,
        "CREATE INDEX ix_that_goes ON cubepi_messages (created_at)",
        "ALTER TABLE cubepi_runs ADD CONSTRAINT that_goes FOREIGN KEY (thread_id) "
        "REFERENCES cubepi_threads (thread_id)",
    )
    up, _ = await generated(postgres_database, host)
    assert "op.create_index('ix_of_the_host', 'cubepi_messages'" in up
    assert "op.drop_index(op.f('ix_that_goes'), table_name='cubepi_messages')" in up
    assert "op.drop_constraint(op.f('that_goes'), 'cubepi_runs'" in up
    assert up.count("op.") - up.count("op.f(") == 3


async def test_tables_that_a_host_gives_up_are_dropped_with_their_partitions(
    postgres_database: str,
) -> None:
    await migrating.upgrade(postgres_database)
    kept = [graph_metadata, server_metadata, store_metadata]
    given_up = [cubepi_metadata, control_metadata]
    assert nothing(await generated(postgres_database, [*given_up, *kept]))
    up, _ = await generated(postgres_database, kept)
    assert up.count("op.drop_table") == sum(len(each.tables) for each in given_up)
    await run_python(postgres_database, up)
    up, _ = await generated(postgres_database, kept)
    assert "op." not in up


async def test_the_filter_leaves_partitions_out(postgres_database: str) -> None:
    await migrating.upgrade(postgres_database)
    seen: list[str | None] = []

    def include(name: str | None, type_: str, parent_names: Any) -> bool:
        included = exclude_threadlog_tables(name, type_, parent_names)
        if included and type_ == "table":
            seen.append(name)
        return included

    def work(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"include_name": include})
        return list(compare_metadata(context, MetaData()))

    assert await on_connection(postgres_database, work) == []
    assert seen == []
