"""The comparator: autogenerate notices partitions that are missing or changed."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any, Final

import pytest
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, MetaData, make_url, text

from tests.support.databases import create_schema, on_connection
from tests.support.schemas import PARTITIONS, definitions
from threadlog.migrations.plugin import NAME
from threadlog.models import cubepi_metadata

PLUGINS: Final = ("alembic.autogenerate.*", NAME)

OTHERS: Final = {
    "none": "REMOVE PARTITIONING",
    "fewer": "PARTITION BY KEY (thread_id) PARTITIONS 16",
    "linear": "PARTITION BY LINEAR KEY (thread_id) PARTITIONS 64",
    "of the whole key": "PARTITION BY KEY () PARTITIONS 64",
    "ranges": """PARTITION BY RANGE COLUMNS(thread_id) (
        PARTITION p0 VALUES LESS THAN ('a :b %s'), PARTITION p1 VALUES LESS THAN (MAXVALUE))""",
    "lists": """PARTITION BY LIST COLUMNS(thread_id)
        SUBPARTITION BY KEY (thread_id) SUBPARTITIONS 2
        (PARTITION p0 VALUES IN ('a'), PARTITION p1 VALUES IN ('b'))""",
}


def context_of(connection: Connection, plugins: Sequence[str] = PLUGINS) -> MigrationContext:
    """Configure Alembic as an application that opted in does."""
    return MigrationContext.configure(connection, opts={"autogenerate_plugins": plugins})


async def generated(
    url: str, plugins: Sequence[str] = PLUGINS, metadata: MetaData = cubepi_metadata
) -> tuple[str, str]:
    """Return the Python of upgrade and downgrade that autogenerate writes."""

    def work(connection: Connection) -> tuple[str, str]:
        script = produce_migrations(context_of(connection, plugins), metadata)
        up, down = script.upgrade_ops, script.downgrade_ops
        assert up is not None
        assert down is not None
        return render_python_code(up), render_python_code(down)

    return await on_connection(url, work)


async def run_python(url: str, code: str) -> None:
    """Run the body of a migration, with nothing imported but ``op``."""

    def work(connection: Connection) -> None:
        lines = [line.strip() for line in code.splitlines() if not line.strip().startswith("#")]
        exec("\n".join(lines), {"op": Operations(context_of(connection))})  # noqa: S102 - as Alembic does

    await on_connection(url, work)


@pytest.mark.parametrize(
    ("table", "clause"),
    [*zip(cycle(["cubepi_messages", "cubepi_runs"]), OTHERS.values())],
    ids=OTHERS,
)
async def test_other_partitions_are_noticed(innodb_url: str, table: str, clause: str) -> None:
    """The migration written for them mends them, and its downgrade undoes it."""
    before = await definitions(innodb_url)
    await alter(innodb_url, table, clause)
    other = await definitions(innodb_url)
    assert other != before
    found = await on_connection(
        innodb_url, lambda c: list(compare_metadata(context_of(c), cubepi_metadata))
    )
    assert found == [("partition_table", table, PARTITIONS)]
    up, down = await generated(innodb_url)
    assert f"op.execute('ALTER TABLE {table} {PARTITIONS}')" in up
    await run_python(innodb_url, up)
    assert await definitions(innodb_url) == before
    assert nothing(await generated(innodb_url))
    await run_python(innodb_url, down)
    assert await definitions(innodb_url) == other
    await run_python(innodb_url, up)
    assert await definitions(innodb_url) == before


async def alter(url: str, table: str, clause: str) -> None:
    """Change the partitions of an empty table."""
    statement = text(f"ALTER TABLE {table} {clause}".replace(":", r"\:"))
    await on_connection(url, lambda connection: connection.execute(statement) and None)


def nothing(code: tuple[str, str]) -> bool:
    """Return True if a migration does nothing."""
    return all("op." not in part for part in code)


async def test_the_right_partitions_are_no_difference(innodb_url: str) -> None:
    """An application gets no needless migration, however KEY was written."""
    assert nothing(await generated(innodb_url))
    await alter(innodb_url, "cubepi_runs", "partition by key(`thread_id`) partitions 64")
    assert nothing(await generated(innodb_url))


async def test_who_did_not_opt_in_sees_none(innodb_url: str) -> None:
    """Alembic's own comparisons are all there is until the plugin is named."""
    await alter(innodb_url, "cubepi_runs", "REMOVE PARTITIONING")
    assert nothing(await generated(innodb_url, ["alembic.autogenerate.*"]))
    assert not nothing(await generated(innodb_url))


async def test_sqlite_has_no_partitions(sqlite_url: str) -> None:
    """The plugin may be named on every database."""
    await on_connection(sqlite_url, create_schema)
    assert nothing(await generated(sqlite_url))


async def test_new_tables_get_theirs_once(innodb_database: str) -> None:
    """A table that autogenerate creates is not altered as well."""
    up, _ = await generated(innodb_database)
    assert "op.create_threadlog_schema(version=5)" in up
    wanted = MetaData()
    for table in cubepi_metadata.tables.values():
        table.to_metadata(wanted)
    name = make_url(innodb_database).get_backend_name()
    wanted.tables["cubepi_runs"].kwargs[f"{name}_partitions"] = "8"
    up, _ = await generated(innodb_database, metadata=wanted)
    assert up.count(f"{name}_partition_by='KEY (thread_id)'") == 2
    assert "op.execute" not in up


async def test_partitions_are_those_of_the_metadata(innodb_url: str) -> None:
    """An application may want another number of partitions, or manage them itself."""
    wanted = MetaData()
    for table in cubepi_metadata.tables.values():
        table.to_metadata(wanted)
    name = make_url(innodb_url).get_backend_name()
    wanted.tables["cubepi_runs"].kwargs[f"{name}_partitions"] = "8"
    up, down = await generated(innodb_url, metadata=wanted)
    assert "cubepi_runs PARTITION BY KEY (thread_id) PARTITIONS 8" in up
    assert f"cubepi_runs {PARTITIONS}" in down.replace("`", "")
    assert "cubepi_messages" not in up
    del wanted.tables["cubepi_runs"].kwargs[f"{name}_partition_by"]
    assert nothing(await generated(innodb_url, metadata=wanted))


async def test_tables_of_others_are_left_alone(innodb_url: str) -> None:
    """Partitions of the application's own tables are ignored."""
    host: Any = MetaData()
    cubepi_metadata.tables["cubepi_runs"].to_metadata(host, name="runs_of_mine")
    await on_connection(innodb_url, host.create_all)
    try:
        await alter(innodb_url, "runs_of_mine", "REMOVE PARTITIONING")
        up, _ = await generated(innodb_url, metadata=host)
        assert "runs_of_mine" not in up
    finally:
        await on_connection(innodb_url, host.drop_all)
