"""The directives: creating, upgrading, downgrading and dropping the tables by version."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, event, inspect, make_url, text

import threadlog.migrations.plugin  # noqa: F401 - registers the directives
from tests.databases import on_connection
from tests.schemas import (
    PARTITIONS,
    TABLES,
    definitions,
    differences,
    expected,
    framework,
    opens,
    run,
    statements_of,
    tables,
    version_rows,
)
from tests.test_architecture import ROOT, imports
from threadlog import MESSAGE_CODEC, Checkpointer, migrating
from threadlog.checking import check_database
from threadlog.errors import (
    ConfigurationError,
    CubepiSchemaError,
    CubepiSchemaMismatch,
    ThreadlogError,
)
from threadlog.hitl import HitlRequest
from threadlog.messages import TextContent, UserMessage

FROZEN: Final = Path(__file__).parent / "migrations"
OLDER: Final = [1, 2, 3, 4]

Call: TypeAlias = tuple[str, int] | tuple[str, int, int]
"""A directive and its arguments."""

MESSAGE: Final = UserMessage(content=[TextContent(text="Where is it? ; :id %s 'quoted' \\")])
QUESTION: Final = HitlRequest(question_id="q", payload={"kind": "confirm"}, created_at=1.0)


def give(operations: Operations, directive: str, *versions: int) -> None:
    """Run a directive by its name, as ``op.create_threadlog_schema(5)`` does."""
    getattr(operations, directive)(*versions)


async def migrate(url: str, directive: str, *versions: int) -> None:
    """Run a directive on a database."""
    await on_connection(
        url,
        lambda connection: give(
            Operations(MigrationContext.configure(connection)), directive, *versions
        ),
    )


def script(dialect: str, *calls: Call) -> str:
    """Write what directives do, as text."""
    output = StringIO()
    context = MigrationContext.configure(
        dialect_name=dialect, opts={"as_sql": True, "output_buffer": output}
    )
    for directive, *versions in calls:
        give(Operations(context), directive, *versions)
    return output.getvalue()


async def migrate_killed_after_each_statement(
    url: str, directive: str, *versions: int
) -> list[str]:
    """Run a directive until it succeeds, breaking off behind each statement once.

    Returns:
        The statements behind which it was broken off.
    """
    killed: list[str] = []

    def kill(c: Connection, cursor: object, statement: str, *rest: object) -> None:
        if re.match(r"\s*(CREATE|ALTER|DROP|DELETE|INSERT)", statement) and statement not in killed:
            killed.append(statement)
            raise KilledError

    def work(connection: Connection) -> None:
        operations = Operations(MigrationContext.configure(connection))
        event.listen(connection, "after_cursor_execute", kill)
        give(operations, directive, *versions)

    for _ in range(30):
        try:
            await on_connection(url, work)
        except KilledError:
            continue
        return killed
    pytest.fail(f"never ended: {killed}")


class KilledError(Exception):
    """Stands for the end of the process."""


# --- Data of each version ----------------------------------------------------------


async def store(url: str, version: int) -> None:
    """Write what a thread can hold at a schema version, as another writer would."""
    (row,) = MESSAGE_CODEC.encode([MESSAGE])
    await _insert(url, "cubepi_threads", thread_id="parent", extra="{}")
    thread: dict[str, Any] = {
        "thread_id": "t",
        "parent_thread_id": "parent",
        "extra": json.dumps({"customer": "u1"}),
    }
    message = {
        "thread_id": "t",
        "seq": 1,
        "role": row.role,
        "metadata": json.dumps(row.metadata),
        "payload": row.payload,
    }
    if version >= 2:
        thread["pending_request"] = QUESTION.model_dump_json()
    if version >= 3:
        thread["run_id"] = "run-1"
    if version >= 4:
        message["run_id"] = "run-1"
        await _insert(url, "cubepi_runs", thread_id="t", run_id="run-1")
    await _insert(url, "cubepi_threads", **thread)
    await _insert(url, "cubepi_messages", **message)


async def _insert(url: str, table: str, **row: Any) -> None:
    statement = text(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})"
    )
    await on_connection(url, lambda connection: connection.execute(statement, row) and None)


async def assert_stored(url: str, version: int) -> None:
    """Open the database, find what `store` wrote at a version, and go on with it."""
    async with Checkpointer(url) as checkpointer:
        data = await checkpointer.load("t")
        assert data is not None
        assert (data.messages, data.extra) == ([MESSAGE], {"customer": "u1"})
        assert data.parent_thread_id == "parent"
        asked = await checkpointer.load_pending("t")
        run_id = "run-1" if version >= 3 else None
        assert asked == ((QUESTION, run_id) if version >= 2 else None)
        runs = [summary.run_id for summary in await checkpointer.runs("t")]
        assert runs == (["run-1"] if version >= 4 else [])
        await checkpointer.claim_run("t", "run-2")
        await checkpointer.append("t", [MESSAGE.model_copy(update={"run_id": "run-2"})])
        await checkpointer.save_hitl_answer("t", run_id="run-2", question_id="q", answer=True)
        await checkpointer.mark_run_complete("t", "run-2")
        assert [stored.seq for stored in await checkpointer.read("t")] == [1, 2]


async def faults(url: str) -> list[tuple[str, str]]:
    """Give what `threadlog check` does not like: status and the columns it names."""
    return [
        (finding.status, finding.message.split(":")[0])
        for finding in await check_database(url)
        if finding.status != "ok"
    ]


# --- Creating and dropping ---------------------------------------------------------


async def test_created_at_version_5_it_is_what_the_models_say(empty_url: str) -> None:
    """Pins equal tables, partitions and collations included, and that they open."""
    wanted = await expected(empty_url)
    await migrate(empty_url, "create_threadlog_schema", 5)
    assert await definitions(empty_url) == wanted
    assert await version_rows(empty_url) == [5]
    assert await faults(empty_url) == []
    await opens(empty_url)
    await migrate(empty_url, "drop_threadlog_schema", 5)
    assert await tables(empty_url) == set()


async def test_what_another_tool_made_is_adopted(mysql_database: str) -> None:
    """Pins that a host may take the framework's tables into its own history."""
    await run(mysql_database, *statements_of(framework(5)))
    await store(mysql_database, 5)
    await migrate(mysql_database, "create_threadlog_schema", 5)
    await assert_stored(mysql_database, 5)
    made = (await definitions(mysql_database))["cubepi_threads"]
    assert "KEY `ix_cubepi_threads_recent`" in made


