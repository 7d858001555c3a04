"""``threadlog import``."""

import asyncio
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, BinaryIO, TypedDict

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
from threadlog.errors import ConversationError, InvalidInputError, ThreadOwnedError
from threadlog.formats.transcript import FormatName, Unknown
from threadlog.importing import import_into, parse_conversation, read_file
from threadlog.importing.read_file import FileItem


class _Reading(TypedDict):
    """The options of reading conversations."""

    format_name: FormatName | None
    unknown: Unknown


@dataclass(slots=True)
class _Summary:
    """The result of an import."""

    file: str
    conversations: int = 0
    """Conversations of the file, bad ones included."""

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
        typer.FileBinaryRead,
        typer.Argument(help="JSON Lines or JSON file, or - for standard input."),
    ],
    url: UrlOption = DEFAULT_URL,
    owner: Annotated[
        str | None, typer.Option(show_default=False, help="The owner of the threads.")
    ] = None,
    *,
    format_name: Annotated[
        FormatName | None,
        typer.Option(
            "--format", show_default=False, help="Told from each conversation if not set."
        ),
    ] = None,
    unknown: Annotated[
        Unknown, typer.Option(help="Values that messages have no field for: keep in metadata.")
    ] = "keep",
    json: JsonOption = False,
) -> None:
    """Import conversations of any of the formats from a file.

    Each line is {"thread_id": …, "extra": …, "messages": […]} or a list of
    messages; the file may also be one JSON array of such conversations.
    Other values of a conversation, such as "tools", go into the thread's
    extra, and the text of an initial system message as "system". Without
    thread_id the id is the file's name (or "stdin") and the line's number.

    Importing again duplicates nothing: only missing messages are appended,
    and a thread that was continued or truncated since is left unchanged.
    Invalid lines are reported and the others are imported; the exit status
    is then 1.

    \b
    Example:
      threadlog import conversations.jsonl --url sqlite:///threadlog.db
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
    reading: _Reading = {"format_name": format_name, "unknown": unknown}
    summary = asyncio.run(_import(file, url, owner, reading))
    if summary.unnamed:
        stderr().print(Text(_hint(file, summary.unnamed), style="dim"), soft_wrap=True)
    with suppress(ReaderLeft):  # the exit status still matters
        if json:
            print_json(asdict(summary))
        else:
            _print_summary(summary)
    if summary.bad:
        raise typer.Exit(1)


async def _import(file: BinaryIO, url: str, owner: str | None, reading: _Reading) -> _Summary:
    name = _name(file)
    summary = _Summary(str(name))
    async with Checkpointer(url) as checkpointer:
        with _progress(file) as progress:
            for item in read_file(file):
                try:
                    await _import_item(checkpointer, name.stem, item, owner, reading, summary)
                except (InvalidInputError, ThreadOwnedError) as error:
                    summary.bad.append({"line": item.number, "reason": str(error)})
                    fault = in_one_line(f"{name}:{item.number}: {error}")
                    progress.console.print(Text(fault), soft_wrap=True)
                counts = f"{summary.imported:,} imported, {summary.unchanged:,} unchanged"
                progress.update(progress.task_ids[0], advance=item.size, counts=counts)
    return summary


async def _import_item(
    checkpointer: Checkpointer,
    stem: str,
    item: FileItem,
    owner: str | None,
    reading: _Reading,
    summary: _Summary,
) -> None:
    summary.conversations += 1
    if isinstance(item.raw, ConversationError):
        raise item.raw
    conversation = parse_conversation(item.raw, f"{stem}:{item.number}", **reading)
    appended = await import_into(checkpointer, conversation, owner=owner)
    summary.unnamed += not conversation.is_named
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
