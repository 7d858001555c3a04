"""Measures what it takes to prune a tenth of 1,000,000 messages of 10,000 owners.

Run it with: python -m benchmarks.retention, or with --database mysql, postgres or mariadb, which
start a server whose commits are durable. --owners 1000 makes it shorter.

Also prunes one thread of 100,000 messages. The time of a transaction is that from its first
statement until its connection is returned, at least as long as the thread is locked.
"""

import asyncio
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from typing import Any, Final

from sqlalchemy import Engine, event

from benchmarks.many_owners import LONG, OLD, chosen_database, fill, fill_thread
from tests.support.databases import create_schema, engines_of, on_connection
from threadlog import Checkpointer
from threadlog.models import CONTROL, MESSAGES

_AGE: Final = timedelta(days=90)


@dataclass
class Transactions:
    """The times of an engine's transactions, in seconds."""

    seconds: list[float] = field(default_factory=list)

    @contextmanager
    def measured(self, engine: Engine) -> Iterator[None]:
        """Measure the transactions of the block."""

        def begin(connection: Any, *_: object) -> None:
            connection.connection.info.setdefault("began", time.perf_counter())

        def end(_: object, record: Any) -> None:
            began = record.info.pop("began", None)
            if began is not None:
                self.seconds.append(time.perf_counter() - began)

        event.listen(engine, "before_cursor_execute", begin)
        event.listen(engine, "checkin", end)
        try:
            yield
        finally:
            event.remove(engine, "before_cursor_execute", begin)
            event.remove(engine, "checkin", end)


async def measure(url: str, owners: int) -> None:
    """Fill an empty database, prune it, and print what that took."""
    for part in (MESSAGES, CONTROL):
        await on_connection(url, partial(create_schema, part=part))
    began = time.perf_counter()
    await asyncio.to_thread(_in_process, _fill, url, owners)
    print(f"filled in {time.perf_counter() - began:.0f} s", flush=True)
    await _prune(url, f"a tenth of the messages of {owners:,} owners")
    await asyncio.to_thread(_in_process, _fill_long, url)
    await _prune(url, f"a thread of {LONG:,} messages")


def _in_process(work: Callable[..., None], *args: object) -> None:
    """Run work in a process of its own, whose memory does not count."""
    process = get_context("spawn").Process(target=work, args=args)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit("The database was not filled.")


def _fill(url: str, owners: int) -> None:
    asyncio.run(on_connection(url, partial(fill, owners=owners)))


def _fill_long(url: str) -> None:
    old = datetime.now(UTC).replace(microsecond=0) - OLD
    asyncio.run(on_connection(url, partial(fill_thread, thread_id="long", length=LONG, time=old)))


def _peak() -> int:
    """Return the most bytes that the process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def _prune(url: str, name: str) -> None:
    async with Checkpointer(url) as checkpointer:
        began = time.perf_counter()
        dry = await checkpointer.prune_older_than(_AGE, dry_run=True)
        dry_seconds = time.perf_counter() - began
        transactions = Transactions()
        memory = _peak()
        began = time.perf_counter()
        with transactions.measured(engines_of(checkpointer)[0]):
            done = await checkpointer.prune_older_than(_AGE)
        seconds = time.perf_counter() - began
        memory = _peak() - memory
    if done != dry:
        raise SystemExit(f"The dry run counted {dry}, but {done} was deleted.")
    print(
        f"{name}: {done.messages:,} messages of {done.threads:,} threads, {done.bytes / 1e6:.0f} "
        f"MB, pruned in {seconds:.1f} s (dry run {dry_seconds:.1f} s); "
        f"{len(transactions.seconds):,} transactions, the longest "
        f"{max(transactions.seconds) * 1000:.0f} ms; memory grew by {memory / 1e6:.1f} MB",
        flush=True,
    )


def main() -> None:
    """Measure on one database."""
    with chosen_database("python -m benchmarks.retention") as (url, owners):
        asyncio.run(measure(url, owners))


if __name__ == "__main__":
    main()
