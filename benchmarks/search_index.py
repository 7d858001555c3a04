"""Measure what the search index costs an append, beside appends without it.

``python -m benchmarks.search_index --database mysql`` starts a server whose commits are durable,
and appends one message at a time to a database with the index and to one without, in alternating
rounds. The figures are the medians of the rounds, and of the ratios of the two rounds of each turn.
"""

import argparse
import asyncio
import time
from functools import partial
from statistics import median
from typing import Final, NamedTuple

from benchmarks.durable import DATABASES, durable_databases
from tests.support.databases import create_schema, on_connection
from threadlog import Checkpointer
from threadlog.messages import TextContent, UserMessage
from threadlog.models import MESSAGES, SEARCH

_APPENDS: Final = 25
_WORDS: Final = "The parcel of order number {} was sent on Monday and is still on its way. "
_LONG: Final = 10  # of these sentences are 750 characters


class Round(NamedTuple):
    """What appending one message took, on the average of a round."""

    ms: float
    """Milliseconds."""

    processor_ms: float
    """Milliseconds of this process's processor time."""


async def append_round(log: Checkpointer, number: int) -> Round:
    """Append the messages of a round, one after the other, to a new thread."""
    texts = ["".join(_WORDS.format(number + at) for at in range(_LONG)) for _ in range(_APPENDS)]
    messages = [UserMessage(content=[TextContent(text=text)]) for text in texts]
    began, of_process = time.perf_counter(), time.process_time()
    for message in messages:
        await log.append(f"thread {number}", [message])
    ended, to_process = time.perf_counter(), time.process_time()
    return Round((ended - began) / _APPENDS * 1000, (to_process - of_process) / _APPENDS * 1000)


async def measure(without: str, with_index: str, rounds: int) -> None:
    """Create the tables in two empty databases, append to both, and print the figures."""
    for url in (without, with_index):
        await on_connection(url, partial(create_schema, part=MESSAGES))
    await on_connection(with_index, partial(create_schema, part=SEARCH))
    async with Checkpointer(without) as plain, Checkpointer(with_index) as indexed:
        turns = [
            (await append_round(plain, number), await append_round(indexed, number))
            for number in range(rounds + 1)
        ][1:]  # the first one warms up
    for name in Round._fields:
        pairs = [(getattr(one, name), getattr(other, name)) for one, other in turns]
        before, after = (median(column) for column in zip(*pairs, strict=True))
        ratio = median(other / one for one, other in pairs)
        print(f"{name}: {before:.2f} without, {after:.2f} with the index, ratio {ratio:.2f}")


def main() -> None:
    """Measure on one database."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_index")
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--rounds", type=int, default=61)
    options = parser.parse_args()
    with durable_databases(options.database, 2) as (without, with_index):
        asyncio.run(measure(without, with_index, options.rounds))


if __name__ == "__main__":
    main()
