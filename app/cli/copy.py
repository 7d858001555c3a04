"""``threadlog copy``."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
from rich.progress import MofNCompleteColumn, TaskID, TextColumn
from rich.text import Text

from threadlog.cli.options import JsonOption, OwnerOption, PartOption
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
from threadlog.copying.copy import Copied, Fault, FaultKind, compare_databases, copy_database
from threadlog.copying.row_groups import GroupName
from threadlog.databases.urls import parse_url, show_url

_NAMES: Final[dict[GroupName, str]] = {
    "messages": "messages",
    "checkpoints": "checkpoints of graphs",
    "metadata": "metadata of threads and runs",
    "memories": "memories",
}
_ADVICE: Final[dict[FaultKind, str]] = {
    "conflict": "The target keeps its own content. To replace it by the source's, delete the "
    "thread or item in the target (delete_thread, or delete of the store), then copy again.",
    "different": "Run threadlog copy again, without --compare. It updates what is an earlier "
    "state of the source, and reports everything else as a conflict.",
    "failed": "Correct what the line names, then copy again. Threads that were copied stay.",
    "missing": "Check the ids, and that the source is the right database.",
}


def _url_argument(end: str, text: str) -> Any:
    """Return the argument of one of the two URLs, which may be in the environment."""
    variable = f"THREADLOG_{end}_URL"
    return typer.Argument(metavar=f"{end}_URL", envvar=variable, show_default=False, help=text)


def copy(
    source: Annotated[str, _url_argument("SOURCE", "The database to read.")],
    target: Annotated[str, _url_argument("TARGET", "The database to write to.")],
    *,
    thread: Annotated[
        list[str] | None,
        typer.Option(metavar="THREAD", help="Only the thread with this id; may be repeated."),
    ] = None,
    owner: OwnerOption = None,
    part: PartOption = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Only compare the databases; copy nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Copy threads and memories from one database to another of any kind.

    Copies whole threads unchanged: messages, runs, forks, questions, answers,
    times, owners, the state of graphs and items of the memory store if the
    source has them. The source is only read. The target must have the tables (threadlog
    migrate); an SQLite file is created. Each thread and item is compared in
    both databases after the copy.

    If interrupted, run it again: it continues, and duplicates nothing. A
    thread that was continued in the source is updated; a thread with other
    content in the target is reported and left unchanged. The exit status is 1
    unless both databases have the same threads in the end.

    \b
    Example:
      threadlog migrate mysql://user:password@localhost:3306/app
      threadlog copy sqlite:///threadlog.db mysql://user:password@localhost/app
      threadlog copy sqlite:///a.db sqlite:///b.db --thread order-17
      threadlog copy sqlite:///a.db sqlite:///b.db --owner ann
      threadlog copy sqlite:///a.db sqlite:///b.db --compare
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
    operation = compare_databases if compare else copy_database
    threads = thread or None
    bars = Bars()
    try:
        with bars.progress:
            work = operation(
                source, target, threads=threads, owner=owner, part=part, report=bars.report
            )
            groups = asyncio.run(work)
    except KeyboardInterrupt:
        advice = "" if compare else " Run it again to continue."
        raise fail(f"Interrupted.{advice}", INTERRUPTED) from None
    same = not print_advice(groups, _ADVICE)
    with suppress(ReaderLeft):  # the exit status still matters
        if json:
            document = {
                "source": show_url(parse_url(source)),
                "target": show_url(parse_url(target)),
                "compared_only": compare,
                "same": same,
                "groups": [{**asdict(group), "threads": group.threads} for group in groups],
            }
            print_json(document)
        else:
            print_groups(groups, compare=compare)
            if same:
                conclusion = _conclusion(groups, compare=compare, partial=bool(threads or owner))
                stdout().print(Text(conclusion, style="green"), soft_wrap=True)
    if not same:
        raise typer.Exit(1)


class Bars:
    """Progress bars of the groups of rows, and a line for each fault."""

    def __init__(self) -> None:
        self.progress = progress_bar(
            MofNCompleteColumn(),
            TextColumn("{task.fields[units]}"),
            TextColumn("{task.fields[counts]}", style="dim"),
        )
        self._bars: dict[GroupName, TaskID] = {}

    def report(self, copied: Copied, fault: Fault | None) -> None:
        """Show the progress."""
        if copied.group not in self._bars:
            self._bars[copied.group] = self.progress.add_task(
                copied.group, counts="", units="items" if copied.group == "memories" else "threads"
            )
        if fault is not None:
            name = f"thread {fault.thread_id!r}"
            if copied.group == "memories":
                name = f"item {fault.thread_id}"
            line = f"{fault.kind}: {name}: {'; '.join(fault.reasons)}"
            self.progress.console.print(Text(in_one_line(line)), soft_wrap=True)
        self.progress.update(
            self._bars[copied.group],
            completed=copied.threads,
            # The source may get more threads meanwhile.
            total=max(copied.total, copied.threads),
            counts=f"{copied.rows:,} rows",
        )


def print_advice(groups: Sequence[Copied], advice: Mapping[FaultKind, str]) -> bool:
    """Write what to do about each kind of fault; return True if there are faults."""
    kinds = {fault.kind for group in groups for fault in group.faults}
    for kind in advice:
        if kind in kinds:
            stderr().print(Text(f"{kind}: {advice[kind]}", style="dim"), soft_wrap=True)
    return bool(kinds)


def print_groups(groups: Sequence[Copied], *, compare: bool, verb: str = "copied") -> None:
    """Write a line for each group of rows."""
    console = stdout()
    for group in groups:
        bad = len(group.faults)
        counts = f"{group.copied:,} {verb} ({group.rows:,} rows), {group.unchanged:,} unchanged"
        if compare:
            counts = f"{group.unchanged:,} the same"
        line = Text.assemble(
            (f"{_NAMES[group.group]}: ", "bold"),
            f"{counts}, ",
            (f"{bad:,} bad", "bold red" if bad else ""),
        )
        console.print(line, soft_wrap=True)


def _conclusion(groups: Sequence[Copied], *, compare: bool, partial: bool) -> str:
    if not any(group.threads for group in groups):
        return "The source has no threads."
    whats = ["items" if group.group == "memories" else "threads" for group in groups]
    what = f"{'these' if partial else 'all'} {' and '.join(dict.fromkeys(whats))}"
    if not compare and not any(group.copied for group in groups):
        return f"Nothing to do: the target has {what} already."
    return f"Compared: the target has {what} as in the source."
