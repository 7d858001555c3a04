"""The two ends of a copy: filling the one, and reading both past the code under test."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Table, insert, select, update

from tests.support.databases import DATABASES, on_connection
from tests.support.factories import (
    AssistantFactory,
    HitlRequestFactory,
    ToolCallFactory,
    ToolResultFactory,
    UserFactory,
)
from threadlog import Checkpointer
from threadlog.messages import TextContent, UserMessage
from threadlog.models import MESSAGES, HitlAnswer, Message, Run, SchemaPart, Thread
from threadlog.models.dialects.time import Timestamp, to_epoch

PAIRS: Final = tuple(product(DATABASES, DATABASES))
"""The kinds of databases that are copied from and to: all pairs."""

RING: Final = tuple(zip(DATABASES, [*DATABASES[1:], DATABASES[0]], strict=True))
"""Pairs in which each kind is the source once, and once the target."""

Rows = dict[str, dict[tuple[Any, ...], dict[str, Any]]]
"""Rows by table and primary key."""

TABLES: Final[Mapping[Any, Table]] = {
    model: model.metadata.tables[model.__tablename__]
    for model in (Thread, Message, Run, HitlAnswer)
}

ANSWERS: Final[dict[str, Any]] = {
    "float": 1.0,
    "large": 1e22,
    "larger": 1e23,
    "digits": 0.30000000000000004,
    "int": 2**64 - 1,
    "negative": -(2**63),
    "nothing": None,
    "false": False,
    "text": "ü\x01 1.0",
    "nested": {"b": [1.0, 1, {"z": None, "a": "\x7f"}], "a": {}},
    "Nested": [],
}


class Ends(NamedTuple):
    """Two databases."""

    source: str
    target: str


async def rows_of(url: str, part: SchemaPart = MESSAGES) -> Rows:
    """Read all rows of a part of the schema but its version.

    Times of the message log are seconds since 1970, with a fraction where the database has that;
    other numbers are decimals.
    """

    def read(connection: Connection) -> Rows:
        return {
            table.name: _rows_of(connection, table)
            for table in part.metadata.sorted_tables
            if table is not part.version_table
        }

    return await on_connection(url, read)


async def source_rows(ends: "Ends", part: SchemaPart = MESSAGES) -> Rows:
    """Read what the target is to have: the source's rows, with times as the target holds them."""
    return held_by(ends.target, await rows_of(ends.source, part))


def held_by(url: str, rows: Rows) -> Rows:
    """Cut the times of a message log to the second, but for PostgreSQL, which holds more."""
    if url.startswith("postgresql"):
        return rows
    return {
        table: {
            key: {name: _cut(value) for name, value in row.items()} for key, row in found.items()
        }
        for table, found in rows.items()
    }


def _cut(value: Any) -> Any:
    return int(value) if type(value) is float else value


def _rows_of(connection: Connection, table: Table) -> dict[tuple[Any, ...], dict[str, Any]]:
    times = {column.name for column in table.columns if isinstance(column.type, Timestamp)}
    columns = [
        to_epoch(column).label(column.name) if column.name in times else column
        for column in table.columns
    ]
    rows = [
        {name: value if name in times else _plain(value) for name, value in row.items()}
        for row in connection.execute(select(*columns)).mappings()
    ]
    return {tuple(row[column.name] for column in table.primary_key): row for row in rows}


def _plain(value: Any) -> Any:
    """Replace numbers in JSON by what they mean, whether or not they are written with a point."""
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
        case bool():
            return str(value)
        case int() | float():
            return Decimal(repr(value))
        case _:
            return value


async def change(url: str, model: Any, key: tuple[Any, ...], **values: Any) -> None:
    """Set columns of a row with SQL; of a time the seconds since 1970."""
    table = TABLES[model]
    given = {
        name: datetime.fromtimestamp(value, UTC)
        if isinstance(table.c[name].type, Timestamp) and value
        else value
        for name, value in values.items()
    }
    statement = update(table).values(given)
    for column, value in zip(table.primary_key, key, strict=True):
        statement = statement.where(column == value)
    if model is Thread and "updated_at" not in values:
        # Else the statement itself would be a sign of life.
        statement = statement.values(updated_at=table.c.updated_at)
    await on_connection(url, lambda connection: _execute(connection, statement))


