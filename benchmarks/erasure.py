"""Measures what it takes to erase one of 10,000 owners who have 1,000,000 messages together.

Run it with: python -m benchmarks.erasure, or with --database mysql, postgres or mariadb, which
start a server whose commits are durable. --owners 1000 makes it shorter.

Also erases one thread of 100,000 messages, which is locked for as long as its transaction takes.
"""

import argparse
import asyncio
import tempfile
import time
from datetime import UTC, datetime
from functools import partial
from typing import Final

from sqlalchemy import Connection, insert

from benchmarks.many_owners import MANY, fill, fill_thread, owner_name
from tests.support.databases import create_schema, fresh_database, on_connection
from tests.support.servers.products import MARIADB, MYSQL, POSTGRES
from tests.support.servers.server import running_server
from threadlog import Checkpointer
from threadlog.erasing import OwnerErasure
from threadlog.models import CONTROL, MESSAGES
from threadlog.models.tables import OWNERS

_SERVERS: Final = {"mysql": MYSQL, "postgres": POSTGRES, "mariadb": MARIADB}
_LONG: Final = 100_000


def _fill(connection: Connection, owners: int) -> None:
    fill(connection, owners)
    fill_thread(connection, "long", _LONG, datetime.now(UTC).replace(microsecond=0))
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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.erasure")
    parser.add_argument("--database", choices=["sqlite", *_SERVERS], default="sqlite")
    parser.add_argument("--owners", type=int, default=MANY)
    options = parser.parse_args()
    if options.database == "sqlite":
        with tempfile.TemporaryDirectory(prefix="threadlog-bench-") as folder:
            asyncio.run(measure(f"sqlite:///{folder}/threadlog.db", options.owners))
        return
    with (
        running_server(_SERVERS[options.database], durable=True) as server,
        fresh_database(server.url) as url,
    ):
        asyncio.run(measure(url, options.owners))


if __name__ == "__main__":
    main()
