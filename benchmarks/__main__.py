"""Measures threadlog beside what users would pick instead, on servers whose commits are durable.

Run it with: make bench, or shorter: make bench QUICK=1; ROUNDS=15 makes it longer.
"""

import argparse
import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.alternating import measure, turns
from benchmarks.conditions import conditions
from benchmarks.everything import everything
from benchmarks.figure import Figure, Figures
from benchmarks.place import Place
from benchmarks.plot import draw
from benchmarks.report import Report
from benchmarks.scale import FULL, QUICK, TINY, Scale
from benchmarks.target import targets
from tests.support.databases import create_schema, fresh_database, on_connection
from tests.support.servers.products import MYSQL, POSTGRES
from tests.support.servers.server import running_server

_SCALES: Final = {"full": FULL, "quick": QUICK, "tiny": TINY}
_WIDTH: Final = 110
_COLUMNS: Final = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())


async def figures(scale: Scale, place: Place) -> list[Figure]:
    """Measure everything, with a progress bar; the databases and the folder may be left full."""
    found: list[Figure] = []
    with Progress(*_COLUMNS, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task("opening")
        async with everything(scale, place) as groups:
            total = sum(turns(group.pieces, group.rounds) for group in groups)
            progress.update(bar, total=total)
            for group in groups:
                found += await measure(
                    group.pieces,
                    group.rounds,
                    lambda work: progress.update(bar, advance=1, description=work),
                )
    return found


def report(scale: Scale, command: str) -> Report:
    """Start the servers, measure, and stop them."""
    with (
        tempfile.TemporaryDirectory(prefix="threadlog-bench-") as folder,
        running_server(MYSQL, durable=True) as server,
        fresh_database(server.url) as mysql,
        running_server(POSTGRES, durable=True) as other,
        fresh_database(other.url) as postgres,
    ):
        for url in (mysql, postgres):
            asyncio.run(on_connection(url, create_schema))
        measured_with = asyncio.run(conditions(mysql, command=command, rounds=scale.rounds))
        found = asyncio.run(figures(scale, Place(mysql, postgres, Path(folder))))
    return Report(Figures(found), targets(scale), measured_with)


def main() -> None:
    """Measure, print the tables and write the files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--scale", choices=_SCALES, default="full")
    parser.add_argument("--rounds", type=int, help="turns of each contender; make it odd")
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    options = parser.parse_args()
    scale = _SCALES[options.scale]
    if options.rounds:
        scale = replace(scale, rounds=options.rounds)
    options.folder.mkdir(parents=True, exist_ok=True)
    result = report(scale, f"python -m benchmarks --scale {options.scale} --rounds {scale.rounds}")
    result.write(options.folder)
    draw(result.figures, options.folder / "results.png")
    console = Console()
    result.show(Console(width=max(console.width, _WIDTH)))
    print(f"Written to {options.folder}: results.json, results.md, results.png")


if __name__ == "__main__":
    main()
