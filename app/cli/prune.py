"""``threadlog prune``."""

import asyncio
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Final

import typer
from rich.progress import MofNCompleteColumn, TextColumn
from rich.text import Text

from threadlog.cli.open import existing_graphs
from threadlog.cli.options import DEFAULT_URL, JsonOption, UrlArgument, UrlOption, age, one_url
from threadlog.cli.output import ReaderLeft, print_json, progress_bar, stdout
from threadlog.cli.prune_messages import print_summary, prune_messages
from threadlog.errors import CubepiSchemaUninitialized
from threadlog.graph import memories, pruning
from threadlog.graph.client import GraphClient
from threadlog.graph.pruning import Pruned, Strategy
from threadlog.log import append_keys
from threadlog.log.retention import Pruning
from threadlog.models import CONTROL, STORE

_OF_GRAPHS: Final = ("strategy", "keep_keys")
_OF_MESSAGES: Final = (
    "keep_last",
    "owner",
    "ignore_forks",
    "ignore_open_runs",
    "ignore_questions",
)

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
            help="Prune what is at least of this age: 30m, 12h, 90d.",
        ),
    ],
    strategy: Annotated[
        Strategy,
        typer.Option(
            help="keep_latest: delete old checkpoints except the newest of each thread and graph; "
            "delete: delete whole threads if all of their checkpoints are old.",
        ),
    ] = "keep_latest",
    keep_keys: Annotated[
        timedelta,
        typer.Option(
            parser=age,
            metavar="AGE",
            help="Keep keys of appends that are younger than this.",
        ),
    ] = "30d",  # type: ignore[assignment]  # as it would be typed; the parser converts it
    messages: Annotated[
        bool,
        typer.Option(
            "--messages",
            help="Prune the message log instead: delete threads that were last written to so "
            "long ago.",
        ),
    ] = False,
    keep_last: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default=False,
            help="With --messages: keep the threads, and the last N messages of each, back to a "
            "user message.",
        ),
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option(show_default=False, help="With --messages: only threads of this owner."),
    ] = None,
    ignore_forks: Annotated[
        bool,
        typer.Option("--ignore-forks", help="With --messages: also threads that have forks."),
    ] = False,
    ignore_open_runs: Annotated[
        bool,
        typer.Option("--ignore-open-runs", help="With --messages: also threads with open runs."),
    ] = False,
    ignore_questions: Annotated[
        bool,
        typer.Option(
            "--ignore-questions", help="With --messages: also threads with a pending question."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Delete nothing; count what would be deleted.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Delete old checkpoints of graphs, expired memories, and old keys of appends, or old threads.

    Without --messages messages are not changed; an append that is repeated
    with a deleted key is stored again. Checkpoints that the values of delta
    channels are computed from are kept. Each thread is one transaction: if
    interrupted, run it again to continue. Do not prune a thread while a run
    continues from one of its old checkpoints.

    With --messages only the message log is changed. Threads with forks, open
    runs or a pending question are left out and counted.

    \b
    Example:
      threadlog prune --older-than 90d --dry-run
      threadlog prune --older-than 90d --url mysql://user:password@localhost/app
      threadlog prune --older-than 90d --messages --keep-last 20
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
    url = one_url(context, argument, url)
    _check_options(context, messages=messages)
    if messages:
        pruning = Pruning(
            older_than,
            owner=owner,
            keep_last=keep_last,
            dry_run=dry_run,
            ignore_forks=ignore_forks,
            ignore_open_runs=ignore_open_runs,
            ignore_questions=ignore_questions,
        )
        summary = asyncio.run(prune_messages(url, pruning, dry_run=dry_run))
        with suppress(ReaderLeft):
            print_summary(summary, dry_run=dry_run, as_json=json)
        return
    found, expired, keys = asyncio.run(
        _prune(url, older_than, strategy, keep_keys, dry_run=dry_run)
    )
    with suppress(ReaderLeft):
        if json:
            others = {"expired_items": expired or 0, "append_keys": keys or 0}
            print_json({**asdict(found), **others, "dry_run": dry_run})
        else:
            _print(found, expired, keys, dry_run=dry_run)


def _check_options(context: typer.Context, *, messages: bool) -> None:
    """Raise BadParameter for an option of the other kind of pruning."""
    for name in _OF_GRAPHS if messages else _OF_MESSAGES:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            reason = "does not apply with --messages." if messages else "needs --messages."
            raise typer.BadParameter(f"{option} {reason}", param_hint=option)


async def _prune(
    url: str, older_than: timedelta, strategy: Strategy, keep_keys: timedelta, *, dry_run: bool
) -> tuple[Pruned, int | None, int | None]:
    """Prune all parts; return also the numbers of expired items and of old keys.

    A number is None if the database has no such part.
    """
    expired: int | None = None
    keys: int | None = None
    with suppress(CubepiSchemaUninitialized):
        expired = await _sweep(existing_graphs(url, STORE), dry_run=dry_run)
    with suppress(CubepiSchemaUninitialized):
        keys = await _prune_keys(existing_graphs(url, CONTROL), keep_keys, dry_run=dry_run)
    try:
        found = await _prune_graphs(existing_graphs(url), older_than, strategy, dry_run=dry_run)
    except CubepiSchemaUninitialized:
        if expired is None and keys is None:
            raise
        found = Pruned()
    return found, expired, keys


async def _prune_keys(client: GraphClient, keep: timedelta, *, dry_run: bool) -> int:
    await client.open()
    try:
        if dry_run:
            return await client.read(append_keys.count_old_keys, keep)
        total = 0
        while pruned := await client.write(append_keys.prune_keys, keep):
            total += pruned
        return total
    finally:
        await client.close()


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


def _print(found: Pruned, expired: int | None, keys: int | None, *, dry_run: bool) -> None:
    counts = f"{found.checkpoints:,} checkpoints of {found.threads:,} threads"
    items = "" if expired is None else f", and {expired:,} expired items of the memory store"
    items += f", and {keys:,} keys of appends" if keys else ""
    if dry_run:
        line = f"{counts}{items} would be deleted. Nothing was deleted."
    else:
        line = f"{counts} deleted, with {found.writes:,} writes and {found.blobs:,} values{items}."
    stdout().print(Text(line), soft_wrap=True)
