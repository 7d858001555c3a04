"""The SQL that is written without a connection."""

from pathlib import Path

from tests.schema.migrations.running import upgrade
from tests.support.databases import on_connection
from tests.support.schemas import (
    PARTITIONS,
    definitions,
    expected,
    opens,
    run,
    statements_of,
)
from threadlog import migrating
from threadlog.models import GRAPH, MESSAGES, PARTS


async def test_the_script_makes_the_same_tables(innodb_database: str) -> None:
    """A DBA who runs the SQL by hand gets what the upgrade makes."""
    wanted = await expected(innodb_database)
    nowhere = f"{innodb_database.partition(':')[0]}://user:p%25w@nowhere.invalid/none"
    script = migrating.upgrade_sql(nowhere, part="messages")
    assert script.count(PARTITIONS) == 2
    assert script.count("COLLATE utf8mb4_bin") == 10
    assert "INSERT INTO cubepi_schema_version (version) VALUES (5)" in script
    await run(innodb_database, *statements_of(script))
    assert await definitions(innodb_database) == wanted
    assert await upgrade(innodb_database, MESSAGES) == "unchanged"
    await opens(innodb_database)


async def test_the_script_of_the_graph_state_makes_the_same_tables(innodb_database: str) -> None:
    wanted = await expected(innodb_database, GRAPH)
    nowhere = f"{innodb_database.partition(':')[0]}://user:p%25w@nowhere.invalid/none"
    script = migrating.upgrade_sql(nowhere, part="graph")
    assert "INSERT INTO threadlog_graph_version (version) VALUES (1)" in script
    assert "cubepi" not in script
    await run(innodb_database, *statements_of(script))
    assert await definitions(innodb_database, GRAPH) == wanted
    assert await upgrade(innodb_database, GRAPH) == "unchanged"
    await opens(innodb_database, GRAPH)


async def test_the_script_for_sqlite_makes_the_same_tables(tmp_path: Path) -> None:
    """The text follows the URL's dialect."""
    url = f"sqlite:///{tmp_path}/script.db"
    script = migrating.upgrade_sql(url)
    assert "PARTITION" not in script
    await run(url, *statements_of(script))
    made = {part.name: await definitions(url, part) for part in PARTS}
    for part in reversed(PARTS):
        await on_connection(url, part.metadata.drop_all)
    for part in PARTS:
        assert made[part.name] == await expected(url, part)


def test_the_script_holds_both_parts_unless_one_is_named() -> None:
    """The parts are in order, messages first."""
    url = "mysql://nowhere/none"
    each = [migrating.upgrade_sql(url, part=part.name) for part in PARTS]
    assert migrating.upgrade_sql(url) == "".join(each)


def test_writing_the_script_touches_no_file(tmp_path: Path) -> None:
    """No SQLite file is made for its script."""
    migrating.upgrade_sql(f"sqlite:///{tmp_path}/script.db")
    assert not list(tmp_path.iterdir())
