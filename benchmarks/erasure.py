"""Measures what it takes to erase one of 10,000 owners who have 1,000,000 messages together.

Run it with: python -m benchmarks.erasure, or with --database mysql, postgres or mariadb, which
start a server whose commits are durable. --owners 1000 makes it shorter.

Also erases one thread of 100,000 messages, which is locked for as long as its transaction takes.
"""

import asyncio
import time
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import Connection, insert

from benchmarks.many_owners import LONG, chosen_database, fill, fill_thread, owner_name
from tests.support.databases import create_schema, on_connection
from threadlog import Checkpointer
from threadlog.erasing import OwnerErasure
from threadlog.models import CONTROL, MESSAGES
from threadlog.models.tables import OWNERS


def _fill(connection: Connection, owners: int) -> None:
    fill(connection, owners)
    fill_thread(connection, "long", LONG, datetime.now(UTC).replace(microsecond=0))
    connection.execute(insert(OWNERS), {"thread_id": "long", "owner": "long"})


async def measure(url: str, owners: int) -> None:
    """Fill an empty database, erase owners, and print what that took."""
    for part in (MESSAGES, CONTROL):
        await on_connection(url, partial(create_schema, part=part))
    await on_connection(url, partial(_fill, owners=owners))
    async with Checkpointer(url) as checkpointer:
        for owner in (*map(owner_name, range(3)), "long"):
            erasure, seconds = OwnerErasure(owner), []
            while not erasure.done:
                began = time.perf_counter()
                await checkpointer.client.write(erasure.step)
                seconds.append(time.perf_counter() - began)
            print(
                f"{owner}: {sum(erasure.erased.rows.values()):,} rows of {erasure.threads:,} "
                f"threads in {sum(seconds):.2f} s; {len(seconds)} transactions, the longest "
                f"{max(seconds) * 1000:.0f} ms",
                flush=True,
            )


def main() -> None:
    """Measure on one database."""
    with chosen_database("python -m benchmarks.erasure") as (url, owners):
        asyncio.run(measure(url, owners))


if __name__ == "__main__":
    main()
