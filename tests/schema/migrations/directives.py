"""Running the directives, and data of each version for them to keep."""

import json
import re
from io import StringIO
from typing import Any, Final, TypeAlias

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, event, inspect, text

import threadlog.migrations.plugin  # noqa: F401 - registers the directives
from tests.support.databases import on_connection
from tests.support.ways import host_engine
from threadlog import MESSAGE_CODEC, Checkpointer
from threadlog.log.hitl_request import HitlRequest
from threadlog.messages import TextContent, UserMessage
from threadlog.schema.check import check_database

Call: TypeAlias = tuple[str, int] | tuple[str, int, int]
"""A directive and its arguments."""


MESSAGE: Final = UserMessage(content=[TextContent(text="Where is it? ; :id %s 'quoted' \\")])


QUESTION: Final = HitlRequest(question_id="q", payload={"kind": "confirm"}, created_at=1.0)


class KilledError(Exception):
    """Stands for the end of the process."""


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
    await _insert(url, "cubepi_threads", **thread)
    if version >= 4:
        await _insert(url, "cubepi_runs", thread_id="t", run_id="run-1")
    await _insert(url, "cubepi_messages", **message)


async def _insert(url: str, table: str, **row: Any) -> None:
    statement = text(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})"
    )
    await on_connection(url, lambda connection: connection.execute(statement, row) and None)


async def assert_stored(url: str, version: int) -> None:
    """Open the database, find what `store` wrote at a version, and go on with it.

    On an application's engine, which creates no tables on SQLite either.
    """
    engine = host_engine(url)
    async with Checkpointer(engine=engine) as checkpointer:
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
    await engine.dispose()


async def faults(url: str) -> list[tuple[str, str]]:
    """Return the status and columns of each failed `threadlog check` result."""
    return [
        (finding.status, finding.message.split(":")[0])
        for finding in await check_database(url)
        if finding.status != "ok"
    ]


async def columns(url: str) -> dict[str, tuple[list[str], list[str]]]:
    """Return the columns and indexes of all tables."""

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