async def test_dropping_nothing_does_nothing(empty_url: str) -> None:
    """Pins that a downgrade that broke off at its very end can be run again."""
    await run(empty_url, "CREATE TABLE cubepi_of_somebody_else (id INT PRIMARY KEY)")
    await migrate(empty_url, "drop_threadlog_schema", 5)
    assert await tables(empty_url) == {"cubepi_of_somebody_else"}


@pytest.mark.parametrize("held", [[], [5], [1, 3]])
async def test_the_version_is_written(empty_url: str, held: Sequence[int]) -> None:
    """Pins one row, whatever there was."""
    await run(empty_url, "CREATE TABLE cubepi_schema_version (version INT PRIMARY KEY)")
    await run(empty_url, *(f"INSERT INTO cubepi_schema_version VALUES ({v})" for v in held))
    await migrate(empty_url, "write_threadlog_version", 4)
    assert await version_rows(empty_url) == [4]


# --- From version to version -------------------------------------------------------


@pytest.mark.parametrize("version", OLDER)
async def test_killed_after_each_statement_it_goes_on(empty_url: str, version: int) -> None:
    """Pins each step safe to run again: created, upgraded, downgraded and dropped, with data."""
    await migrate_killed_after_each_statement(empty_url, "create_threadlog_schema", version)
    assert await version_rows(empty_url) == [version]
    first = await columns(empty_url)
    await store(empty_url, version)
    up = ("upgrade_threadlog_schema", version, 5)
    killed = await migrate_killed_after_each_statement(empty_url, *up)
    assert len(killed) == {1: 10, 2: 9, 3: 8, 4: 4}[version]
    assert await differences(empty_url) == []
    assert await faults(empty_url) == []
    await assert_stored(empty_url, version)
    down = ("downgrade_threadlog_schema", 5, version)
    killed = await migrate_killed_after_each_statement(empty_url, *down)
    assert len(killed) == {1: 9, 2: 8, 3: 7, 4: 4}[version]
    assert await columns(empty_url) == first
    assert await version_rows(empty_url) == [version]
    await migrate_killed_after_each_statement(empty_url, "drop_threadlog_schema", version)
    assert await tables(empty_url) == set()


