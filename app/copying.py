"""Copying a log from one database to another of any kind, and comparing both ends."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar

from sqlalchemy import URL, Table
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only, greenlet_spawn

from threadlog.backends import PoolSize, backend_of, parse_url, show_url
from threadlog.backends.hosts import servers_of
from threadlog.engines import open_engine
from threadlog.errors import ConfigurationError, CopyEndError, StorageError, ThreadlogError
from threadlog.models import MESSAGES, PARTS, PartName, SchemaPart
from threadlog.operations.carrying import Outcome, carry, differ
from threadlog.repositories import UnitOfWork
from threadlog.row_groups import ROW_GROUPS, GroupName, RowGroup
from threadlog.schema import verify_schema
from threadlog.sessions import undisturbed
from threadlog.store import OwnedStore, Store, retry_policy
from threadlog.validation import check_ids

T = TypeVar("T")

End: TypeAlias = Literal["source", "target"]
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
    if _are_one(*urls):
        raise ConfigurationError(
            f"The source and the target are the same database, {show_url(urls[0])}."
        )
    async with AsyncExitStack() as stack:
        ends = (
            _End("source", urls[0], exists=True),
            _End("target", urls[1], exists=not writes),
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


class _End:
    """One of the two databases."""

    def __init__(self, name: End, url: URL, *, exists: bool) -> None:
        """Make its engine; nothing connects yet.

        Raises:
            CopyEndError: the URL cannot be used, or names a file that is to exist and does not.
        """
        self.name, self._url = name, url
        self._limit = 0
        with self.named(ThreadlogError):
            self._backend = backend_of(url)
            file = self._backend.missing_file(url)
            if exists and file:
                raise ConfigurationError(f"There is no file {file!r}.")
            self.engine: AsyncEngine = open_engine(
                self._backend, url, PoolSize(0, 1), snapshots=name == "source"
            )

    def session(self) -> Session:
        """Give a session, to be used in a greenlet."""
        return Session(self.engine.sync_engine)

    def store(self, session: Session, part: SchemaPart) -> Store:
        """Give what runs units of work on a session, and says which end an error is of."""
        return _EndStore(self, session, part)

    def has_rows(self, part: SchemaPart) -> bool:
        """Say whether there are rows of a part of the schema; for use in a greenlet."""

        def work(uow: UnitOfWork) -> bool:
            tables = [table for group in _groups_of([part]) for table in group.tables]
            existing = uow.catalogue.tables(part)
            return any(uow.carried_rows(t).has_any() for t in tables if t.name in existing)

        return self.store(self.session(), part).read(work)

    def meet(self) -> None:
        """Connect for the first time, and verify the server; for use in a greenlet.

        Raises:
            CopyEndError: it cannot be reached, or is another one than is needed.
        """
        # The last three are what drivers raise about options of a URL.
        with self.named(ThreadlogError, TypeError, ValueError, OverflowError):
            self.store(self.session(), MESSAGES).read(self._backend.verify_server)

    def verify(self, part: SchemaPart, *, creates: bool) -> None:
        """Verify a part of the schema; for use in a greenlet.

        Args:
            part: the part.
            creates: whether an embedded database without tables is given them.

        Raises:
            CopyEndError: the database has not what is needed.
        """

        def work(uow: UnitOfWork) -> int:
            if creates:
                self._backend.initialise_schema(uow, part)
            verify_schema(uow, part)
            return self._backend.statement_limit(uow)

        store = self.store(self.session(), part)
        with self.named(ThreadlogError):
            self._limit = store.write(work, idempotent=True) if creates else store.read(work)

    @contextmanager
    def named(self, *errors: type[Exception]) -> Iterator[None]:
        """Have errors of the block say which end it is.

        Raises:
            CopyEndError: the block raised one.
        """
        try:
            yield
        except CopyEndError:
            raise  # of the other end, which was used inside the block
        except errors as error:
            where = show_url(self._url)
            raise CopyEndError(end=self.name, url=where, reason=str(error)) from error


class _EndStore(OwnedStore):
    """Runs units of work at one end."""

    def __init__(self, end: _End, session: Session, part: SchemaPart) -> None:
        retrying = retry_policy(lambda seconds: await_only(asyncio.sleep(seconds)))
        super().__init__(session, end._backend, part, end._limit, retrying=retrying)  # noqa: SLF001 - one of us
        self._end = end

    def read(self, work: Callable[[UnitOfWork], T]) -> T:
        with self._end.named(StorageError):
            return super().read(work)

    def write(self, work: Callable[[UnitOfWork], T], *, idempotent: bool = False) -> T:
        with self._end.named(StorageError):
            return super().write(work, idempotent=idempotent)


class _Walk:
    """Goes through the threads of the source, one after the other."""

    def __init__(
        self, source: _End, target: _End, named: Sequence[str] | None, report: Report
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
        return _groups_of(parts)

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
            return await self._run(differ, group, thread_id)
        for last in (False,) * _WAITS + (True,):
            outcome = await self._run(carry, group, thread_id, settled=not last, wrote=wrote)
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
            stores = [end.store(end.session(), group.part) for end in ends]
            return operation(*stores, group, *args, **kwargs)

        return await undisturbed(greenlet_spawn(work))

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
        return await self._read(group, lambda uow: uow.carried_rows(table).count_threads())

    async def _read(self, group: RowGroup, work: Callable[[UnitOfWork], T]) -> T:
        store = self._source.store(self._source.session(), group.part)
        return await undisturbed(greenlet_spawn(store.read, work))

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
    rows = uow.carried_rows(tables[place])
    return rows.thread_ids(after=after, limit=_THREADS_AT_ONCE, but=tables[:place])


def _groups_of(parts: Sequence[SchemaPart]) -> list[RowGroup]:
    return [group for group in ROW_GROUPS if group.part in parts]


def _are_one(one: URL, other: URL) -> bool:
    """Say whether two URLs lead to the same database, as far as URLs tell.

    Raises:
        ConfigurationError: a URL names a host that is none.
    """
    servers, others = _addresses(one), _addresses(other)
    if servers or others:
        return one.database == other.database and not servers.isdisjoint(others)
    files = [Path(url.database or "") for url in (one, other)]
    return all(file.is_file() for file in files) and files[0].samefile(files[1])


def _addresses(url: URL) -> set[tuple[str, int]]:
    """Give where the servers of a URL listen; none where the database is a file."""
    found: set[tuple[str, int]] = set()
    for name, port in servers_of(url):
        found.add((name, port))
        with suppress(OSError):  # whoever connects to it will say so
            found |= {(str(known[4][0]), port) for known in socket.getaddrinfo(name, None)}
    return found
