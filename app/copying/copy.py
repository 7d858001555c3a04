"""Copy threads and memories from one database to another of any kind, and compare both."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, TypeAlias, TypeVar

from sqlalchemy import URL, Table
from sqlalchemy.util import greenlet_spawn

from threadlog.copying.copy_items import copy_page
from threadlog.copying.copy_thread import Outcome, compare_thread, copy_thread
from threadlog.copying.end import CopyEnd, is_same_database
from threadlog.copying.row_groups import (
    GroupName,
    RowGroup,
    groups_of,
    with_control,
)
from threadlog.databases.urls import parse_url, show_url
from threadlog.encoding.validation import check_id, check_ids
from threadlog.errors import ConfigurationError
from threadlog.models import (
    ALL_PARTS,
    CONTROL,
    MESSAGES,
    PARTS,
    SEARCH,
    STORE,
    PartName,
    SchemaPart,
)
from threadlog.models.tables import APPEND_KEYS, OWNERS, TRUNCATIONS
from threadlog.repositories import UnitOfWork
from threadlog.repositories.transfer import RowKey
from threadlog.runtime.client import shield_with_grace

T = TypeVar("T")

FaultKind: TypeAlias = Literal["conflict", "different", "failed", "missing"]

_THREADS_AT_ONCE: Final = 500

# How often to wait, up to a second each, for a thread that is being written to.
_WAITS: Final = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """A thread, or an item of the memory store, that differs between the two databases."""

    thread_id: str
    """The thread; of an item of the memory store its namespace and key."""

    kind: FaultKind
    """``conflict``: the target has other content under this id, which stays; ``different``: the
    databases differ; ``failed``: the thread could not be copied; ``missing``: the thread is not
    in the source."""

    reasons: list[str]
    """The first few rows that differ, or the failure."""


@dataclass(slots=True)
class Copied:
    """The result of one group of rows, or its progress so far."""

    group: GroupName
    """``messages``, ``checkpoints`` (the state of graphs), ``metadata`` (the rows of threads and
    runs of a server of agents) or ``memories`` (the items of the memory store, which are counted
    as threads are)."""

    total: int = 0
    """Approximate number of threads to copy or compare."""

    copied: int = 0
    """Threads of which rows were copied, and which are now the same in both databases."""

    unchanged: int = 0
    """Threads that were the same in both databases already."""

    rows: int = 0
    """Rows that were written."""

    faults: list[Fault] = field(default_factory=list)

    @property
    def threads(self) -> int:
        """Number of threads copied or compared."""
        return self.copied + self.unchanged + len(self.faults)


Report: TypeAlias = Callable[[Copied, Fault | None], None]
"""Called after each thread and each transaction of a long thread, with a new fault if any."""


async def copy_database(
    source: str | URL,
    target: str | URL,
    *,
    threads: Sequence[str] | None = None,
    owner: str | None = None,
    part: PartName | None = None,
    report: Report | None = None,
) -> list[Copied]:
    """Copy threads and memories from one database to another, and compare the databases.

    All rows of a thread are copied unchanged: bytes, JSON values, and times in the precision of
    the column. The source is only read, each thread at one point in time. A short thread is
    written in one transaction, a long thread in several. A copy that was interrupted continues
    when run again: rows in the target are compared, never duplicated. A thread that the source
    continued since is updated; a thread with other content in the target is left unchanged.
    Threads that only the target has are ignored. The same holds for each item of the memory
    store; expired ones are not copied. Owners, keys of appends and truncations are copied with
    their threads, so that the target does not allocate a removed seq either; leases are not. A
    thread that has another owner in the target is left unchanged.

    Args:
        source: the database to read, as for `Checkpointer`.
        target: the database to write to. It must have the schema; an SQLite file is created
            with it.
        threads: copy only these, and no memories; their parents must be in the target, or among
            them.
        owner: copy only the threads of this owner, and no memories.
        part: the name of a part, such as ``graph``; None for the parts that the source has.
        report: called with the progress.

    Returns:
        The result of each group of rows.

    Raises:
        CopyEndError: one of the databases cannot be used, or not any more.
        ConfigurationError: both URLs lead to the same database, or a URL is not valid.
        InvalidInputError: an id is not valid.
    """
    return await _Copier(source, target, threads, owner, report, writes=True).run(part)


async def compare_databases(
    source: str | URL,
    target: str | URL,
    *,
    threads: Sequence[str] | None = None,
    owner: str | None = None,
    part: PartName | None = None,
    report: Report | None = None,
) -> list[Copied]:
    """Compare the threads that a copy would copy, and write nothing; see `copy_database`."""
    return await _Copier(source, target, threads, owner, report, writes=False).run(part)


class _Copier:
    """Copies or compares the threads of the source, one after the other."""

    def __init__(
        self,
        source: str | URL,
        target: str | URL,
        threads: Sequence[str] | None,
        owner: str | None,
        report: Report | None,
        *,
        writes: bool,
    ) -> None:
        if threads is not None and owner is not None:
            raise ConfigurationError("Name threads or an owner, not both.")
        if owner is not None:
            check_id(owner, "owner")
        self._named = None if threads is None else check_ids(threads, "threads")
        self._owner = owner
        self._is_partial = threads is not None or owner is not None
        urls = parse_url(source), parse_url(target)
        if is_same_database(*urls):
            raise ConfigurationError(
                f"The source and the target are the same database, {show_url(urls[0])}."
            )
        self._source = CopyEnd("source", urls[0], exists=True)
        self._target = CopyEnd("target", urls[1], exists=not writes)
        self._report = report or (lambda _copied, _fault: None)
        self._writes = writes
        self._seen: set[str] = set()
        """Ids of the threads that were found."""

    async def run(self, part: PartName | None) -> list[Copied]:
        """Copy or compare the groups of rows, and close both databases."""
        async with AsyncExitStack() as stack:
            for end in (self._source, self._target):
                stack.push_async_callback(end.engine.dispose)
            copied = [await self._run_group(group) for group in await self._begin(part)]
            self._add_missing(copied[0])
        return copied

    async def _begin(self, part: PartName | None) -> list[RowGroup]:
        """Verify both databases. Return the groups of rows to copy or compare."""
        parts = [one for one in ALL_PARTS if part == one.name]
        if parts == [STORE] and self._is_partial:
            raise ConfigurationError(
                "Items of the memory store belong to no thread. Copy them without naming threads."
            )
        if parts == [CONTROL]:
            raise ConfigurationError(
                "Thread control is copied with the messages. Use --part messages."
            )
        if parts == [SEARCH]:
            raise ConfigurationError(
                "The search index is not copied: a target that has it adds the messages that it "
                "is given. Use --part messages."
            )
        # The target last: its file may have to be created.
        await greenlet_spawn(self._source.verify_server)
        if part is None:
            parts = [one for one in PARTS if await greenlet_spawn(self._source.has_rows, one)]
            if self._is_partial and STORE in parts:
                parts.remove(STORE)
        parts = parts or [MESSAGES]
        for one in parts:
            await greenlet_spawn(self._source.verify, one, creates=False)
        await greenlet_spawn(self._target.verify_server)
        for one in parts:
            await greenlet_spawn(self._target.verify, one, creates=self._writes)
        if self._owner is not None:
            await greenlet_spawn(self._source.verify, CONTROL, creates=False)
        groups = groups_of(parts)
        if MESSAGES in parts and await self._has_control():
            return list(map(with_control, groups))
        return groups

    async def _has_control(self) -> bool:
        """Return True if thread control is copied; the target must then have its tables."""
        if not self._source.facts.has_control:
            return False
        if not self._target.facts.has_control:
            if not await self._read(CONTROL, _has_control_rows):
                return False
            await greenlet_spawn(self._target.verify, CONTROL, creates=self._writes)
        return True

    async def _run_group(self, group: RowGroup) -> Copied:
        """Copy or compare the threads of a group."""
        copied = Copied(group.name, await self._count(group))
        if group.part is STORE:
            await self._run_items(group, copied)
            return copied
        done: set[Any] = set()
        async for thread_id in self._thread_ids(group):
            if thread_id in done:
                continue
            # Its ancestors first, which may be anywhere in the order of ids.
            pending, tried = [thread_id], {thread_id}
            while pending:
                outcome = await self._process(group, pending[-1], copied)
                parent = outcome.parent
                if parent is not None and parent not in tried and not self._is_partial:
                    pending.append(parent)
                    tried.add(parent)
                    continue
                self._add(copied, str(pending.pop()), outcome)
            done |= tried - {thread_id}
        return copied

    async def _run_items(self, group: RowGroup, copied: Copied) -> None:
        """Copy or compare the items of the memory store."""
        after: RowKey | None = None
        while True:
            page = await self._run(copy_page, group, after, writes=self._writes)
            copied.rows += page.rows
            for name, outcome in page.outcomes:
                self._add(copied, name, outcome)
            if page.last is None:
                return
            after = page.last

    def _add_missing(self, copied: Copied) -> None:
        """Add a fault for each requested thread that the source does not have."""
        for thread_id in self._named or ():
            if thread_id not in self._seen:
                fault = Fault(thread_id, "missing", ["the source has no such thread"])
                copied.faults.append(fault)
                self._report(copied, fault)

    async def _process(self, group: RowGroup, thread_id: Any, copied: Copied) -> Outcome:
        """Copy or compare a thread."""

        def wrote(rows: int) -> None:
            copied.rows += rows
            self._report(copied, None)

        if not self._writes:
            return await self._run(compare_thread, group, thread_id)
        for last in (False,) * _WAITS + (True,):
            outcome = await self._run(copy_thread, group, thread_id, settled=not last, wrote=wrote)
            if outcome.status != "moving":
                break
            await asyncio.sleep(outcome.wait)
        return outcome

    async def _run(
        self, operation: Callable[..., T], group: RowGroup, *args: Any, **kwargs: Any
    ) -> T:
        """Run an operation on both databases in one greenlet, shielded from cancellation."""
        ends = (self._source, self._target)

        def work() -> T:
            runners = [end.transactions(group.part) for end in ends]
            return operation(*runners, group, *args, **kwargs)

        return await shield_with_grace(greenlet_spawn(work))

    async def _thread_ids(self, group: RowGroup) -> AsyncIterator[Any]:
        """Yield the ids of the requested threads, or of all of the source's."""
        if self._is_partial:
            async for name in self._requested():
                if (key := group.parse(name)) is not None:
                    yield key
            return
        for place in range(len(group.tables)):
            after = None
            while ids := await self._read(group.part, partial(_page, group.tables, place, after)):
                for thread_id in ids:
                    yield thread_id
                after = ids[-1]

    async def _requested(self) -> AsyncIterator[str]:
        """Yield the threads that were named, or those of the owner."""
        for name in self._named or ():
            yield name
        page: list[str] = []
        while self._owner is not None:
            read = partial(_owned, self._owner, page[-1] if page else None)
            page = await self._read(CONTROL, read)
            for name in page:
                yield name
            if len(page) < _THREADS_AT_ONCE:
                return

    async def _count(self, group: RowGroup) -> int:
        if self._named is not None:
            return len(self._named)
        if (owner := self._owner) is not None:
            return await self._read(CONTROL, lambda uow: uow.owners.count(owner))
        table = group.head if group.head is not None else group.tables[-1]
        if group.part is STORE:
            return await self._read(group.part, lambda uow: uow.raw_rows(table).count())
        return await self._read(group.part, lambda uow: uow.raw_rows(table).count_threads())

    async def _read(self, part: SchemaPart, work: Callable[[UnitOfWork], T]) -> T:
        read = self._source.transactions(part).read
        return await shield_with_grace(greenlet_spawn(read, work))

    def _add(self, copied: Copied, thread_id: str, outcome: Outcome) -> None:
        fault = None
        match outcome.status:
            case "missing":
                return  # deleted since, or in another group
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


def _has_control_rows(uow: UnitOfWork) -> bool:
    return any(uow.raw_rows(table).has_any() for table in (OWNERS, APPEND_KEYS, TRUNCATIONS))


def _owned(owner: str, after: str | None, uow: UnitOfWork) -> list[str]:
    return uow.owners.threads(owner, after=after, limit=_THREADS_AT_ONCE)


def _page(tables: Sequence[Table], place: int, after: Any, uow: UnitOfWork) -> list[Any]:
    """Return a page of the ids in a table that are not in the tables before it."""
    rows = uow.raw_rows(tables[place])
    return rows.thread_ids(after=after, limit=_THREADS_AT_ONCE, but=tables[:place])
