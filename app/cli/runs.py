"""``threadlog runs``."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Final

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from threadlog.cli.open import existing, scoped
from threadlog.cli.options import DEFAULT_URL, JsonOption, OwnerOption, UrlOption, age
from threadlog.cli.output import in_one_line, print_json, stderr, stdout, time_text
from threadlog.errors import ThreadNotFoundError
from threadlog.log.results import RunSummary

_STYLES: Final = {"open": "cyan", "waiting": "yellow", "completed": "green"}


def runs(
    thread: Annotated[
        str | None, typer.Argument(metavar="THREAD", show_default=False, help="The thread's id.")
    ] = None,
    url: UrlOption = DEFAULT_URL,
    stale: Annotated[
        timedelta | None,
        typer.Option(
            parser=age,
            metavar="AGE",
            show_default=False,
            help="List runs of all threads without a sign of life for this long: 30m, 1h, 2d.",
        ),
    ] = None,
    owner: OwnerOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """List the runs of a thread, or with --stale the runs whose process may be dead.

    A run is open, waiting (open, with a question to a person) or completed;
    its place is its number among the thread's completed runs. Signs of life
    are the claim and the messages of the run. A run with a lease is stale when
    its lease has ended, whatever AGE is. A waiting run is never stale.

    \b
    Example:
      threadlog runs airline/0/0 --url sqlite:///threadlog.db
      threadlog runs --stale 2h
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
    match thread, stale:
        case str(thread_id), None:
            found = asyncio.run(_of_thread(url, thread_id, owner))
        case None, timedelta() as older_than:
            found = asyncio.run(_stale(url, older_than, owner))
        case _:
            raise typer.BadParameter(
                "name a thread, or use --stale AGE for all threads, but not both.",
                param_hint="THREAD",
            )
    if json:
        print_json([asdict(summary) for summary in found])
    elif not found:
        stderr().print("There are no runs." if stale is None else "There are no stale runs.")
    else:
        stdout().print(_table(found) if stale is None else _stale_table(found))


async def _of_thread(url: str, thread_id: str, owner: str | None) -> list[RunSummary]:
    async with existing(url) as checkpointer:
        log = scoped(checkpointer, owner)
        found = await log.runs(thread_id)
        if not found and await log.load(thread_id, last=1) is None:
            raise ThreadNotFoundError(thread_id=thread_id)
        return found


async def _stale(url: str, older_than: timedelta, owner: str | None) -> list[RunSummary]:
    async with existing(url) as checkpointer:
        return await checkpointer.stale_runs(older_than, owner=owner)


def _table(found: Sequence[RunSummary]) -> Table:
    """Return the table of one thread's runs."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Run", overflow="fold", style="bold")
    table.add_column("State")
    table.add_column("Claimed (UTC)", no_wrap=True)
    table.add_column("Completed (UTC)", no_wrap=True)
    table.add_column("Place", justify="right")
    for summary in found:
        table.add_row(
            Text(in_one_line(summary.run_id)),
            Text(summary.state, style=_STYLES[summary.state]),
            time_text(summary.claimed_at),
            "" if summary.completed_at is None else time_text(summary.completed_at),
            "" if summary.completion_seq is None else f"{summary.completion_seq:,}",
        )
    return table


def _stale_table(found: Sequence[RunSummary]) -> Table:
    """Return the table of stale runs, all of which are open."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Thread", overflow="fold", style="bold")
    table.add_column("Run", overflow="fold", style="bold")
    table.add_column("Claimed (UTC)", no_wrap=True)
    for summary in found:
        table.add_row(
            Text(in_one_line(summary.thread_id)),
            Text(in_one_line(summary.run_id)),
            time_text(summary.claimed_at),
        )
    return table
