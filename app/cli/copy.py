"""``threadlog copy``."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from threadlog.cli.options import JsonOption, PartOption, part_name
from threadlog.cli.output import (
    ReaderLeft,
    fail,
    in_one_line,
    print_json,
    run,
    stderr,
    stdout,
)
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
    """What is to be copied, or compared."""

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
            help="The database that is read.",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET_URL",
            envvar="THREADLOG_TARGET_URL",
            show_default=False,
            help="The database that is written to.",
        ),
    ],
    *,
    thread: Annotated[
        list[str] | None,
        typer.Option(metavar="THREAD", help="Only the thread of this id; may be repeated."),
    ] = None,
    part: PartOption = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Copy nothing; only compare both ends.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Copy threads from one database to another of any kind.

    Whole threads, as they are: messages, runs, forks, questions, answers,
    times, and the state of graphs where the source has it. The source is
    only read. The target must have the tables (threadlog migrate); an SQLite
    file is created. Each thread is compared at both ends after it was copied.

    Interrupted and run again, it goes on where it was, and what is there
    already is not doubled. A thread that went on in the source is brought up
    to date; one that holds something else in the target is reported and left
    as it is. The exit status is 1 unless both ends hold the same in the end.

    \b
    Example:
      threadlog migrate mysql://user:password@localhost:3306/app
      threadlog copy sqlite:///threadlog.db mysql://user:password@localhost/app
      threadlog copy sqlite:///a.db sqlite:///b.db --thread order-17
      threadlog copy sqlite:///a.db sqlite:///b.db --compare
    """  # noqa: D301 - \b is Click's mark for lines that are not to be joined
    request = _Request(source, target, thread or None, part_name(part), compare)
    try:
        groups = run(_copy(request, stderr()))
    except KeyboardInterrupt:
        ask = "" if compare else " Run it again, and it goes on where it was."
        raise fail(f"Interrupted.{ask}") from None
    same = not any(group.faults for group in groups)
    with suppress(ReaderLeft):  # the exit status is asked for as well
        if json:
            print_json(_as_json(request, groups, same=same))
        else:
            _print(request, groups, same=same)
    if not same:
        raise typer.Exit(1)


async def _copy(request: _Request, console: Console) -> list[Copied]:
    act = compare_databases if request.compare else copy_database
    with _Bars(console) as bars:
        return await act(
            request.source,
            request.target,
            threads=request.threads,
            part=request.part,
            report=bars.report,
        )


class _Bars(Progress):
    """A bar for each group of rows, which is shown only if it is seen; and lines for faults."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("threads"),
            TextColumn("{task.fields[counts]}", style="dim"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._bars: dict[GroupName, TaskID] = {}

    def report(self, copied: Copied, fault: Fault | None) -> None:
        """Show what has been done so far."""
        if copied.group not in self._bars:
            self._bars[copied.group] = self.add_task(copied.group, counts="")
        if fault is not None:
            line = f"{fault.kind}: thread {fault.thread_id!r}: {'; '.join(fault.reasons)}"
            self.console.print(Text(in_one_line(line)), soft_wrap=True)
        self.update(
            self._bars[copied.group],
            completed=copied.threads,
            # Threads may come while it counts.
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
    what = "these threads" if request.threads else "all of it"
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