def _execute(connection: Connection, statement: Any) -> None:
    assert connection.execute(statement).rowcount == 1


async def add(url: str, model: Any, **values: Any) -> None:
    """Insert a row with SQL."""
    statement = insert(TABLES[model]).values(values)
    await on_connection(url, lambda connection: _execute(connection, statement))


async def say(url: str, thread_id: str, *texts: str) -> None:
    """Append a person's messages."""
    async with Checkpointer(url) as checkpointer:
        await checkpointer.append(thread_id, said(*texts))


def said(*texts: str) -> list[UserMessage]:
    """Create a person's messages."""
    return [UserFactory(content=[TextContent(text=text)]) for text in texts]


LONG_AGO: Final = int(datetime(2019, 3, 31, 2, 30, 7, tzinfo=UTC).timestamp())
"""A time that there is not in zones that advanced their clocks in that night."""


async def fill(url: str) -> None:
    """Fill a database with everything that a thread may have.

    Three threads of it are forks, whose ids come before and behind those of their parents.
    """
    async with Checkpointer(url) as checkpointer:
        for thread_id in ("m", "M"):
            await checkpointer.claim_run(thread_id, "r")
            # The result is the call's: other tests count the two ids up separately.
            result = ToolResultFactory(tool_call_id="call", run_id="r")
            call = AssistantFactory(content=[ToolCallFactory(id="call")], run_id="r")
            await checkpointer.append(thread_id, [UserFactory(run_id="r"), call, result])
            await checkpointer.mark_run_complete(thread_id, "r")
            await checkpointer.claim_run(thread_id, "R")
        await checkpointer.fork("m", "z", after_run_id="r")
        await checkpointer.fork("z", "a", after_run_id="r", metadata={"why": ["not", 1.0]})
        await checkpointer.fork("a", "é\U0001f600", after_run_id="r")
        await checkpointer.save_extra("M", {"b": 1e22, "a": {"n": [2**63, 1.0, 1]}, "": "\x1f"})
        await checkpointer.save_pending_request("m", HitlRequestFactory(), run_id="R")
        await checkpointer.save_pending_request("z", HitlRequestFactory(), run_id=None)
        for question_id, answer in ANSWERS.items():
            await checkpointer.save_hitl_answer("m", question_id, answer, run_id="R")
            await checkpointer.save_hitl_answer("m", question_id, [answer], run_id=None)
        await checkpointer.save_extra("empty", {"no": "message"})
    await change(url, Message, ("m", 2), metadata={"by": "host", "n": 1e-7, "": [None]})
    await change(url, Message, ("m", 3), created_at=LONG_AGO)
    await change(url, Thread, ("m",), created_at=LONG_AGO, updated_at=LONG_AGO + 1)
    # All of them: a copy waits until the second of a thread's last write is over.
    for place, thread_id in enumerate(("empty", "z", "M", "a", "é\U0001f600")):
        await change(url, Thread, (thread_id,), updated_at=LONG_AGO + place)
    await change(url, Run, ("m", "r"), claimed_at=LONG_AGO, completed_at=LONG_AGO + 3)
    await change(url, HitlAnswer, ("m", "R", "text"), answered_at=LONG_AGO)


async def fill_alike(url: str, thread_ids: Sequence[str]) -> None:
    """Fill a database with threads of every kind of row, which are forks of the thread ``p``."""
    async with Checkpointer(url) as checkpointer:
        await checkpointer.claim_run("p", "r")
        await checkpointer.append("p", [UserFactory(run_id="r")])
        await checkpointer.mark_run_complete("p", "r")
        for thread_id in thread_ids:
            await checkpointer.fork("p", thread_id, after_run_id="r")
            await checkpointer.claim_run(thread_id, "R")
            factories = (UserFactory, AssistantFactory, ToolResultFactory)
            await checkpointer.append(thread_id, [make(run_id="R") for make in factories])
            await checkpointer.mark_run_complete(thread_id, "R")
            await checkpointer.save_extra(thread_id, {"x": 1})
            await checkpointer.save_pending_request(thread_id, HitlRequestFactory(), run_id="R")
            await checkpointer.save_hitl_answer(thread_id, "q", 2**64 - 1, run_id="R")
    age = update(TABLES[Thread]).values(updated_at=datetime.fromtimestamp(LONG_AGO, UTC))
    await on_connection(url, lambda connection: connection.execute(age))
