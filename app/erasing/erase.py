"""Erase threads and owners: each thread in one transaction, verified and counted."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, Literal, TypeAlias, get_args

from sqlalchemy import Table

from threadlog.encoding.namespaces import stored_prefixes
from threadlog.encoding.validation import check_id, check_one_of, check_uuid
from threadlog.errors import (
    CheckpointerError,
    ErasureIncompleteError,
    InvalidIdError,
    InvalidInputError,
    ThreadHasForksError,
    ThreadReferencedError,
)
from threadlog.log.conditions import require_control
from threadlog.log.owners import resolve_owner
from threadlog.log.references import name_referring_table
from threadlog.models import ALL_PARTS, CONTROL, GRAPH, MESSAGES, METADATA, SEARCH, STORE, tables
from threadlog.models.part import SchemaPart
from threadlog.repositories import UnitOfWork
from threadlog.repositories.base import chunks
from threadlog.runtime.transactions import TransactionRunner
from threadlog.schema.verify import verify_schema

Forks: TypeAlias = Literal["refuse", "detach", "erase"]
"""Treatment of the forks of a thread that is erased: they have copies of its messages."""

NamespacePrefix: TypeAlias = Sequence[str]
"""The first labels of a namespace of the memory store."""

_PAGE: Final = 500

# How often a thread is deleted in its transaction, an owner's threads are listed, and a thread
# with new forks is looked at: more often only if a writer creates them faster.
_ATTEMPTS: Final = 10

# The order of deletion. Write owners before the rest of the graph: their savers are refused then.
_TABLES: Final[Mapping[str, Sequence[Table]]] = {
    SEARCH.name: (tables.SEARCH,),
    CONTROL.name: tables.OF_CONTROL,
    MESSAGES.name: (*tables.OF_THREAD, tables.THREADS),
    GRAPH.name: (tables.WRITE_OWNERS, tables.CHECKPOINTS, tables.WRITES, tables.BLOBS),
    METADATA.name: (tables.APP_RUNS, tables.APP_THREADS),
}
_BY_UUID: Final = _TABLES[METADATA.name]


@dataclass(frozen=True, slots=True)
class Erased:
    """Counts of the rows that were erased, or with a dry run would be; no contents."""

    thread_ids: tuple[str, ...]
    """The threads of which there were rows, in the order of their erasure."""

    rows: Mapping[str, int]
    """Number of erased rows by table, for each table in which there might have been some."""

    detached_forks: tuple[str, ...]
    """Forks that stay, with their copies of messages, without the link to an erased thread."""

    finished_at: datetime
    """Time of the last transaction: in UTC, by the database's clock."""

    owner: str | None = None
    """The owner, if an owner was erased."""

    dry_run: bool = False
    """True if nothing was erased."""


@dataclass(slots=True)
class _Found:
    """The result of the transaction of one thread."""

    rows: Counter[str] = field(default_factory=Counter)
    detached: list[str] = field(default_factory=list)
    forks: list[str] = field(default_factory=list)
    """Forks to erase before the thread, of which nothing was erased then."""

    finished_at: datetime | None = None

    def add_lost(self, lost: "_Found") -> None:
        """Add what an earlier attempt erased, if its COMMIT, which was lost, succeeded."""
        self.rows |= lost.rows  # the greater numbers
        self.detached = self.detached or lost.detached


def erase_thread(
    transactions: TransactionRunner,
    thread_id: str,
    *,
    memories: Sequence[NamespacePrefix] = (),
    forks: Forks = "refuse",
    dry_run: bool = False,
) -> Erased:
    """Erase a thread; see `Checkpointer.erase_thread`."""
    check_id(thread_id)
    runner, scope = resolve_owner(transactions, None)
    if scope is not None and memories:
        raise InvalidInputError(
            "Memories belong to no owner that threadlog knows. Erase them with a checkpointer "
            "that is not scoped."
        )
    erasure = _Erasure(scope, memories, forks, dry_run=dry_run)
    erasure.pending.append(thread_id)
    while not erasure.done:
        erasure.step(runner)
        for error in erasure.left.values():
            raise error
    return erasure.erased


