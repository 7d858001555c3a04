"""``threadlog prune``."""

import asyncio
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer
from rich.progress import MofNCompleteColumn, TextColumn
from rich.text import Text

from threadlog.cli.open import existing_graphs
from threadlog.cli.options import DEFAULT_URL, JsonOption, UrlArgument, UrlOption, age, one_url
from threadlog.cli.output import ReaderLeft, print_json, progress_bar, stdout
from threadlog.errors import CubepiSchemaUninitialized
from threadlog.graph import memories, pruning
from threadlog.graph.client import GraphClient
from threadlog.graph.pruning import Pruned, Strategy
from threadlog.models import STORE

# Threads in a page.
_THREADS = 500


def prune(
    context: typer.Context,
    argument: UrlArgument = None,
    url: UrlOption = DEFAULT_URL,
    *,
    older_than: Annotated[
        timedelta,
        typer.Option(
            parser=age,
            metavar="AGE",
            help="Prune checkpoints of at least this age: 30m, 12h, 90d.",
        ),
    ],
    strategy: Annotated[
        Strategy,
        typer.Option(
            help="keep_latest: delete old checkpoints except the newest of each thread and graph; "
            "delete: delete whole threads if all of their checkpoints are old.",
        ),
    ] = "keep_latest",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Delete nothing; count what would be deleted.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Delete old checkpoints of graphs, and expired items of the memory store.

    The message log is not changed. Checkpoints that the values of delta
    channels are computed from are kept. Each thread is one transaction: if
    interrupted, run it again to continue. Do not prune a thread while a run
    continues from one of its old checkpoints.

    \b
    Example:
      threadlog prune --older-than 90d --dry-run
      threadlog prune --older-than 90d --url mysql://user:password@localhost/app
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
    url = one_url(context, argument, url)
    found, expired = asyncio.run(_prune(url, older_than, strategy, dry_run=dry_run))
    with suppress(ReaderLeft):
        if json:
            print_json({**asdict(found), "expired_items": expired or 0, "dry_run": dry_run})
        else:
            _print(found, expired, dry_run=dry_run)


async def _prune(
    url: str, older_than: timedelta, strategy: Strategy, *, dry_run: bool
) -> tuple[Pruned, int | None]:
    """Prune both parts; return the number of expired items, or None if there is no store."""
    expired: int | None = None
    with suppress(CubepiSchemaUninitialized):
        expired = await _sweep(existing_graphs(url, STORE), dry_run=dry_run)
    try:
        found = await _prune_graphs(existing_graphs(url), older_than, strategy, dry_run=dry_run)
    except CubepiSchemaUninitialized:
        if expired is None:
            raise
        found = Pruned()
    return found, expired


async def _sweep(client: GraphClient, *, dry_run: bool) -> int:
    await client.open()
    try:
        if dry_run:
            return await client.read(memories.count_expired)
        total = 0
        while swept := await client.write(memories.sweep_items):
            total += swept
        return total
    finally:
        await client.close()


async def _prune_graphs(
    client: GraphClient, older_than: timedelta, strategy: Strategy, *, dry_run: bool
) -> Pruned:
    await client.open()
    try:
        threads = await _old_threads(client, older_than)
        total = Pruned()
        with progress_bar(MofNCompleteColumn(), TextColumn("threads")) as progress:
            for thread_id in progress.track(threads, description="Pruning"):
                total += await (client.read if dry_run else client.write)(
                    pruning.prune_older, thread_id, older_than, strategy, dry_run=dry_run
                )
        return total
    finally:
        await client.close()


async def _old_threads(client: GraphClient, older_than: timedelta) -> list[str]:
    threads: list[str] = []
    while some := await client.read(
        pruning.old_threads, older_than, after=threads[-1] if threads else None, limit=_THREADS
    ):
        threads += some
    return threads


def _print(found: Pruned, expired: int | None, *, dry_run: bool) -> None:
    counts = f"{found.checkpoints:,} checkpoints of {found.threads:,} threads"
    items = "" if expired is None else f", and {expired:,} expired items of the memory store"
    if dry_run:
        line = f"{counts}{items} would be deleted. Nothing was deleted."
    else:
        line = f"{counts} deleted, with {found.writes:,} writes and {found.blobs:,} values{items}."
    stdout().print(Text(line), soft_wrap=True)
