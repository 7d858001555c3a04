"""``threadlog prune --messages``."""

from dataclasses import asdict
from typing import Final

from rich.progress import MofNCompleteColumn, TextColumn
from rich.text import Text

from threadlog.cli.open import existing
from threadlog.cli.output import in_one_line, print_json, progress_bar, stdout
from threadlog.log.results import PruneSummary
from threadlog.log.retention import Pruning

_LEFT_OUT: Final = {
    "with_forks": "with forks",
    "with_open_runs": "with open runs",
    "with_questions": "with a pending question",
    "referenced": "that rows of {tables} refer to",
    "in_use": "that were in use",
}


async def prune_messages(url: str, pruning: Pruning, *, dry_run: bool) -> PruneSummary:
    """Delete what is old of an existing message log, with a progress bar."""
    async with existing(url) as checkpointer:
        run = checkpointer.client.read if dry_run else checkpointer.client.write
        total = await checkpointer.client.read(pruning.count)
        with progress_bar(MofNCompleteColumn(), TextColumn("threads")) as progress:
            bar = progress.add_task("Pruning", total=total)
            while await run(pruning.step):
                progress.update(bar, completed=pruning.seen)
        return pruning.summary


def print_summary(found: PruneSummary, *, dry_run: bool, as_json: bool) -> None:
    """Print what was deleted, and what was left out."""
    if as_json:
        print_json({**asdict(found), "dry_run": dry_run})
        return
    counts = f"{found.messages:,} messages of {found.threads:,} threads ({found.bytes:,} bytes)"
    end = "would be deleted. Nothing was deleted." if dry_run else "deleted."
    stdout().print(Text(f"{counts} {end}"), soft_wrap=True)
    tables = in_one_line(", ".join(found.referring_tables))
    for name, reason in _LEFT_OUT.items():
        if count := getattr(found, name):
            line = f"Left out: {count:,} threads {reason.format(tables=tables)}."
            stdout().print(Text(line), soft_wrap=True)
