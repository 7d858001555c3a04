"""Calculates how the tables grow to a billion messages, from rows measured on a real MySQL.

Run it with: python -m benchmarks.growth

Rows are inserted as a service inserts them, in turns of two messages to threads in no order, so
that pages are split and as full as they will be. What one row takes is the difference between two
sizes of the table, without what an empty table takes.
"""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Table, insert, text

from tests.support.databases import create_schema, fresh_database, on_connection
from tests.support.servers.products import MYSQL
from tests.support.servers.server import running_server
from threadlog import MESSAGE_CODEC
from threadlog.messages import TextContent, UserMessage
from threadlog.models import PARTITION_COUNT, Message

SEED: Final = 7
TURN: Final = 2
PER_THREAD: Final = 100
FEW: Final = 100_000
MANY: Final = 300_000
AT_ONCE: Final = 1_000
GOALS: Final = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
GB: Final = 1e9

# Sizes as the server keeps them, counted anew.
_ANALYZE: Final = text("ANALYZE TABLE cubepi_messages")
_SIZES: Final = text(
    "SELECT data_length, index_length FROM information_schema.tables "
    "WHERE table_schema = DATABASE() AND table_name = 'cubepi_messages'"
)
_PARTITIONS: Final = [
    text(f"SELECT COUNT(*) FROM cubepi_messages PARTITION (p{n})") for n in range(PARTITION_COUNT)
]


_MESSAGES: Final[Table] = Message.metadata.tables[Message.__tablename__]


@dataclass(frozen=True)
class Measured:
    """The sizes that were measured on the server."""

    payload: int
    """Bytes of a message's payload."""

    data: float
    """Bytes that a row takes in the table, which is its primary key."""

    index: float
    """Bytes that a row takes in the other index."""

    fullest: float
    """How many times the mean the fullest partition holds."""

    empty: int
    """Partitions that hold nothing."""


class Traffic:
    """Turns of messages to threads in no order, the same in every run."""

    def __init__(self) -> None:
        """Return the ids of the threads."""
        self._chance = random.Random(SEED)  # noqa: S311 - repeatable, not secret
        self._seqs = {self._uuid(): 0 for _ in range(MANY // PER_THREAD)}
        self._threads = list(self._seqs)

    def rows(self, count: int) -> Iterator[dict[str, Any]]:
        """Create rows of messages of about 700 bytes."""
        for _ in range(count // TURN):
            thread_id, run_id = self._chance.choice(self._threads), self._uuid()
            turn = [_message(run_id) for _ in range(TURN)]
            for encoded in MESSAGE_CODEC.encode(turn):
                self._seqs[thread_id] += 1
                row = {"thread_id": thread_id, "seq": self._seqs[thread_id]}
                yield {**row, **encoded._asdict()}

    def _uuid(self) -> str:
        return str(UUID(int=self._chance.getrandbits(128)))


def _message(run_id: str) -> UserMessage:
    text = TextContent(text="x" * 500)
    return UserMessage(content=[text], metadata={"user": "u1"}, run_id=run_id)


def fill(connection: Connection, rows: Iterator[dict[str, Any]]) -> None:
    """Insert rows, some at a time."""
    while batch := list(islice(rows, AT_ONCE)):
        connection.execute(insert(_MESSAGES), batch)


def sizes(connection: Connection) -> tuple[int, int]:
    """Return the bytes of the table's rows and of its other index."""
    connection.execute(text("SET information_schema_stats_expiry = 0"))
    connection.execute(_ANALYZE).all()
    data, index = connection.execute(_SIZES).one()
    return int(data), int(index)


def measure(connection: Connection) -> Measured:
    """Fill an empty database, and see what rows take."""
    traffic = Traffic()
    fill(connection, traffic.rows(FEW))
    few = sizes(connection)
    fill(connection, traffic.rows(MANY - FEW))
    many = sizes(connection)
    counts = [connection.scalar(query) or 0 for query in _PARTITIONS]
    return Measured(
        payload=len(MESSAGE_CODEC.encode([_message("r" * 36)])[0].payload),
        data=(many[0] - few[0]) / (MANY - FEW),
        index=(many[1] - few[1]) / (MANY - FEW),
        fullest=max(counts) / (MANY / PARTITION_COUNT),
        empty=counts.count(0),
    )


def report(found: Measured) -> Iterator[str]:
    """Write what was measured, and what follows from it."""
    row = found.data + found.index
    yield (
        f"measured on {MANY:,} messages with a payload of {found.payload} bytes each, in "
        f"{MANY // PER_THREAD:,} threads: {found.data:.0f} bytes a row in the table and "
        f"{found.index:.0f} in its index; the fullest of {PARTITION_COUNT} partitions holds "
        f"{found.fullest:.2f} times the mean, {found.empty} hold nothing"
    )
    heads = {"messages": 13, "rows a partition": 16, "table": 9, "index": 8, "a partition": 11}
    yield "  ".join(f"{head:>{width}}" for head, width in heads.items())
    for goal in GOALS:
        yield (
            f"{goal:>13,}  {goal // PARTITION_COUNT:>16,}  {goal * found.data / GB:>6.1f} GB  "
            f"{goal * found.index / GB:>5.1f} GB  {goal * row / PARTITION_COUNT / GB:>8.2f} GB"
        )


def main() -> None:
    """Measure, and print."""
    with running_server(MYSQL) as server, fresh_database(server.url) as url:
        asyncio.run(on_connection(url, create_schema))
        found = asyncio.run(on_connection(url, measure))
    print(*report(found), sep="\n")


if __name__ == "__main__":
    main()
