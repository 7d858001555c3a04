"""A process that sweeps with several stores at once, as many tasks as it is told.

``python -m tests.persistence.worker KIND URL TASKS stale|expire`` says "ready", begins when
it is given a line, and prints the ids that each of its sweeps was given as a JSON list.
"""

import asyncio
import json
import sys
from typing import Any

from tests.persistence.stores import several_open


async def stale(store: Any) -> list[str]:
    """Fail what is stale, and give its ids."""
    rows = await store.fail_stale_runs(stale_after_seconds=60, exclude_run_ids=(), error="gone")
    return [str(row["run_id"]) for row in rows]


async def expire(store: Any) -> list[str]:
    """Expire what is over, and give its ids."""
    return [str(expired.thread_id) for expired in await store.expire_threads(limit=1000)]


async def main(kind: str, url: str, tasks: str, job: str) -> None:
    """Sweep, twice each."""
    sweep = {"stale": stale, "expire": expire}[job]
    async with several_open(kind, url, int(tasks)) as stores:
        for store in stores:
            await store.search_thread_rows(NOTHING)  # connects
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        swept = await asyncio.gather(*(sweep(store) for store in [*stores, *stores]))
    print(json.dumps([one for found in swept for one in found]), flush=True)


class NOTHING:
    """A search of threads that finds next to nothing."""

    ids = metadata = status = sort_by = sort_order = None
    limit, offset = 1, 0


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
