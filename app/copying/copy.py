"""Copying a log from one database to another of any kind, and comparing both ends."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, TypeAlias, TypeVar

from sqlalchemy import URL, Table
from sqlalchemy.util import greenlet_spawn

from threadlog.copying.copy_thread import Outcome, compare_thread, copy_thread
from threadlog.copying.end import CopyEnd, are_one
from threadlog.copying.row_groups import GroupName, RowGroup, groups_of
from threadlog.databases.urls import parse_url, show_url
from threadlog.encoding.validation import check_ids
from threadlog.errors import ConfigurationError
from threadlog.models import MESSAGES, PARTS, PartName
from threadlog.repositories import UnitOfWork
from threadlog.runtime.client import shield_with_grace

T = TypeVar("T")

FaultKind: TypeAlias = Literal["conflict", "different", "failed", "missing"]

_THREADS_AT_ONCE: Final = 500

# How often a thread that is written to all the time is waited for, a second at the most.
_WAITS: Final = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """A thread that is not the same at both ends."""

    thread_id: str
    kind: FaultKind
    """``conflict``: the target holds something else under this id, and keeps it;
    ``different``: both ends differ; ``failed``: it could not be copied; ``missing``: the
    source has no such thread."""

    reasons: list[str]
    """What differs, the first few rows of it, or what went wrong."""


@dataclass(slots=True)
class Copied:
    """What was done with one group of rows; while it is done, what has been so far."""

    group: GroupName
    """``messages``, ``checkpoints`` (the state of graphs) or ``metadata`` (the rows of
    threads and runs of a server of agents)."""

    total: int = 0
    """About how many threads there are to look at."""

    copied: int = 0
    """Threads that were copied, wholly or what was lacking, and are the same at both ends."""

    unchanged: int = 0
    """Threads that were the same at both ends already."""

    rows: int = 0
    """Rows that were written."""

    faults: list[Fault] = field(default_factory=list)

    @property
    def threads(self) -> int:
        """How many threads were looked at."""
        return self.copied + self.unchanged + len(self.faults)


Report: TypeAlias = Callable[[Copied, Fault | None], None]
"""Called after each thread, and after each page of a long one; with a fault where one is new."""


async def copy_database(
    source: str | URL,
    target: str | URL,
    *,
    threads: Sequence[str] | None = None,
    part: PartName | None = None,
    report: Report | None = None,
) -> list[Copied]:
    """Copy threads from one database to another, and compare both ends.

    All rows of a thread arrive as they are: bytes, JSON values, times to what the column can
    hold. The source is only read; each thread is of one point in time. The target gets a thread
    in one transaction, a long one in pages. Interrupted and run again, it goes on where it was:
    what is there is compared, never doubled. A thread that went on in the source since is
    brought up to date; one that holds something else in the target is left as it is. Threads
    that only the target has do not matter.

    Args:
        source: the database that is read, as for `Checkpointer`.
        target: the database that is written to. It must have the schema; an SQLite file is
            created and given it.
        threads: only these; their parents must be in the target, or among them.
        part: ``messages`` or ``graph``; where it is left out, what the source has.
        report: told of the progress.

    Returns:
        What was done, for each group of rows that was looked at.

    Raises:
        CopyEndError: one of the two databases cannot be used, or not any more.
        ConfigurationError: both are the same, or a URL cannot be used.
        InvalidInputError: an id cannot be one.
    """
    return await _go(source, target, threads, part, report, writes=True)


async def compare_databases(
    source: str | URL,
    target: str | URL,
    *,
    threads: Sequence[str] | None = None,
    part: PartName | None = None,
    report: Report | None = None,
) -> list[Copied]:
    """Compare what a copy would have copied, and write nothing; see `copy_database`."""
    return await _go(source, target, threads, part, report, writes=False)


async def _go(
    source: str | URL,
    target: str | URL,
    threads: Sequence[str] | None,
    part: PartName | None,
    report: Report | None,
    *,
    writes: bool,
) -> list[Copied]:
    named = None if threads is None else check_ids(threads, "threads")
    urls = parse_url(source), parse_url(target)
    if are_one(*urls):
        raise ConfigurationError(
            f"The source and the target are the same database, {show_url(urls[0])}."
        )
    async with AsyncExitStack() as stack:
        ends = (
            CopyEnd("source", urls[0], exists=True),
            CopyEnd("target", urls[1], exists=not writes),
        )
        for end in ends:
            stack.push_async_callback(end.engine.dispose)
        walk = _Walk(*ends, named, report or _tell_nobody)
        groups = await walk.begin(part, creates=writes)
        copied = [await walk.go(group, writes=writes) for group in groups]
        walk.miss(copied[0])
    return copied


def _tell_nobody(copied: Copied, fault: Fault | None) -> None:
    """Take a report of progress that nobody wants."""


class _Walk:
    """Goes through the threads of the source, one after the other."""

    def __init__(
        self, source: CopyEnd, target: CopyEnd, named: Sequence[str] | None, report: Report
    ) -> None:
        self._source, self._target = source, target
        self._named = named
        self._report = report
        self._seen: set[str] = set()
        """Of the threads that were named, those that there are."""

    async def begin(self, part: PartName | None, *, creates: bool) -> list[RowGroup]:
        """Verify both ends; give the groups of rows to look at."""
        # The target last, which may be a file that is created.
        await greenlet_spawn(self._source.meet)
        parts = [one for one in PARTS if part == one.name]
        if part is None:
            parts = [one for one in PARTS if await greenlet_spawn(self._source.has_rows, one)]
        parts = parts or [MESSAGES]
        for one in parts:
            await greenlet_spawn(self._source.verify, one, creates=False)
        await greenlet_spawn(self._target.meet)
        for one in parts:
            await greenlet_spawn(self._target.verify, one, creates=creates)
        return groups_of(parts)

    async def go(self, group: RowGroup, *, writes: bool) -> Copied:
        """Carry the threads of a group, or only compare them."""
        copied = Copied(group.name, await self._count(group))
        early: set[Any] = set()
        async for thread_id in self._thread_ids(group):
            if thread_id in early:
                continue
            # Its parents first, which may be anywhere in the order of the ids.
            line, tried = [thread_id], {thread_id}
            while line:
                outcome = await self._look(group, line[-1], copied, writes=writes)
                parent = outcome.parent
                if parent is not None and parent not in tried and self._named is None:
                    line.append(parent)
                    tried.add(parent)
                    continue
                self._note(copied, str(line.pop()), outcome)
            early |= tried - {thread_id}
        return copied

    def miss(self, copied: Copied) -> None:
        """Note the threads that were named and that there are not."""
        for thread_id in self._named or ():
            if thread_id not in self._seen:
                fault = Fault(thread_id, "missing", ["the source has no such thread"])
                copied.faults.append(fault)
                self._report(copied, fault)

    async def _look(
        self, group: RowGroup, thread_id: Any, copied: Copied, *, writes: bool
    ) -> Outcome:
        """Carry a thread, or only compare it."""

        def wrote(rows: int) -> None:
            copied.rows += rows
            self._report(copied, None)

        if not writes:
            return await self._run(compare_thread, group, thread_id)
        for last in (False,) * _WAITS + (True,):
            outcome = await self._run(copy_thread, group, thread_id, settled=not last, wrote=wrote)
            if outcome.status != "moving":
                break
            await asyncio.sleep(outcome.wait)
        return outcome

    async def _run(
        self, operation: Callable[..., Outcome], group: RowGroup, *args: Any, **kwargs: Any
    ) -> Outcome:
        """Run an operation over both ends in one greenlet, whose transactions end by themselves."""
        ends = (self._source, self._target)

        def work() -> Outcome:
            runners = [end.transactions(group.part) for end in ends]
            return operation(*runners, group, *args, **kwargs)

        return await shield_with_grace(greenlet_spawn(work))

    async def _thread_ids(self, group: RowGroup) -> AsyncIterator[Any]:
        """Give the threads that were named, or all of the source's."""
        if self._named is not None:
            for name in self._named:
                if (key := group.parse(name)) is not None:
                    yield key
            return
        for place in range(len(group.tables)):
            after = None
            while ids := await self._read(group, partial(_page, group.tables, place, after)):
                for thread_id in ids:
                    yield thread_id
                after = ids[-1]

    async def _count(self, group: RowGroup) -> int:
        if self._named is not None:
            return len(self._named)
        table = group.head if group.head is not None else group.tables[-1]
        return await self._read(group, lambda uow: uow.raw_rows(table).count_threads())

    async def _read(self, group: RowGroup, work: Callable[[UnitOfWork], T]) -> T:
        transactions = self._source.transactions(group.part)
        return await shield_with_grace(greenlet_spawn(transactions.read, work))

    def _note(self, copied: Copied, thread_id: str, outcome: Outcome) -> None:
        fault = None
        match outcome.status:
            case "missing":
                return  # deleted meanwhile, or in another group
            case "copied":
                copied.copied += 1
            case "unchanged":
                copied.unchanged += 1
            case "conflict" | "different" | "failed" as kind:
                fault = Fault(thread_id, kind, outcome.reasons)
            case _:
                fault = Fault(thread_id, "failed", outcome.reasons)
        if fault is not None:
            copied.faults.append(fault)
        self._seen.add(thread_id)
        self._report(copied, fault)


def _page(tables: Sequence[Table], place: int, after: Any, uow: UnitOfWork) -> list[Any]:
    """Give threads of which the first rows are in a table: none that came before."""
    rows = uow.raw_rows(tables[place])
    return rows.thread_ids(after=after, limit=_THREADS_AT_ONCE, but=tables[:place])
