"""A database of many owners, for work on the threads of one owner or of a time.

``fill(connection)`` stores 1,000,000 messages in 100,000 threads of 10,000 owners. The first thread
of each owner was last written to 100 days ago, the others 10 days ago.
"""

import argparse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain, cycle, islice
from typing import Any, Final

from sqlalchemy import Connection, Table, insert

from benchmarks.durable import DATABASES, durable_databases
from threadlog import MESSAGE_CODEC
from threadlog.messages import (
    AssistantMessage,
    Message,
    TextContent,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)
from threadlog.models.tables import MESSAGES, OWNERS, RUNS, THREADS

MANY: Final = 10_000
"""Owners of the full data set."""

THREADS_EACH: Final = 10
"""Threads of each owner."""

MESSAGES_EACH: Final = 10
"""Messages of each thread."""

OLD: Final = timedelta(days=100)
RECENT: Final = timedelta(days=10)

LONG: Final = 100_000
"""Messages of the one long thread that is measured too."""

_AT_ONCE: Final = 1_000


@contextmanager
def chosen_database(program: str) -> Iterator[tuple[str, int]]:
    """Yield an empty database and a number of owners, as the command line has them.

    Args:
        program: the name of the program.

    Yields:
        The URL of the database, see `durable_databases`, and the number of owners.
    """
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--owners", type=int, default=MANY)
    options = parser.parse_args()
    with durable_databases(options.database, 1) as (url,):
        yield url, options.owners


def owner_name(number: int) -> str:
    """Return the name of an owner, numbered from 0."""
    return f"owner-{number:05}"


def fill(connection: Connection, owners: int = MANY) -> None:
    """Store the threads of some owners in an empty database that has thread control."""
    now = datetime.now(UTC).replace(microsecond=0)
    ids = [
        (owner_name(owner), f"thread-{owner:05}-{place}", now - (OLD if place == 0 else RECENT))
        for owner in range(owners)
        for place in range(THREADS_EACH)
    ]
    threads = ({"thread_id": id_, "created_at": at, "updated_at": at} for _, id_, at in ids)
    insert_rows(connection, THREADS, threads)
    insert_rows(connection, OWNERS, ({"thread_id": id_, "owner": owner} for owner, id_, _ in ids))
    rows = (message_rows(id_, MESSAGES_EACH, at) for _, id_, at in ids)
    insert_rows(connection, MESSAGES, chain.from_iterable(rows))


def fill_thread(connection: Connection, thread_id: str, length: int, time: datetime) -> None:
    """Store one thread without owner, with a completed run for each turn."""
    row = {"thread_id": thread_id, "created_at": time, "updated_at": time}
    insert_rows(connection, THREADS, [row])
    runs = (
        {"thread_id": thread_id, "run_id": f"run-{number}", "completion_seq": number}
        for number in range(1, length // len(_TURN) + 1)
    )
    insert_rows(connection, RUNS, ({**run, "completed_at": time} for run in runs))
    insert_rows(connection, MESSAGES, message_rows(thread_id, length, time))


def message_rows(thread_id: str, length: int, time: datetime) -> Iterator[dict[str, Any]]:
    """Yield rows of messages of about 600 bytes: turns of a question, a tool and an answer."""
    for seq, encoded in enumerate(islice(cycle(_TURN), length), start=1):
        yield {"thread_id": thread_id, "seq": seq, "created_at": time, **encoded}


def insert_rows(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """Insert rows, some at a time."""
    given = iter(rows)
    while batch := list(islice(given, _AT_ONCE)):
        connection.execute(insert(table), batch)


def _turn() -> list[Message]:
    text = TextContent(text="Where is my parcel? I ordered it two weeks ago. " * 11)
    call = ToolCall(id="call-1", name="track", arguments={"order": 17, "why": text.text[:400]})
    return [
        UserMessage(content=[text], metadata={"user": "u1"}),
        AssistantMessage(content=[call], stop_reason="tool_use"),
        ToolResultMessage(tool_call_id="call-1", tool_name="track", content=[text]),
        AssistantMessage(content=[text]),
    ]


_TURN: Final = [encoded._asdict() for encoded in MESSAGE_CODEC.encode(_turn())]