class _Erasure:
    """Erases threads one after the other, forks before the threads they were forked from."""

    def __init__(
        self,
        owner: str | None,
        memories: Sequence[NamespacePrefix],
        forks: Forks,
        *,
        dry_run: bool,
    ) -> None:
        """Create the erasure of threads, of which `pending` has the first.

        Args:
            owner: the only owner whose threads are erased; None for any.
            memories: namespaces of the memory store to erase, each with all below it.
            forks: the treatment of forks.
            dry_run: whether to count rows and erase nothing.
        """
        check_one_of(forks, "forks", get_args(Forks))
        self.done = False
        self.pending: list[str] = []
        """Threads to erase, the next one last."""

        self.left: dict[str, CheckpointerError] = {}
        """Threads that were not erased, with the reason."""

        self._owner, self._forks, self._dry_run = owner, forks, dry_run
        self._prefixes = stored_prefixes(memories, "memories")
        self._parts: list[SchemaPart] | None = None
        self._threads: dict[str, None] = {}
        self._detached: dict[str, None] = {}
        self._rows = Counter[str]()
        self._visits = Counter[str]()
        self._foreign: set[str] = set()
        """Forks of other owners that are erased too."""

        self._finished_at: datetime | None = None

    @property
    def threads(self) -> int:
        """The number of threads that were erased so far."""
        return len(self._threads)

    @property
    def erased(self) -> Erased:
        """The counts so far."""
        existing = [*self._tables, *([tables.ITEMS] if STORE in (self._parts or ()) else [])]
        assert self._finished_at is not None  # noqa: S101 - the first step sets it
        return Erased(
            tuple(self._threads),
            {table.name: self._rows[table.name] for table in existing},
            tuple(self._detached),
            self._finished_at,
            dry_run=self._dry_run,
        )

    def step(self, transactions: TransactionRunner) -> None:
        """Run the next transaction.

        Raises:
            CubepiSchemaMismatch: a part of the schema has another version.
        """
        if self._parts is None:
            self._parts = transactions.read(self._look)
        elif self.pending:
            self._visit(transactions)
        elif self._prefixes:
            self._rows += self._run(transactions, self._erase_memories).rows
            self._prefixes.pop()
        else:
            self._finish(transactions)

    def _finish(self, transactions: TransactionRunner) -> None:
        """End the erasure."""
        self.done = True

    def _look(self, uow: UnitOfWork) -> list[SchemaPart]:
        """Return the parts that the database has."""
        names = uow.catalogue.existing_tables()
        parts = [part for part in ALL_PARTS if part.version_table.name in names]
        for part in parts or [MESSAGES]:  # of no part the error says how to create them
            if not parts or uow.schema_version(part).read() != [part.version]:
                verify_schema(uow, part)  # raises the error with its advice
        if self._owner is not None:
            uow.has_control = CONTROL in parts
            require_control(uow)
        self._finished_at = uow.catalogue.now()
        return parts

    @property
    def _tables(self) -> list[Table]:
        names = {part.name for part in self._parts or ()}
        return [table for name, each in _TABLES.items() if name in names for table in each]

    def _visit(self, transactions: TransactionRunner) -> None:
        """Erase the last of the pending threads, or add its forks to these."""
        thread_id = self.pending[-1]
        if self._dry_run and thread_id in self._threads:
            self.pending.pop()  # counted already, as a fork
            return
        self._visits[thread_id] += 1
        try:
            with name_referring_table(transactions, thread_id, self._tables):
                found = self._run(transactions, partial(self._erase, thread_id))
        except (ThreadHasForksError, ThreadReferencedError, ErasureIncompleteError) as error:
            self.left[thread_id] = error
            self.pending.pop()
            return
        if found.forks:
            self.pending += found.forks
            return
        self.pending.pop()
        self._detached.update(dict.fromkeys(found.detached))
        self._rows += found.rows
        if found.rows:
            self._threads[thread_id] = None

    def _run(self, transactions: TransactionRunner, work: Callable[[UnitOfWork], _Found]) -> _Found:
        """Run the transaction of a thread, or of memories."""
        lost = _Found()

        def attempt(uow: UnitOfWork) -> _Found:
            nonlocal lost
            parts = self._parts or ()
            uow.has_control, uow.has_search = CONTROL in parts, SEARCH in parts
            found = work(uow)
            if uow.lost_commits:
                found.add_lost(lost)
            lost = found
            found.finished_at = uow.catalogue.now()
            return found

        if self._dry_run:
            found = transactions.read(attempt)
        else:
            found = transactions.write(attempt, idempotent=True)
        self._finished_at = found.finished_at
        return found

    def _erase(self, thread_id: str, uow: UnitOfWork) -> _Found:
        """Erase a thread whose forks are erased already, or return these forks."""
        found = _Found()
        if MESSAGES in (self._parts or ()):
            owner = self._lock(uow, thread_id)
            is_known = self._owner is None or thread_id in self._foreign
            if not is_known and owner != (self._owner,):
                return found
            if owner is not None:
                found.forks, found.detached = self._divide(thread_id, uow.erasure.forks(thread_id))
                if found.forks:
                    return found
                if found.detached and not self._dry_run:
                    uow.threads.detach_forks(thread_id)
        found.rows = (self._count if self._dry_run else self._delete)(uow, thread_id)
        return found

    def _lock(self, uow: UnitOfWork, thread_id: str) -> tuple[str | None] | None:
        """Lock a thread unless nothing is erased; return its owner, None if not found."""
        if self._dry_run:
            found = uow.erasure.owner(thread_id)
        elif uow.has_control:
            locked = uow.owners.lock(thread_id)
            found = None if locked is None else (locked.owner,)
        else:
            found = (None,) if uow.threads.lock_existing(thread_id) else None
        if found is None and uow.has_control:
            found = uow.erasure.owner_without_thread(thread_id)
        return found

    def _divide(
        self, thread_id: str, forks: Mapping[str, str | None]
    ) -> tuple[list[str], list[str]]:
        """Return the forks of a thread to erase before it, and those to detach.

        Raises:
            ThreadHasForksError: a fork is neither, or could not be erased.
            ErasureIncompleteError: a writer adds forks as fast as they are erased.
        """
        first: list[str] = []
        detached: list[str] = []
        for fork, owner in forks.items():
            if self._dry_run and fork in self._threads:
                continue  # counted already
            match self._treatment(owner):
                case "detach":
                    detached.append(fork)
                case "erase" if fork not in self.left:
                    first.append(fork)
                    if self._owner is not None and owner != self._owner:
                        self._foreign.add(fork)
                case _:
                    raise ThreadHasForksError(thread_id=thread_id)
        if first and self._visits[thread_id] > _ATTEMPTS:
            raise ErasureIncompleteError(left={thread_id: "a writer forks it again and again"})
        return first, detached

    def _treatment(self, owner: str | None) -> Forks:
        """Return the treatment of a fork by its owner; in a scope no other's is erased."""
        if self._forks == "erase" and self._owner not in {None, owner}:
            return "refuse"
        return self._forks

    def _delete(self, uow: UnitOfWork, thread_id: str) -> Counter[str]:
        """Delete a thread's rows, verify that none are left, and return their numbers by table.

        Raises:
            ErasureIncompleteError: some are left, as another transaction goes on to write them.
        """
        rows, left = Counter[str](), Counter[str]()
        for _ in range(_ATTEMPTS):
            for table in self._tables:
                if (key := _key(table, thread_id)) is None:
                    continue
                if table is tables.APP_RUNS:  # no run is created once its thread is locked
                    uow.raw_rows(tables.APP_THREADS).lock(key)
                rows[table.name] += uow.erasure.delete(table, key)
            self._purge_index(uow)
            left = self._count(uow, thread_id)
            if not left:
                return +rows
        names = ", ".join(left)
        raise ErasureIncompleteError(left={thread_id: f"another transaction adds rows to {names}"})

    def _purge_index(self, uow: UnitOfWork) -> None:
        """Remove the words of deleted messages from the search index."""
        if uow.has_search:
            uow.erasure.purge_index()

    def _count(self, uow: UnitOfWork, thread_id: str) -> Counter[str]:
        """Return the numbers of a thread's rows by table, of those that have any."""
        rows = Counter[str]()
        for by_uuid in (False, True):
            some = [table for table in self._tables if (table in _BY_UUID) is by_uuid]
            key = _key(some[0], thread_id) if some else None
            if key is not None:
                counts = uow.count_rows(some, key)
                rows.update({table.name: number for table, number in counts.items()})
        return +rows

    def _erase_memories(self, uow: UnitOfWork) -> _Found:
        """Erase, or count, the memories of the last prefix, if the database has any."""
        if STORE not in (self._parts or ()):
            return _Found()
        items = uow.store_items
        prefix = self._prefixes[-1]
        number = items.count_below(prefix) if self._dry_run else items.delete_below(prefix)
        return _Found(Counter({tables.ITEMS.name: number}))


