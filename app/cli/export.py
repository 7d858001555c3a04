"""``threadlog export``."""

import asyncio
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.progress import MofNCompleteColumn, TextColumn
from rich.text import Text

from threadlog.cli.open import existing_client
from threadlog.cli.options import DEFAULT_URL, OwnerOption, UrlArgument, UrlOption, one_url
from threadlog.cli.output import ReaderLeft, progress_bar, stderr
from threadlog.exporting import Export, ExportFormat
from threadlog.exporting.export import Exported


def export(
    context: typer.Context,
    argument: UrlArgument = None,
    url: UrlOption = DEFAULT_URL,
    *,
    thread: Annotated[
        list[str] | None,
        typer.Option(metavar="THREAD", help="Only the thread with this id; may be repeated."),
    ] = None,
    owner: OwnerOption = None,
    memories: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMESPACE",
            help="Items of the memory store below this namespace, such as users.ann; may be "
            "repeated. Without --thread and --owner all items are exported if it is not set.",
        ),
    ] = None,
    format_name: Annotated[
        ExportFormat,
        typer.Option(
            "--format", help="jsonl: everything, for threadlog import; or one conversation a line."
        ),
    ] = "jsonl",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", show_default=False, help="Default: standard output."),
    ] = None,
) -> None:
    """Write threads and memories as JSON Lines, which threadlog import reads back equal.

    Exports whole threads: messages, runs, forks, questions, answers, times,
    owners, and the state of graphs if the database has it. Each thread is of
    one point in time. The last line tells a whole file from one that was
    broken off.

    \b
    Example:
      threadlog export sqlite:///threadlog.db > export.jsonl
      threadlog export --owner ann --memories users.ann -o ann.jsonl
      threadlog export --thread order-17 --format openai_chat
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
    url = one_url(context, argument, url)
    namespaces = [name.split(".") for name in memories] if memories else None
    selected = Export(thread or None, owner, namespaces, format_name)
    with suppress(ReaderLeft), ExitStack() as stack:
        running = stack.enter_context(selected)
        file = sys.stdout.buffer if output is None else stack.enter_context(output.open("wb"))
        done = asyncio.run(_export(url, running, file))
        file.flush()
        _print_summary(done)


async def _export(url: str, running: Export, file: BinaryIO) -> Exported:
    columns = (MofNCompleteColumn(), TextColumn("threads"))
    async with existing_client(url) as client:
        with progress_bar(*columns) as progress:
            bar = progress.add_task("Exporting", total=await client.read(running.count))
            while await client.read(running.step):
                file.writelines(running.lines())
                progress.update(bar, completed=running.done.threads)
    return running.done


def _print_summary(done: Exported) -> None:
    items = f", {done.memories:,} items of the memory store" if done.memories else ""
    line = f"{done.threads:,} threads{items}: {done.lines:,} lines, {done.bytes:,} bytes."
    stderr().print(Text(line), soft_wrap=True)