async def columns(url: str) -> dict[str, tuple[list[str], list[str]]]:
    """Name the columns and indexes of all tables."""

    def work(connection: Connection) -> dict[str, tuple[list[str], list[str]]]:
        inspector = inspect(connection)
        return {
            table: (
                sorted(str(column["name"]) for column in inspector.get_columns(table)),
                sorted(str(index["name"]) for index in inspector.get_indexes(table)),
            )
            for table in inspector.get_table_names()
        }

    return await on_connection(url, work)


@pytest.mark.parametrize("version", OLDER)
async def test_the_framework_s_tables_are_upgraded(mysql_database: str, version: int) -> None:
    """Pins the way from each version, with data, killed after each statement."""
    await run(mysql_database, *statements_of(framework(version)))
    await store(mysql_database, version)
    up = ("upgrade_threadlog_schema", version, 5)
    await migrate_killed_after_each_statement(mysql_database, *up)
    assert await version_rows(mysql_database) == [5]
    await assert_stored(mysql_database, version)
    # Columns that were there keep their collation.
    short = ["cubepi_threads.run_id"] if version >= 3 else []
    others = ["cubepi_messages.run_id", "cubepi_runs.run_id"] if version >= 4 else []
    found = await faults(mysql_database)
    assert sorted(found) == sorted(("warning", column) for column in [*short, *others])
    assert len(await differences(mysql_database)) == len(short)


async def test_upgraded_step_by_step_it_is_the_same(empty_url: str) -> None:
    """Pins that a history of many migrations ends where one of few does."""
    await migrate(empty_url, "create_threadlog_schema", 1)
    for version in OLDER:
        await migrate(empty_url, "upgrade_threadlog_schema", version, version + 1)
        assert await version_rows(empty_url) == [version + 1]
    by_steps = await definitions(empty_url)
    await migrate(empty_url, "drop_threadlog_schema", 5)
    await migrate(empty_url, "create_threadlog_schema", 1)
    await migrate(empty_url, "upgrade_threadlog_schema", 1, 5)
    assert await definitions(empty_url) == by_steps


async def test_an_upgrade_survives_autocommit(empty_url: str) -> None:
    """Pins the moment between the two statements of the version, where each is committed."""
    await migrate(empty_url, "create_threadlog_schema", 3)
    await run(empty_url, "DELETE FROM cubepi_schema_version")
    await migrate(empty_url, "upgrade_threadlog_schema", 3, 5)
    assert await version_rows(empty_url) == [5]
    await run(empty_url, "DELETE FROM cubepi_schema_version")
    await migrate(empty_url, "downgrade_threadlog_schema", 5, 3)
    assert await version_rows(empty_url) == [3]


async def test_an_upgrade_that_is_done_may_be_run_again(empty_url: str) -> None:
    """Pins the crash before Alembic noted its own revision."""
    await migrate(empty_url, "create_threadlog_schema", 2)
    await migrate(empty_url, "upgrade_threadlog_schema", 2, 5)
    before = await definitions(empty_url)
    await migrate(empty_url, "upgrade_threadlog_schema", 2, 5)
    assert await definitions(empty_url) == before
    assert await version_rows(empty_url) == [5]


