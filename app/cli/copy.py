"""``threadlog copy``."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Annotated, Final

import typer
from rich.progress import MofNCompleteColumn, TaskID, TextColumn
from rich.text import Text

from threadlog.cli.options import JsonOption, PartOption
from threadlog.cli.output import ReaderLeft, fail, in_one_line, print_json, progress_bar, stdout
from threadlog.copying.copy import Copied, Fault, compare_databases, copy_database
from threadlog.copying.row_groups import GroupName
from threadlog.databases.urls import parse_url, show_url
from threadlog.models import PartName

_NAMES: Final[dict[GroupName, str]] = {
    "messages": "messages",
    "checkpoints": "checkpoints of graphs",
    "metadata": "metadata of threads and runs",
}


@dataclass(frozen=True, slots=True)
class _Request:
    """The arguments of the command."""

    source: str
    target: str
    threads: list[str] | None
    part: PartName | None
    compare: bool


def copy(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE_URL",
            envvar="THREADLOG_SOURCE_URL",
            show_default=False,
            help="The database to read.",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET_URL",
            envvar="THREADLOG_TARGET_URL",
            show_default=False,
            help="The database to write to.",
        ),
    ],
    *,
    thread: Annotated[
        list[str] | None,
        typer.Option(metavar="THREAD", help="Only the thread with this id; may be repeated."),
    ] = None,
    part: PartOption = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Only compare the databases; copy nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Copy threads from one database to another of any kind.

    Copies whole threads unchanged: messages, runs, forks, questions, answers,
    times, and the state of graphs if the source has it. The source is only
    read. The target must have the tables (threadlog migrate); an SQLite file
    is created. Each thread is compared in both databases after the copy.

    If interrupted, run it again: it continues, and duplicates nothing. A
    thread that was continued in the source is updated; a thread with other
    content in the target is reported and left unchanged. The exit status is 1
    unless both databases have the same threads in the end.

    \b
    Example:
      threadlog migrate mysql://user:password@localhost:3306/app
      threadlog copy sqlite:///threadlog.db mysql://user:password@localhost/app
      threadlog copy sqlite:///a.db sqlite:///b.db --thread order-17
      threadlog copy sqlite:///a.db sqlite:///b.db --compare
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
    request = _Request(source, target, thread or None, part, compare)
    try:
        groups = asyncio.run(_copy(request))
    except KeyboardInterrupt:
        advice = "" if compare else " Run it again to continue."
        raise fail(f"Interrupted.{advice}") from None
    same = not any(group.faults for group in groups)
    with suppress(ReaderLeft):  # the exit status still matters
        if json:
            print_json(_as_json(request, groups, same=same))
        else:
            _print(request, groups, same=same)
    if not same:
        raise typer.Exit(1)


async def _copy(request: _Request) -> list[Copied]:
    operation = compare_databases if request.compare else copy_database
    bars = _Bars()
    with bars.progress:
        return await operation(
            request.source,
            request.target,
            threads=request.threads,
            part=request.part,
            report=bars.report,
        )


class _Bars:
    """Progress bars of the groups of rows, and a line for each fault."""

    def __init__(self) -> None:
        self.progress = progress_bar(
            MofNCompleteColumn(),
            TextColumn("threads"),
            TextColumn("{task.fields[counts]}", style="dim"),
        )
        self._bars: dict[GroupName, TaskID] = {}

    def report(self, copied: Copied, fault: Fault | None) -> None:
        """Show the progress."""
        if copied.group not in self._bars:
            self._bars[copied.group] = self.progress.add_task(copied.group, counts="")
        if fault is not None:
            line = f"{fault.kind}: thread {fault.thread_id!r}: {'; '.join(fault.reasons)}"
            self.progress.console.print(Text(in_one_line(line)), soft_wrap=True)
        self.progress.update(
            self._bars[copied.group],
            completed=copied.threads,
            # The source may get more threads meanwhile.
            total=max(copied.total, copied.threads),
            counts=f"{copied.rows:,} rows",
        )


def _print(request: _Request, groups: Sequence[Copied], *, same: bool) -> None:
    console = stdout()
    for group in groups:
        bad = len(group.faults)
        counts = f"{group.copied:,} copied ({group.rows:,} rows), {group.unchanged:,} unchanged"
        if request.compare:
            counts = f"{group.unchanged:,} the same"
        line = Text.assemble(
            (f"{_NAMES[group.group]}: ", "bold"),
            f"{counts}, ",
            (f"{bad:,} bad", "bold red" if bad else ""),
        )
        console.print(line, soft_wrap=True)
    if same:
        console.print(Text(_conclusion(request, groups), style="green"), soft_wrap=True)


def _conclusion(request: _Request, groups: Sequence[Copied]) -> str:
    if not any(group.threads for group in groups):
        return "The source has no threads."
    what = "these threads" if request.threads else "all threads"
    if not request.compare and not any(group.copied for group in groups):
        return f"Nothing to do: the target has {what} already."
    return f"Compared: the target has {what} as in the source."


def _as_json(request: _Request, groups: Sequence[Copied], *, same: bool) -> dict[str, object]:
    return {
        "source": show_url(parse_url(request.source)),
        "target": show_url(parse_url(request.target)),
        "compared_only": request.compare,
        "same": same,
        "groups": [{**asdict(group), "threads": group.threads} for group in groups],
    }
