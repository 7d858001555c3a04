"""Runs the scenarios: ``make chaos``, ``make chaos SEED=7``, ``make chaos QUICK=1``.

``make chaos DATABASE=postgres`` runs them on PostgreSQL.
"""

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.chaos.scenarios import DATABASES, SCENARIOS, Scenario
from tests.chaos.stage import Server, chaos_server, staged
from tests.support.servers.products import MYSQL, PRODUCTS

# Room for all that the writers of the long form store: what fills it up is ballast.
_DISK: Final = "800m"


async def run(name: str, scenario: Scenario, server: Server, seed: int, *, quick: bool) -> bool:
    """Run a scenario and print a line; return True if nothing is wrong."""
    begun = time.monotonic()
    async with staged(server, name.replace("-", "_"), seed, quick=quick) as stage:
        broken = await scenario(stage)
        statuses = await stage.end()
        verdict = await stage.verdict()
    if any(statuses):
        verdict.faults.append(f"workers ended with {statuses}")
    well = "ok" if not verdict.faults else "FAULT"
    seconds = time.monotonic() - begun
    print(f"{well} {name} (seed {seed}, {seconds:.0f} s): {broken}; {verdict.line()}", flush=True)
    for text, count in verdict.logged.most_common(5):
        print(f"    logged {count} times: {text[:300]}")
    for fault in verdict.faults[:20]:
        print(f"    {fault[:600]}", flush=True)
    return not verdict.faults


@contextmanager
def small_disk() -> Iterator[Path | None]:
    """Mount a small file system in memory; yield None without the permission to mount."""
    with tempfile.TemporaryDirectory(prefix="threadlog-disk-") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", folder]
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            yield None
            return
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)  # noqa: S607 - as above


def main() -> int:
    """Run the scenarios that the arguments name; return 1 if something was lost or left behind."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--database", choices=PRODUCTS, default=MYSQL.name)
    parser.add_argument("scenarios", nargs="*", default=list(SCENARIOS), metavar="SCENARIO")
    given = parser.parse_args()
    product = PRODUCTS[given.database]
    again = f"SEED={given.seed} DATABASE={product.name}"
    print(f"seed {given.seed}; the same again: make chaos {again}", flush=True)
    well = True
    with ExitStack() as stack:
        server = stack.enter_context(chaos_server(product))
        for name in given.scenarios:
            where = server
            if product.name not in DATABASES.get(name, PRODUCTS):
                print(f"left out {name}, which is not for {product.title}", flush=True)
                continue
            if name == "full-disk":
                disk = stack.enter_context(small_disk())
                if disk is None:
                    print("left out full-disk: mounting a tmpfs needs root", flush=True)
                    continue
                where = stack.enter_context(chaos_server(product, disk))
            done = run(name, SCENARIOS[name], where, given.seed, quick=given.quick)
            well = asyncio.run(done) and well
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