@pytest.mark.parametrize(
    ("call", "step"),
    [
        (("upgrade_threadlog_schema", 4, 5), "create_index"),
        (("downgrade_threadlog_schema", 5, 4), "drop_index"),
        (("drop_threadlog_schema", 5), "drop_table"),
    ],
)
async def test_what_is_half_done_does_not_open(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, call: Call, step: str
) -> None:
    """Pins that the version comes last on the way up, and goes first on the way down."""
    await migrate(empty_url, "create_threadlog_schema", call[1])
    do = getattr(Operations, step)

    def die(operations: Operations, name: str, *arguments: Any, **options: Any) -> None:
        if name != "cubepi_schema_version":
            raise KilledError
        do(operations, name, *arguments, **options)

    def work(connection: Connection) -> None:
        with pytest.raises(KilledError):
            give(Operations(MigrationContext.configure(connection)), *call)

    monkeypatch.setattr(Operations, step, die)
    await on_connection(empty_url, work)
    with pytest.raises(CubepiSchemaError):
        await opens(empty_url)


# --- Refusing ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "call", "error"),
    [
        ([], ("create_threadlog_schema", 5), r"version 3; 5 is needed.*op\.upgrade_threadlog"),
        ([], ("upgrade_threadlog_schema", 1, 2), "version 3; .*goes from version 1 to 2"),
        ([], ("upgrade_threadlog_schema", 4, 5), "version 3; .*goes from version 4 to 5"),
        ([], ("downgrade_threadlog_schema", 5, 4), "version 3; .*goes from version 5 to 4"),
        (
            ["UPDATE cubepi_schema_version SET version = 4"],
            ("upgrade_threadlog_schema", 4, 5),
            "cubepi_messages lacks run_id, so it is not of version 4",
        ),
        (
            ["DELETE FROM cubepi_schema_version"],
            ("upgrade_threadlog_schema", 4, 5),
            "cubepi_messages lacks run_id",
        ),
        (
            ["DROP TABLE cubepi_schema_version"],
            ("upgrade_threadlog_schema", 3, 5),
            "There is no cubepi_schema_version",
        ),
        (
            ["DROP TABLE cubepi_schema_version"],
            ("create_threadlog_schema", 3),
            "no version table",
        ),
        (
            ["DROP TABLE cubepi_messages"],
            ("downgrade_threadlog_schema", 5, 3),
            "There is no cubepi_messages",
        ),
    ],
)
async def test_another_version_is_refused(
    empty_url: str, broken: Sequence[str], call: Call, error: str
) -> None:
    """Pins that what the host's history is wrong about is left exactly as it was."""
    await migrate(empty_url, "create_threadlog_schema", 3)
    await run(empty_url, *broken)
    before = await columns(empty_url)
    with pytest.raises(CubepiSchemaMismatch, match=f"{error}.*nothing was changed"):
        await migrate(empty_url, *call)
    assert await columns(empty_url) == before


async def test_upgrading_an_empty_database_is_refused(empty_url: str) -> None:
    """Pins that an upgrade creates nothing in place of tables that ought to be there."""
    with pytest.raises(CubepiSchemaMismatch, match="There is no cubepi_schema_version"):
        await migrate(empty_url, "upgrade_threadlog_schema", 4, 5)
    assert await tables(empty_url) == set()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("create_threadlog_schema", 6), "1 to 5, not 6"),
        (("create_threadlog_schema", 0), "1 to 5, not 0"),
        (("drop_threadlog_schema", 6), "1 to 5, not 6"),
        (("write_threadlog_version", 6), "1 to 5, not 6"),
        (("upgrade_threadlog_schema", 0, 5), "1 to 5, not 0"),
        (("upgrade_threadlog_schema", 5, 6), "1 to 5, not 6"),
        (("upgrade_threadlog_schema", 5, 4), "an earlier schema version to a later"),
        (("upgrade_threadlog_schema", 5, 5), "an earlier schema version to a later"),
        (("downgrade_threadlog_schema", 4, 5), "later one to an earlier"),
        (("downgrade_threadlog_schema", 1, 0), "1 to 5, not 0"),
    ],
)
def test_unknown_versions_are_refused(call: Call, words: str) -> None:
    """Pins the error for a migration that an older release cannot run, or that is mistaken."""
    with pytest.raises(ConfigurationError, match=words):
        script("mysql", call)