class OwnerErasure(_Erasure):
    """Erases an owner's threads and memories; see `Checkpointer.erase_owner`."""

    def __init__(
        self,
        owner: str,
        *,
        memories: Sequence[NamespacePrefix] = (),
        forks: Forks = "refuse",
        dry_run: bool = False,
    ) -> None:
        """Create the erasure; `step` runs one transaction, until `done`."""
        check_id(owner, "owner")
        super().__init__(owner, memories, forks, dry_run=dry_run)
        self.total = 0
        """The number of the owner's threads at the start; known after the first step."""

        self._name = owner
        self._after: str | None = None
        self._passes = 0
        self._new = False
        self._listed = False

    @property
    def erased(self) -> Erased:
        """The counts so far."""
        return replace(super().erased, owner=self._name)

    def step(self, transactions: TransactionRunner) -> None:
        """Run the next transaction.

        Raises:
            ErasureIncompleteError: after the last one, if a thread could not be erased.
            CubepiSchemaUninitialized: the database has no tables of thread control.
            CubepiSchemaMismatch: a part of the schema has another version.
        """
        if self._parts is None or self.pending or self._listed:
            super().step(transactions)
        else:
            self._list(transactions)

    def _look(self, uow: UnitOfWork) -> list[SchemaPart]:
        parts = super()._look(uow)
        self.total = uow.owners.count(self._name)
        return parts

    def _list(self, transactions: TransactionRunner) -> None:
        """List a page of the owner's threads; after the last page begin again.

        Until no new ones are found: a writer may have created some behind the last page.
        """
        page = transactions.read(
            lambda uow: uow.owners.threads(self._name, after=self._after, limit=_PAGE)
        )
        known = self._threads if self._dry_run else {}
        new = [each for each in page if each not in known and each not in self.left]
        if new and self._passes == _ATTEMPTS:
            reason = "a writer creates it again and again"
            self.left.update({each: ErasureIncompleteError(left={each: reason}) for each in new})
            new = []
        self.pending = new[::-1]
        self._new = self._new or bool(new)
        self._after = page[-1] if page else None
        if not page:
            self._listed = self._dry_run or not self._new
            self._passes, self._new = self._passes + 1, False

    def _treatment(self, owner: str | None) -> Forks:
        """Return the treatment of a fork by its owner: one of the same owner is erased."""
        return "erase" if owner == self._name else self._forks

    def _purge_index(self, uow: UnitOfWork) -> None:
        """Do nothing: it is done once, at the end."""

    def _finish(self, transactions: TransactionRunner) -> None:
        """Remove words from the search index, look for threads that exist again, and end."""
        self.done = True
        if not self._dry_run:
            if SEARCH in (self._parts or ()):
                transactions.write(lambda uow: uow.erasure.purge_index(), idempotent=True)
            for some in chunks(list(self._threads), _PAGE):
                for thread_id in transactions.read(partial(_ownerless, some)):
                    reason = "it was created again, without an owner"
                    self.left[thread_id] = ErasureIncompleteError(left={thread_id: reason})
        if self.left:
            reasons = {thread_id: _reason(error) for thread_id, error in self.left.items()}
            raise ErasureIncompleteError(left=reasons, owner=self._name, erased=self.erased)


def _ownerless(thread_ids: Sequence[str], uow: UnitOfWork) -> list[str]:
    uow.has_control = True
    return [each for each, owner in uow.erasure.existing(thread_ids).items() if owner is None]


def _reason(error: CheckpointerError) -> str:
    match error:
        case ErasureIncompleteError():
            return next(iter(error.left.values()))
        case ThreadReferencedError():
            return f"a row of {error.table} refers to it"
        case _:
            return "it has forks that are not erased"


def _key(table: Table, thread_id: str) -> Any | None:
    """Return a thread's id in the type of a table; None if it cannot be one there."""
    if table not in _BY_UUID:
        return thread_id
    try:
        return check_uuid(thread_id, "thread_id")
    except InvalidIdError:
        return None
