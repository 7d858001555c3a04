"""``threadlog threads``."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from shlex import quote
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from threadlog.cli.open import existing
from threadlog.cli.options import DEFAULT_URL, JsonOption, OwnerOption, UrlOption
from threadlog.cli.output import in_one_line, print_json, stderr, stdout, time_text
from threadlog.log.results import ThreadSummary
from threadlog.repositories.log.thread import ThreadOrder


def threads(
    url: UrlOption = DEFAULT_URL,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of threads to list.")] = 20,
    after: Annotated[
        str | None, typer.Option(help="List the threads after this id; requires --order id.")
    ] = None,
    order: Annotated[
        ThreadOrder, typer.Option(help="Most recently written first, or by id.")
    ] = "recent",
    owner: OwnerOption = None,
    *,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Only threads with a question to a person.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """List threads.

    \b
    Example:
      threadlog threads --url sqlite:///threadlog.db --limit 50
      threadlog threads --order id --after airline/7/1
      threadlog threads --owner ann --waiting
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
    if after is not None and order != "id":
        raise typer.BadParameter("requires --order id.", param_hint="--after")
    found = asyncio.run(_list(url, owner, after, limit, order, waiting=waiting))
    if json:
        print_json([asdict(summary) for summary in found])
    elif not found:
        stderr().print("There are no threads.")
    else:
        stdout().print(_table(found))
        if len(found) == limit:
            stderr().print(Text(_hint(found[-1], order), style="dim"), soft_wrap=True)


async def _list(
    url: str,
    owner: str | None,
    after: str | None,
    limit: int,
    order: ThreadOrder,
    *,
    waiting: bool,
) -> list[ThreadSummary]:
    async with existing(url) as checkpointer:
        return await checkpointer.list_threads(
            owner=owner, waiting=waiting, after=after, limit=limit, order=order
        )


def _table(found: Sequence[ThreadSummary]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Thread", overflow="fold", style="bold")
    table.add_column("Last seq", justify="right")
    table.add_column("Last activity (UTC)", no_wrap=True)
    table.add_column("Parent", overflow="fold", style="dim")
    owned = any(summary.owner is not None for summary in found)
    if owned:
        table.add_column("Owner", overflow="fold")
    for summary in found:
        table.add_row(
            Text(in_one_line(summary.thread_id)),
            f"{summary.last_seq:,}",
            time_text(summary.updated_at),
            Text(in_one_line(summary.parent_thread_id or "")),
            *([Text(in_one_line(summary.owner or ""))] if owned else []),
        )
    return table


def _hint(last: ThreadSummary, order: ThreadOrder) -> str:
    if order == "id":
        return f"There may be more: add --after {quote(in_one_line(last.thread_id))}"
    return "There may be more: raise --limit, or page with --order id and --after"