# --- Frozen, and without a connection ----------------------------------------------

HISTORY: Final = (
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


@pytest.mark.parametrize("dialect", ["mysql", "sqlite"])
def test_what_directives_do_is_frozen(dialect: str) -> None:
    """Pins every statement of every version: what a host's history did never changes."""
    frozen = (FROZEN / f"frozen_{dialect}.sql").read_text(encoding="utf-8")
    assert tidy(script(dialect, *HISTORY)) == tidy(frozen)


def tidy(sql: str) -> list[str]:
    """Split a script into statements with their white space made one."""
    return [
        re.sub(r"\s*([(),])\s*", r"\1", " ".join(statement.replace("`", "").split()))
        for statement in statements_of(sql)
    ]


def test_the_revision_is_the_directive() -> None:
    """Pins that `threadlog migrate` and a host's migration make the same tables."""
    own = tidy(migrating.upgrade_sql("mysql://nowhere/none"))
    ours = tidy(script("mysql", ("create_threadlog_schema", 5)))
    assert [statement for statement in own if "alembic_version" not in statement] == ours


@pytest.mark.parametrize("name", ["definitions", "steps", "directives", "helpers"])
def test_frozen_steps_never_read_the_models(name: str) -> None:
    """Pins that no model that changes can change them."""
    imported = list(imports(ROOT / "migrations" / f"{name}.py"))
    assert [module for module in imported if module.startswith("threadlog.models")] == []
    revision = imports(ROOT / "migrations" / "versions" / "v5_message_log.py")
    assert {module.rpartition(".")[0] for module in revision} == {"threadlog.migrations.steps"}


async def test_the_script_of_an_upgrade_runs_as_it_is(empty_url: str) -> None:
    """Pins ``--sql``, upwards and downwards, on a database that has data."""
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


# --- The plugin --------------------------------------------------------------------


def run_python(code: str) -> str:
    """Run code in a process of its own; give what it prints."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_alembic_knows_the_plugin() -> None:
    """Pins its name, and that importing it twice registers it once."""
    code = (
        "import importlib, alembic.op as op, threadlog.migrations.plugin as plugin\n"
        "from alembic.runtime.plugins import _all_plugins\n"
        "importlib.import_module('threadlog.migrations.plugin')\n"
        "print('threadlog' in _all_plugins, plugin.NAME, op.create_threadlog_schema.__name__)"
    )
    assert run_python(code).split() == ["True", "threadlog", "create_threadlog_schema"]


def test_an_alembic_without_plugins_is_refused_by_name() -> None:
    """Pins the error, and that the directives alone do without plugins."""
    code = (
        "import sys, alembic, alembic.op as op\n"
        "sys.modules['alembic.runtime.plugins'] = None\n"
        "try:\n"
        "    import threadlog.migrations.plugin\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
        "import threadlog.migrations.directives\n"
        "print(op.upgrade_threadlog_schema.__name__)"
    )
    refused, directive = run_python(code).splitlines()
    assert refused.startswith("ConfigurationError threadlog's plugin needs Alembic 1.18 or later")
    assert "threadlog.migrations.directives" in refused
    assert directive == "upgrade_threadlog_schema"
    assert issubclass(ConfigurationError, ThreadlogError)


def test_the_directives_are_documented() -> None:
    """Pins that ``help(op.create_threadlog_schema)`` says what it does."""
    names = [name for name in vars(Operations) if "threadlog" in name]
    assert len(names) == 5
    for name in names:
        assert "version" in str(getattr(Operations, name).__doc__)


def test_the_newest_version_is_that_of_the_models() -> None:
    """Pins that it leaves out no table of theirs, and no partitions."""
    newest = script("mysql", ("create_threadlog_schema", 5))
    assert sorted(re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", newest)) == TABLES
    assert newest.count(PARTITIONS) == 2
