"""``threadlog import``."""

import asyncio
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.progress import Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from threadlog.checkpointer import Checkpointer
from threadlog.cli.options import DEFAULT_URL, JsonOption, UrlOption
from threadlog.cli.output import (
    ReaderLeft,
    in_one_line,
    print_json,
    progress_bar,
    stderr,
    stdout,
)
from threadlog.errors import InvalidInputError, ThreadOwnedError
from threadlog.importing.import_log import import_into, parse_line


@dataclass(slots=True)
class _Summary:
    """The result of an import."""

    file: str
    conversations: int = 0
    """Lines that are not empty."""

    imported: int = 0
    """Conversations of which messages were appended."""

    unchanged: int = 0
    """Conversations that were complete already."""

    messages: int = 0
    """Messages that were appended."""

    unnamed: int = 0
    """Conversations without thread_id, stored under file and line."""

    bad: list[dict[str, int | str]] = field(default_factory=list)


def import_file(
    file: Annotated[
        typer.FileBinaryRead, typer.Argument(help="JSON Lines file, or - for standard input.")
    ],
    url: UrlOption = DEFAULT_URL,
    owner: Annotated[
        str | None, typer.Option(show_default=False, help="The owner of the threads.")
    ] = None,
    *,
    json: JsonOption = False,
) -> None:
    """Import conversations in chat-completions form from a JSON Lines file.

    Each line is {"thread_id": …, "extra": …, "messages": […]},
    {"messages": […]} or a list of messages. Without thread_id the id is the
    file's name (or "stdin") and the line's number. The text of an initial
    system message is stored as "system" in the thread's extra.

    Importing again duplicates nothing: only missing messages are appended,
    and a thread that was continued since is left unchanged. Invalid lines
    are reported and the others are imported; the exit status is then 1.

    \b
    Example:
      threadlog import conversations.jsonl --url sqlite:///threadlog.db
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
    summary = asyncio.run(_import(file, url, owner))
    if summary.unnamed:
        stderr().print(Text(_hint(file, summary.unnamed), style="dim"), soft_wrap=True)
    with suppress(ReaderLeft):  # the exit status still matters
        if json:
            print_json(asdict(summary))
        else:
            _print_summary(summary)
    if summary.bad:
        raise typer.Exit(1)


async def _import(file: BinaryIO, url: str, owner: str | None) -> _Summary:
    name = _name(file)
    summary = _Summary(str(name))
    async with Checkpointer(url) as checkpointer:
        with _progress(file) as progress:
            for number, line in enumerate(file, start=1):
                try:
                    await _import_line(checkpointer, name.stem, number, line, summary, owner)
                except (InvalidInputError, ThreadOwnedError) as error:
                    summary.bad.append({"line": number, "reason": str(error)})
                    fault = in_one_line(f"{name}:{number}: {error}")
                    progress.console.print(Text(fault), soft_wrap=True)
                counts = f"{summary.imported:,} imported, {summary.unchanged:,} unchanged"
                progress.update(progress.task_ids[0], advance=len(line), counts=counts)
    return summary


async def _import_line(
    checkpointer: Checkpointer,
    stem: str,
    number: int,
    line: bytes,
    summary: _Summary,
    owner: str | None,
) -> None:
    if not line.strip():
        return
    summary.conversations += 1
    line_name = f"{stem}:{number}"
    conversation = parse_line(line, line_name)
    appended = await import_into(checkpointer, conversation, owner=owner)
    summary.unnamed += conversation.thread_id == line_name
    if appended:
        summary.imported += 1
        summary.messages += appended
    else:
        summary.unchanged += 1


def _name(file: BinaryIO) -> Path:
    return Path("stdin" if file.name == "<stdin>" else file.name)


def _progress(file: BinaryIO) -> Progress:
    """Return a progress bar over the bytes of the file."""
    progress = progress_bar(
        TaskProgressColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[counts]}", markup=False, style="dim"),
    )
    size = os.fstat(file.fileno()).st_size
    # A pipe has no size: its bar is indeterminate.
    progress.add_task(in_one_line(_name(file).name), total=size or None, counts="")
    return progress


def _print_summary(summary: _Summary) -> None:
    bad = len(summary.bad)
    text = Text.assemble(
        (f"{summary.imported:,} imported", "green"),
        f" ({summary.messages:,} messages), {summary.unchanged:,} unchanged, ",
        (f"{bad:,} bad", "bold red" if bad else ""),
    )
    stdout().print(text, soft_wrap=True)


def _hint(file: BinaryIO, unnamed: int) -> str:
    which, verb = ("conversation", "is") if unnamed == 1 else ("conversations", "are")
    name = in_one_line(_name(file).stem)
    return f"{unnamed:,} {which} without thread_id {verb} named {name}:LINE."
