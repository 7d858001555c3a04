"""``threadlog import``."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated, BinaryIO, Final, TypedDict

import typer
from rich.progress import Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from threadlog.checkpointer import Checkpointer
from threadlog.cli.copy import Bars, print_advice, print_groups
from threadlog.cli.options import DEFAULT_URL, JsonOption, PartOption, UrlOption
from threadlog.cli.output import (
    INTERRUPTED,
    ReaderLeft,
    fail,
    in_one_line,
    print_json,
    progress_bar,
    stderr,
    stdout,
)
from threadlog.copying.copy import FaultKind, copy_database
from threadlog.databases.urls import parse_url, show_url
from threadlog.errors import (
    ConversationError,
    EncryptedRowError,
    InvalidInputError,
    ThreadOwnedError,
)
from threadlog.formats.transcript import FormatName, Unknown
from threadlog.importing import (
    import_into,
    is_export,
    parse_conversation,
    read_file,
    staged_export,
)
from threadlog.importing.read_file import FileItem
from threadlog.models import PartName

_ADVICE: Final[dict[FaultKind, str]] = {
    "conflict": "The database keeps its own content. To replace it by the file's, delete the "
    "thread or item there (delete_thread, or delete of the store), then import again.",
    "different": "Import the file again.",
    "failed": "Correct what the line names, then import again. Threads that were imported stay.",
}


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
    part: PartOption = None,
    json: JsonOption = False,
) -> None:
    """Import an export, or conversations of any of the formats, from a file.

    Each line is {"thread_id": …, "extra": …, "messages": […]} or a list of
    messages; the file may also be one JSON array of such conversations.
    Other values of a conversation, such as "tools", go into the thread's
    extra, and the text of an initial system message as "system". Without
    thread_id the id is the file's name (or "stdin") and the line's number.

    Importing again duplicates nothing: only missing messages are appended,
    and a thread that was continued or truncated since is left unchanged.
    Invalid lines are reported and the others are imported; the exit status
    is then 1.

    A file that threadlog export wrote is imported with everything in it. A
    file that is not whole is refused. A thread that has other content in the
    database is reported and left unchanged.

    \b
    Example:
      threadlog import conversations.jsonl --url sqlite:///threadlog.db
      threadlog import export.jsonl --url mysql://user:password@localhost/app
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
    reading: _Reading = {"format_name": format_name, "unknown": unknown}
    items = read_file(file)
    first = next(items, None)
    items = items if first is None else chain([first], items)
    if first is not None and is_export(first.raw):
        if format_name is not None:
            raise typer.BadParameter("The file is an export of threadlog.", param_hint="--format")
        _import_export(file, items, url, owner, part, json=json)
        return
    if part is not None:
        raise typer.BadParameter("The file is no export of threadlog.", param_hint="--part")
    summary = asyncio.run(_import(file, items, url, owner, reading))
    if summary.unnamed:
        stderr().print(Text(_hint(file, summary.unnamed), style="dim"), soft_wrap=True)
    with suppress(ReaderLeft):  # the exit status still matters
        if json:
            print_json(asdict(summary))
        else:
            _print_summary(summary)
    if summary.bad:
        raise typer.Exit(1)


def _import_export(
    file: BinaryIO,
    items: Iterator[FileItem],
    url: str,
    owner: str | None,
    part: PartName | None,
    *,
    json: bool,
) -> None:
    """Read the file into a temporary database, and copy its rows."""
    bars = Bars()
    try:
        with _progress(file) as progress, staged_export(_shown(items, progress), owner) as staged:
            progress.stop()
            with bars.progress:
                work = copy_database(staged.url, url, part=part, report=bars.report)
                groups = asyncio.run(work)
    except KeyboardInterrupt:
        raise fail("Interrupted. Run it again to continue.", INTERRUPTED) from None
    skipped = {name: count for name, count in staged.rows.items() if part not in {None, name}}
    is_bad = print_advice(groups, _ADVICE)
    with suppress(ReaderLeft):  # the exit status still matters
        if json:
            document = {
                "file": str(_name(file)),
                "target": show_url(parse_url(url)),
                "groups": [{**asdict(group), "threads": group.threads} for group in groups],
                "skipped_rows": skipped,
            }
            print_json(document)
        else:
            print_groups(groups, compare=False, verb="imported")
            for name, count in skipped.items():
                stdout().print(Text(f"Skipped {count:,} rows of the part {name}."), soft_wrap=True)
    if is_bad:
        raise typer.Exit(1)


def _shown(items: Iterator[FileItem], progress: Progress) -> Iterator[FileItem]:
    for item in items:
        progress.update(progress.task_ids[0], advance=item.size)
        yield item


async def _import(
    file: BinaryIO, items: Iterator[FileItem], url: str, owner: str | None, reading: _Reading
) -> _Summary:
    name = _name(file)
    summary = _Summary(str(name))
    async with Checkpointer(url) as checkpointer:
        with _progress(file) as progress:
            for item in items:
                try:
                    await _import_item(checkpointer, name.stem, item, owner, reading, summary)
                except (InvalidInputError, ThreadOwnedError, EncryptedRowError) as error:
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
