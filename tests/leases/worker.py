"""A process that claims a run with a lease, and works until it is killed.

``python -m tests.leases.worker URL`` prints "working" after each message and renewal.
"""

import asyncio
import sys
from datetime import timedelta

from threadlog import Checkpointer
from threadlog.messages import UserMessage


async def main(url: str) -> None:
    """Append to the run, and renew its lease, for ever."""
    minute = timedelta(minutes=1)
    async with Checkpointer(url) as log:
        claim = await log.claim_run("t", "r", lease=minute)
        while True:
            await log.append("t", [UserMessage(content=[], run_id="r")], claim=claim)
            claim = await log.renew(claim, lease=minute)
            print("working", flush=True)
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
