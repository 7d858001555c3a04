"""``threadlog import``."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from threadlog.checkpointer import Checkpointer
from threadlog.cli.options import DEFAULT_URL, JsonOption, UrlOption
from threadlog.cli.output import in_one_line, print_json, run, stderr, stdout
from threadlog.errors import InvalidInputError
from threadlog.importing import import_into, parse_line


@dataclass(slots=True)
class _BadLine:
    """A line that did not go in."""

    line: int
    reason: str


@dataclass(slots=True)
class _Summary:
    """What an import did."""

    file: str
    conversations: int = 0
    """Lines that are not empty."""

    imported: int = 0
    """Conversations of which messages were appended."""

    unchanged: int = 0
    """Conversations that were there already."""

    messages: int = 0
    """Messages that were appended."""

    bad: list[_BadLine] = field(default_factory=list)


def import_file(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="JSON Lines file.")
    ],
    url: UrlOption = DEFAULT_URL,
    *,
    json: JsonOption = False,
) -> None:
    """Import conversations in chat-completions form from a JSON Lines file.

    Each line is {"thread_id": …, "extra": …, "messages": […]},
    {"messages": […]} or a list of messages. Without thread_id it is the
    file's name and the line's number. The text of a system message at the
    beginning is kept as "system" in the thread's extra.

    Importing again adds nothing twice: a thread gets what it lacks, and one
    that was continued since is left as it is. Lines that cannot be kept are
    reported and the others go in; the exit status is then 1.

    \b
    Example:
      threadlog import conversations.jsonl --url sqlite:///threadlog.db
    """  # noqa: D301 - \b is Click's mark for lines that are not to be joined
    summary = run(_import(file, url, stderr()))
    if json:
        print_json(asdict(summary))
    else:
        _print_summary(summary)
    if summary.bad:
        raise typer.Exit(1)


async def _import(file: Path, url: str, console: Console) -> _Summary:
    summary = _Summary(str(file))
    async with Checkpointer(url) as checkpointer:
        with _progress(console, file) as progress:
            for number, line in _lines(file):
                try:
                    await _import_line(checkpointer, file, number, line, summary)
                except InvalidInputError as error:
                    summary.bad.append(_BadLine(number, str(error)))
                    where = in_one_line(f"{file}:{number}: {error}")
                    progress.console.print(Text(where), soft_wrap=True)
                counts = f"{summary.imported:,} imported, {summary.unchanged:,} unchanged"
                progress.update(progress.task_ids[0], advance=len(line), counts=counts)
    return summary


async def _import_line(
    checkpointer: Checkpointer, file: Path, number: int, line: bytes, summary: _Summary
) -> None:
    if not line.strip():
        return
    summary.conversations += 1
    conversation = parse_line(line, f"{file.stem}:{number}")
    appended = await import_into(checkpointer, conversation)
    if appended:
        summary.imported += 1
        summary.messages += appended
    else:
        summary.unchanged += 1


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    with file.open("rb") as opened:
        yield from enumerate(opened, start=1)


def _progress(console: Console, file: Path) -> Progress:
    """Give a bar over the bytes of the file, which does nothing unless it is seen."""
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[counts]}", markup=False, style="dim"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        disable=not console.is_terminal,
    )
    progress.add_task(in_one_line(file.name), total=file.stat().st_size, counts="")
    return progress


def _print_summary(summary: _Summary) -> None:
    bad = len(summary.bad)
    text = Text.assemble(
        (f"{summary.imported:,} imported", "green"),
        f" ({summary.messages:,} messages), {summary.unchanged:,} unchanged, ",
        (f"{bad:,} bad", "bold red" if bad else ""),
    )
    stdout().print(text, soft_wrap=True)
