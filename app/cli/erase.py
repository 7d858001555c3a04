"""``threadlog erase``."""

import asyncio
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.progress import MofNCompleteColumn, TextColumn
from rich.text import Text

from threadlog.cli.open import existing_client
from threadlog.cli.options import DEFAULT_URL, JsonOption, UrlArgument, UrlOption, one_url
from threadlog.cli.output import (
    INTERRUPTED,
    ReaderLeft,
    fail,
    in_one_line,
    print_json,
    progress_bar,
    stdout,
)
from threadlog.erasing import Erased, Forks, OwnerErasure
from threadlog.erasing.erase import erase_thread
from threadlog.errors import ErasureIncompleteError, ThreadHasForksError, ThreadlogError
from threadlog.repositories.graph.store_item import SEPARATOR


def erase(
    context: typer.Context,
    argument: UrlArgument = None,
    url: UrlOption = DEFAULT_URL,
    thread: Annotated[
        str | None,
        typer.Option("--thread", metavar="ID", show_default=False, help="Erase this thread."),
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option("--owner", show_default=False, help="Erase all threads of this owner."),
    ] = None,
    memories: Annotated[
        list[str] | None,
        typer.Option(
            "--memories",
            metavar="PREFIX",
            show_default=False,
            help="Erase also the memories of this namespace and all below it, such as users.42; "
            "may be repeated.",
        ),
    ] = None,
    *,
    forks: Annotated[
        Forks,
        typer.Option(
            help="Forks have copies of messages. refuse: leave a thread that has forks; erase: "
            "erase its forks too; detach: keep them. Forks of the same owner are always erased."
        ),
    ] = "refuse",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Erase nothing; count what would be erased.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    json: JsonOption = False,
) -> None:
    """Erase a thread or an owner from all tables; nothing brings it back.

    Erased are messages, runs, questions, answers, state of graphs, rows of
    servers, thread control and the search index. Each thread is one
    transaction, which verifies that nothing is left. The report has ids,
    counts and the time, and no contents: keep it for the audit. Backups,
    replicas and files of the database may have copies; see docs/erasure.md.

    \b
    Example:
      threadlog erase --owner alice --memories users.alice --dry-run
      threadlog erase --thread order-17 --yes --json
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
    if (thread is None) == (owner is None):
        raise typer.BadParameter("Name a thread or an owner.", param_hint="--thread")
    if not (dry_run or yes):
        _confirm(thread, owner)
    prefixes = [tuple(prefix.split(SEPARATOR)) for prefix in memories or ()]
    options: dict[str, Any] = {"memories": prefixes, "forks": forks, "dry_run": dry_run}
    target = one_url(context, argument, url)
    erasure = None if owner is None else OwnerErasure(owner, **options)
    failure: ThreadlogError | None = None
    try:
        if erasure is None:
            erased = asyncio.run(_erase_thread(target, str(thread), options))
        else:
            erased = asyncio.run(_erase_owner(target, erasure))
    except ThreadHasForksError as error:
        raise fail(
            f"Thread {error.thread_id!r} has forks, which have copies of its messages. Use "
            "--forks erase or --forks detach."
        ) from error
    except ThreadlogError as error:
        incomplete = isinstance(error, ErasureIncompleteError)
        if erasure is None or not (erasure.threads or incomplete):
            raise
        failure, erased = error, erasure.erased  # what is erased is reported all the same
    left = failure.left if isinstance(failure, ErasureIncompleteError) else {}
    with suppress(ReaderLeft):
        if json:
            print_json({**asdict(erased), "left": left})
        else:
            _print(erased, left)
    if failure is not None:
        raise failure


def has_terminal() -> bool:
    """Return True if a person can answer."""
    return sys.stdin is not None and sys.stdin.isatty()  # None if closed


def _confirm(thread: str | None, owner: str | None) -> None:
    """Ask whether to erase.

    Raises:
        Exit: there is no terminal to ask at, or Ctrl-C was pressed.
        Abort: the answer is no.
    """
    if not has_terminal():
        raise fail("There is no terminal to ask for confirmation. Use --yes, or --dry-run.")
    name = f"all threads of owner {owner}" if thread is None else f"thread {thread}"
    try:
        typer.confirm(f"Erase {in_one_line(name)}?", abort=True, err=True)
    except typer.Abort as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise fail("Interrupted. Nothing was erased.", INTERRUPTED) from None
        raise


async def _erase_thread(url: str, thread_id: str, options: dict[str, Any]) -> Erased:
    async with existing_client(url) as client:
        return await client.write(erase_thread, thread_id, **options)


async def _erase_owner(url: str, erasure: OwnerErasure) -> Erased:
    bar = progress_bar(MofNCompleteColumn(), TextColumn("threads"))
    async with existing_client(url) as client:
        with bar as progress:
            task = progress.add_task("Erasing", total=None)
            while not erasure.done:
                await client.write(erasure.step)
                total = max(erasure.total, erasure.threads)
                progress.update(task, completed=erasure.threads, total=total)
    return erasure.erased


def _print(erased: Erased, left: dict[str, str]) -> None:
    rows = {name: count for name, count in erased.rows.items() if count}
    counts = f"{sum(rows.values()):,} rows of {len(erased.thread_ids):,} threads"
    if erased.dry_run:
        line = f"{counts} would be erased. Nothing was erased."
    else:
        line = f"{counts} erased, verified at {erased.finished_at:%Y-%m-%d %H:%M:%S} UTC."
    console = stdout()
    console.print(Text(line), soft_wrap=True)
    for name, count in rows.items():
        console.print(Text(f"  {name}: {count:,}"), soft_wrap=True)
    for fork in erased.detached_forks:
        console.print(Text(f"  kept, with copies: fork {in_one_line(fork)}"), soft_wrap=True)
    for thread_id, reason in left.items():
        console.print(Text(f"  not erased: {in_one_line(thread_id)}: {reason}"), soft_wrap=True)
