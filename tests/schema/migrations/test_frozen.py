"""The frozen statements of the directives, executed and as text."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import make_url

from tests.schema.migrations.directives import (
    Call,
    assert_stored,
    script,
    store,
)
from tests.schema.migrations.running import prepare
from tests.support.schemas import (
    PARTITIONS,
    TABLES,
    differences,
    opens,
    run,
    statements_of,
    tables,
    version_rows,
)
from tests.unit.test_architecture import ROOT, imports
from threadlog import migrating
from threadlog.models import CONTROL, GRAPH, METADATA, SEARCH, STORE, PartName, SchemaPart

FROZEN: Final = Path(__file__).parent

HISTORY: Final[tuple[Call, ...]] = (
    ("create_threadlog_schema", 1),
    ("upgrade_threadlog_schema", 1, 2),
    ("upgrade_threadlog_schema", 2, 3),
    ("upgrade_threadlog_schema", 3, 4),
    ("upgrade_threadlog_schema", 4, 5),
    ("downgrade_threadlog_schema", 5, 4),
    ("downgrade_threadlog_schema", 4, 3),
    ("downgrade_threadlog_schema", 3, 1),
    ("drop_threadlog_schema", 1),
    ("create_threadlog_schema", 5),
    ("drop_threadlog_schema", 5),
)
GRAPH_HISTORY: Final[tuple[Call, ...]] = (
    ("create_threadlog_graph_schema", 1),
    ("drop_threadlog_graph_schema", 1),
)
STORE_HISTORY: Final[tuple[Call, ...]] = (
    ("create_threadlog_store_schema", 1),
    ("drop_threadlog_store_schema", 1),
)
CONTROL_HISTORY: Final[tuple[Call, ...]] = (
    ("create_threadlog_control_schema", 1),
    ("drop_threadlog_control_schema", 1),
)
METADATA_HISTORY: Final[tuple[Call, ...]] = (
    ("create_threadlog_metadata_schema", 1),
    ("drop_threadlog_metadata_schema", 1),
)
SEARCH_HISTORY: Final[tuple[Call, ...]] = (
    ("create_threadlog_search_schema", 1),
    ("drop_threadlog_search_schema", 1),
)
HISTORIES: Final = [
    ("frozen", HISTORY),
    ("frozen_graph", GRAPH_HISTORY),
    ("frozen_store", STORE_HISTORY),
    ("frozen_control", CONTROL_HISTORY),
    ("frozen_metadata", METADATA_HISTORY),
    ("frozen_search", SEARCH_HISTORY),
]


@pytest.mark.parametrize(
    ("dialect", "like"), [("mysql", "mysql"), ("mariadb", "mysql"), ("sqlite", "sqlite")]
)
@pytest.mark.parametrize(("name", "history"), HISTORIES)
def test_what_directives_do_is_frozen(
    dialect: str, like: str, name: str, history: Sequence[Call]
) -> None:
    frozen = (FROZEN / f"{name}_{like}.sql").read_text(encoding="utf-8")
    assert tidy(script(dialect, *history)) == tidy(frozen)


def tidy(sql: str) -> list[str]:
    """Split a script into statements with their white space made one."""
    return [
        re.sub(r"\s*([(),])\s*", r"\1", " ".join(statement.replace("`", "").split()))
        for statement in statements_of(sql)
    ]


@pytest.mark.parametrize("dialect", ["mysql", "mariadb"])
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
def test_the_revision_is_the_directive(dialect: str, part: PartName, call: Call) -> None:
    own = tidy(migrating.upgrade_sql(f"{dialect}://nowhere/none", part=part))
    ours = tidy(script(dialect, call))
    assert [statement for statement in own if "alembic_version" not in statement] == ours


@pytest.mark.parametrize(
    "name",
    [
        "history/definitions",
        "history/message_log",
        "history/graph_state",
        "history/memory_store",
        "history/control",
        "history/server_metadata",
        "history/schema_names",
        "history/hash_partitions",
        "history/search",
        "alembic/steps",
        "directives",
        "helpers",
    ],
)
def test_frozen_steps_never_read_the_models(name: str) -> None:
    """No model that changes can change them."""
    imported = list(imports(ROOT / "migrations" / f"{name}.py"))
    assert [module for module in imported if module.startswith("threadlog.models")] == []
    revision = imports(ROOT / "migrations" / "alembic" / "versions" / "v5_message_log.py")
    assert set(revision) == {"threadlog.migrations.alembic.steps"}
    modules = {
        "graph": "graph_state",
        "store": "memory_store",
        "control": "control",
        "metadata": "server_metadata",
        "search": "search",
    }
    for folder, module in modules.items():
        path = ROOT / "migrations" / "alembic" / f"{folder}_versions" / f"v1_{module}.py"
        assert set(imports(path)) == {
            "threadlog.migrations.alembic.steps",
            f"threadlog.migrations.history.{module}",
        }


@pytest.mark.parametrize(
    ("part", "history"),
    [
        (GRAPH, GRAPH_HISTORY),
        (STORE, STORE_HISTORY),
        (CONTROL, CONTROL_HISTORY),
        (METADATA, METADATA_HISTORY),
        (SEARCH, SEARCH_HISTORY),
    ],
)
async def test_the_script_of_another_part_runs_as_it_is(
    empty_url: str, part: SchemaPart, history: Sequence[Call]
) -> None:
    dialect = make_url(empty_url).get_backend_name()
    await prepare(empty_url, part)
    await run(empty_url, *statements_of(script(dialect, history[0])))
    assert await differences(empty_url, part) == []
    await opens(empty_url, part)
    await run(empty_url, *statements_of(script(dialect, history[1])))
    assert await tables(empty_url, part) == set()


async def test_the_script_of_an_upgrade_runs_as_it_is(empty_url: str) -> None:
    dialect = make_url(empty_url).get_backend_name()
    await run(empty_url, *statements_of(script(dialect, ("create_threadlog_schema", 1))))
    await store(empty_url, 1)
    await run(empty_url, *statements_of(script(dialect, ("upgrade_threadlog_schema", 1, 5))))
    assert await differences(empty_url) == []
    await assert_stored(empty_url, 1)
    calls = (("downgrade_threadlog_schema", 5, 1), ("drop_threadlog_schema", 1))
    await run(empty_url, *statements_of(script(dialect, calls[0])))
    assert await version_rows(empty_url) == [1]
    await run(empty_url, *statements_of(script(dialect, calls[1])))
    assert await tables(empty_url) == set()


@pytest.mark.parametrize("dialect", ["mysql", "mariadb"])
def test_the_newest_version_is_that_of_the_models(dialect: str) -> None:
    """The script includes every table of theirs, with partitions."""
    newest = script(dialect, ("create_threadlog_schema", 5))
    assert sorted(re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", newest)) == TABLES
    assert newest.count(PARTITIONS) == 2
    for part in (GRAPH, CONTROL):
        newest = script(dialect, (f"create_threadlog_{part.name}_schema", part.version))
        assert set(re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", newest)) == part.tables
