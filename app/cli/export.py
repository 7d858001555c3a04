"""``threadlog export``."""

import asyncio
from contextlib import suppress
from typing import Annotated, BinaryIO

import typer
from rich.progress import MofNCompleteColumn, TextColumn
from rich.text import Text
from sqlalchemy import URL

from threadlog.cli.open import existing_client
from threadlog.cli.options import DEFAULT_URL, OwnerOption, UrlArgument, UrlOption, one_url
from threadlog.cli.output import (
    ReaderLeft,
    escape_json,
    in_one_line,
    not_written,
    progress_bar,
    stderr,
)
from threadlog.copying.end import is_same_database
from threadlog.databases.urls import parse_url
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
        typer.FileBinaryWrite,
        typer.Option("--output", "-o", help="File, or - for standard output."),
    ] = "-",  # type: ignore[assignment]  # as it would be typed; Typer opens the file
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
    name = getattr(output, "name", None)  # of a pipe it is a number, or missing
    if isinstance(name, str) and is_same_database(
        parse_url(url), URL.create("sqlite", database=name)
    ):
        raise typer.BadParameter("The file is the database. Choose another.", param_hint="--output")
    namespaces = [name.split(".") for name in memories] if memories else None
    with suppress(ReaderLeft), Export(thread or None, owner, namespaces, format_name) as running:
        try:
            asyncio.run(_export(url, running, output))
            output.flush()
        except OSError as error:
            with suppress(OSError):  # closing writes the rest
                output.close()
            raise not_written(in_one_line(str(name)), error) from error
        _print_summary(running.done)


async def _export(url: str, running: Export, file: BinaryIO) -> None:
    columns = (MofNCompleteColumn(), TextColumn("threads"))
    async with existing_client(url) as client:
        progress = progress_bar(*columns)
        progress.disable |= file.isatty()  # the lines would tear it
        with progress:
            bar = progress.add_task("Exporting", total=await client.read(running.count))
            while await client.read(running.step):
                lines = running.lines()
                file.writelines(map(_for_terminal, lines) if file.isatty() else lines)
                progress.update(bar, completed=running.done.threads)


def _for_terminal(line: bytes) -> bytes:
    return f"{escape_json(line.decode().rstrip())}\n".encode()


def _print_summary(done: Exported) -> None:
    items = f", {done.memories:,} items of the memory store" if done.memories else ""
    line = f"{done.threads:,} threads{items}: {done.lines:,} lines, {done.bytes:,} bytes."
    stderr().print(Text(line), soft_wrap=True)
