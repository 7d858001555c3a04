"""Threads: locking, listing and deleting them, reading and writing their `extra`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)

from threadlog.encryption import Place, from_json, refuse_encrypted
from threadlog.errors import ThreadHasForksError
from threadlog.models.deletion import tables_of_thread
from threadlog.models.dialects.json import as_text
from threadlog.models.dialects.locking import (
    Lock,
    LockingRead,
    lock_thread,
    try_advisory_lock,
    with_advisory_lock,
)
from threadlog.models.dialects.query_plans import IsWaiting, prevent_key_scan
from threadlog.models.dialects.time import is_before_clock, to_epoch
from threadlog.models.dialects.types import as_bytes, id_equals
from threadlog.models.dialects.upsert import insert_if_absent
from threadlog.models.tables import (
    APPEND_KEYS,
    LEASES,
    MESSAGES,
    OWNERS,
    RUNS,
    THREADS,
    TRUNCATIONS,
)
from threadlog.repositories.base import (
    Repository,
    Row,
    Statement,
    chunks,
    execute_in_order,
    locking_statements,
    parse_object,
)
from threadlog.repositories.log.lease import OF_LEASED_RUN, Fence, if_held

ThreadOrder: TypeAlias = Literal["id", "recent"]


_THREAD_ID: Final[BindParameter[str]] = bindparam("thread_id", type_=THREADS.c.thread_id.type)
_IS_THREAD: Final = THREADS.c.thread_id == _THREAD_ID

NEEDS_TOUCH: Final = is_before_clock(THREADS.c.updated_at)
"""The condition that ``updated_at`` is in an earlier second than the server's clock."""


# Every read locks. Under REPEATABLE READ a plain subquery would read the transaction's snapshot,
# miss seqs that were committed since, and allocate them a second time.
def last_seq(lock: Lock) -> ColumnElement[int]:
    """Return the seq of the newest message of the thread ``thread_id``, 0 if it has none."""
    newest = select(func.max(MESSAGES.c.seq)).where(MESSAGES.c.thread_id == bindparam("thread_id"))
    return func.coalesce(lock(newest).scalar_subquery(), 0)


def truncated_seq(lock: Lock) -> ColumnElement[int]:
    """Return the highest seq that was removed from the thread ``thread_id``, 0 if none was."""
    highest = select(func.max(TRUNCATIONS.c.last_seq)).where(
        TRUNCATIONS.c.thread_id == bindparam("thread_id")
    )
    return func.coalesce(lock(highest).scalar_subquery(), 0)


# Nearly always there is one run, and a list of parameters is rendered again each time.
_IS_RUN: Final = (id_equals(RUNS.c.run_id, bindparam("run_id")),)
_IS_ANY_RUN: Final = (
    RUNS.c.run_id.in_(bindparam("run_ids", expanding=True)),
    as_bytes(RUNS.c.run_id).in_(bindparam("run_ids", expanding=True)),
)


@cache
def _tail(
    *of_run: ColumnElement[bool], has_control: bool, more: tuple[Select[Any], ...] = ()
) -> LockingRead:
    """Return the read of a thread's end.

    Args:
        *of_run: the conditions on the runs among which to find a completed one.
        has_control: whether the database has thread control.
        more: what to read too.
    """

    def columns(lock: Lock) -> Sequence[ColumnElement[Any]]:
        completed = select(func.min(RUNS.c.run_id)).where(
            RUNS.c.thread_id == bindparam("thread_id"), *of_run, RUNS.c.completed_at.is_not(None)
        )
        return (
            last_seq(lock),
            NEEDS_TOUCH,
            lock(completed).scalar_subquery() if of_run else null(),
            truncated_seq(lock) if has_control else literal_column("0"),
            *(lock(each).scalar_subquery() for each in more),
        )

    return LockingRead(THREADS, _THREAD_ID, columns)


_OF_LEASE: Final = and_(LEASES.c.thread_id == bindparam("thread_id"), OF_LEASED_RUN)
_OF_KEY: Final = and_(
    APPEND_KEYS.c.thread_id == bindparam("thread_id"),
    id_equals(APPEND_KEYS.c.append_key, bindparam("append_key")),
)
_OWNER: Final = (select(OWNERS.c.owner).where(OWNERS.c.thread_id == bindparam("thread_id")),)
_CONTROL: Final = (
    *_OWNER,
    select(LEASES.c.token).where(_OF_LEASE),
    select(APPEND_KEYS.c.first_seq).where(_OF_KEY),
    select(APPEND_KEYS.c.last_seq).where(_OF_KEY),
)
# The key first: asyncmy reads a row that begins with a value of 16 MiB as the end of the rows.
_EXTRA: Final = (
    select(THREADS.c.thread_id, as_text(THREADS.c.extra)).where(_IS_THREAD).with_for_update()
)
_LOCK_EXTRA: Final = Statement(_EXTRA)
_LOCK_EXTRA_IF_HELD: Final = Statement(if_held(_EXTRA))
_OF_ID: Final = update(THREADS).where(THREADS.c.thread_id == bindparam("id"))
_WRITE_EXTRA: Final = Statement(_OF_ID.values(extra=bindparam("new", type_=THREADS.c.extra.type)))
_TOUCH: Final = Statement(_OF_ID)
_TOUCH_SEVERAL: Final = update(THREADS).where(
    THREADS.c.thread_id.in_(bindparam("thread_ids", expanding=True))
)

_SUMMARY: Final = select(
    THREADS.c.thread_id,
    THREADS.c.parent_thread_id,
    THREADS.c.forked_at_seq,
    to_epoch(THREADS.c.created_at).label("created_at"),
    to_epoch(THREADS.c.updated_at).label("updated_at"),
    THREADS.c.pending_request.is_not(None).label("waiting"),
)
# A subquery and no join, which could change how the page is found.
_OWNER_OF_THREAD: Final = (
    select(OWNERS.c.owner).where(OWNERS.c.thread_id == THREADS.c.thread_id).scalar_subquery()
)
_THREADS_OF_OWNER: Final = OWNERS.join(THREADS, OWNERS.c.thread_id == THREADS.c.thread_id)

# Subqueries in one statement: below every server's limit, and few enough for a cached plan.
_LAST_SEQS_AT_ONCE: Final = 100


class ThreadTail(NamedTuple):
    """The end of a locked thread."""

    last_seq: int
    """Seq of the newest message, 0 if the thread has none."""

    needs_touch: bool
    """Whether ``updated_at`` is in an earlier second than the server's clock."""

    completed_run: str | None
    """A completed run among the given runs, if any."""

    truncated_seq: int = 0
    """The highest seq that was removed from the thread, 0 if none was."""

    owner: str | None = None
    """The thread's owner; read if asked for, and the next fields with `ControlKeys` only."""

    lease_token: int | None = None
    """The token of the latest lease of a run; None if the run was never leased."""

    key_first_seq: int | None = None
    key_last_seq: int | None = None
    """The seqs of the messages that were appended with a key; None if none were."""

    @property
    def allocated_seq(self) -> int:
        """The highest seq that was ever allocated in the thread; the next one is free."""
        return max(self.last_seq, self.truncated_seq)


NO_TAIL: Final = ThreadTail(0, needs_touch=False, completed_run=None)
"""The end of a thread that does not exist."""


class ControlKeys(NamedTuple):
    """Keys of the rows of thread control to read together with the end of a thread."""

    leased_run_id: str = ""
    append_key: str = ""


class ThreadSummaryRow(NamedTuple):
    """A row of a listing of threads; times in seconds since 1970 UTC."""

    thread_id: str
    parent_thread_id: str | None
    forked_at_seq: int | None
    created_at: float
    updated_at: float
    waiting: int
    last_seq: int
    owner: str | None = None


class ThreadKey(NamedTuple):
    """Position in a listing: the thread after which the next page begins."""

    thread_id: str
    updated_at: datetime


class ThreadRepository(Repository):
    """Statements on threads, bound to one session."""

    def lock(self, thread_id: str) -> None:
        """Lock a thread, creating it if need be: one statement, or two for a new thread."""
        key = {"thread_id": thread_id}
        if self.uow.read_committed and self.uow.run(_lock(self.uow.dialect), key):
            return
        self._create(thread_id)

    def lock_existing(self, thread_id: str) -> bool:
        """Lock a thread; return False if it does not exist."""
        return bool(self.uow.run(_lock(self.uow.dialect), {"thread_id": thread_id}))

    def try_lock(self, thread_id: str) -> bool:
        """Lock a thread without waiting; return False if it is locked, or does not exist."""
        row = self.uow.run(_try_lock(self.uow.dialect), {"thread_id": thread_id}).first()
        return row is not None and bool(row[1])

    def lock_tail(
        self,
        thread_id: str,
        run_ids: Sequence[str] = (),
        *,
        is_new: bool = False,
        control: ControlKeys | None = None,
        with_owner: bool = False,
        creates: bool = True,
    ) -> ThreadTail:
        """Lock a thread, creating it if need be, and return the end of its log.

        The row lock is held until the transaction ends: until then no other transaction
        allocates a seq of the thread. On an existing thread it is one statement, or two if the
        database needs them.

        Args:
            thread_id: the thread.
            run_ids: runs among which to find a completed one.
            is_new: whether the thread was missing a moment ago.
            control: rows of thread control to read too, which the database must have.
            with_owner: whether to read the owner, without the others of these rows.
            creates: False to return `NO_TAIL` if the thread is missing.
        """
        more: dict[str, Any]
        has_control = self.uow.has_control
        owner = _OWNER if with_owner else ()
        if control is not None:
            read = _tail(*_IS_ANY_RUN, has_control=has_control, more=_CONTROL)
            more = {"run_ids": run_ids, **control._asdict()}
        elif not run_ids:
            read, more = _tail(has_control=has_control, more=owner), {}
        elif len(run_ids) == 1:
            read = _tail(*_IS_RUN, has_control=has_control, more=owner)
            more = {"run_id": run_ids[0]}
        else:
            read = _tail(*_IS_ANY_RUN, has_control=has_control, more=owner)
            more = {"run_ids": run_ids}
        statements = locking_statements(read, self.uow.dialect)
        row = (
            self._lock_or_create(statements, thread_id, more, is_new=is_new)
            if creates
            else execute_in_order(self.uow, statements, {"thread_id": thread_id, **more})
        )
        if row is None:
            return NO_TAIL
        seq, needs_touch, *rest = row
        return ThreadTail(seq, bool(needs_touch), *rest)

    def lock_tails(self, thread_ids: Iterable[str], *, wait: bool) -> dict[str, ThreadTail]:
        """Lock several threads, and return the ends of their logs, in two statements.

        Missing threads are skipped. Only for sessions at READ COMMITTED: the second statement
        sees what was committed before the first got its locks. (A single statement would need
        a correlated subquery, for which MySQL reads, and locks, all messages of each thread.)

        Args:
            thread_ids: the threads.
            wait: whether to wait for locked threads; if not, they are skipped too.

        Returns:
            The end of each thread, as from `lock_tail`, without a completed run; its `last_seq`
            is the highest that was ever allocated.
        """
        statement = _lock_several(self.uow.dialect, wait=wait)
        found = self.uow.execute(statement, {"thread_ids": sorted(thread_ids)}).all()
        rows = [row for row in found if row[2]]
        last = self._last_seqs([row[0] for row in rows], removed=self.uow.has_control)
        return {row[0]: ThreadTail(last[row[0]], bool(row[1]), None) for row in rows}

    def touch(self, *thread_ids: str) -> None:
        """Set the threads' ``updated_at`` to now; the caller holds their locks."""
        if len(thread_ids) == 1:
            self.uow.run(_TOUCH, {"id": thread_ids[0]})
        else:
            self.uow.execute(_TOUCH_SEVERAL, {"thread_ids": thread_ids})

    def lock_extra(self, thread_id: str) -> dict[str, Any]:
        """Lock a thread, creating it if need be, and return its `extra`.

        Raises:
            CheckpointCorruptionError: the stored `extra` is not a JSON object.
        """
        return self._parse_extra(thread_id, self._lock_or_create([_LOCK_EXTRA], thread_id)[1])

    def lock_extra_if_held(self, thread_id: str, fence: Fence) -> dict[str, Any] | None:
        """Lock a thread and a lease of it, and return its `extra`; None if it was taken over."""
        key = {"thread_id": thread_id, **fence._asdict()}
        row = self.uow.run(_LOCK_EXTRA_IF_HELD, key).first()
        return None if row is None else self._parse_extra(thread_id, row[1])

    def _parse_extra(self, thread_id: str, stored: str) -> dict[str, Any]:
        if self.uow.encryption is not None:
            place = Place("extra", thread_id)
            stored = self.uow.encrypted_values.decrypt_json(stored, place)
        return parse_extra(thread_id, stored)

    def write_extra(self, thread_id: str, extra: dict[str, Any]) -> None:
        """Replace the thread's `extra`; the caller holds its lock."""
        if self.uow.encryption is not None:
            extra = self.uow.encrypted_values.encrypt_json(extra, Place("extra", thread_id))
        self.uow.run(_WRITE_EXTRA, {"id": thread_id, "new": extra})

    def page(
        self,
        *,
        owner: str | None,
        waiting: bool,
        after: ThreadKey | None,
        limit: int,
        order: ThreadOrder,
    ) -> list[ThreadSummaryRow]:
        """Return up to `limit` threads after `after`, each with its last seq.

        Costs one statement, and one more for every hundred threads; the length of the
        threads does not matter. Of an owner's threads, and of those that wait, the rows are
        read, and no others.
        """
        key: ColumnElement[str] = THREADS.c.thread_id
        statement = _SUMMARY.limit(limit)
        if owner is not None:
            key = OWNERS.c.thread_id  # the order of the owner's index
            is_owned = OWNERS.c.owner == owner
            statement = statement.add_columns(OWNERS.c.owner).select_from(_THREADS_OF_OWNER)
            statement = statement.where(is_owned)
        elif self.uow.has_control:
            statement = statement.add_columns(_OWNER_OF_THREAD.label("owner"))
        if waiting:
            statement = statement.where(IsWaiting(THREADS.c.pending_request))
            if owner is None and order == "id":
                key = prevent_key_scan(key, self.uow.dialect)
        if after is not None:
            statement = statement.where(_after(key, after, order))
        statement = statement.order_by(*_ordering(key, order))
        rows = self.uow.execute(statement).mappings().all()
        last = self._last_seqs([row["thread_id"] for row in rows])
        return [ThreadSummaryRow(**row, last_seq=last[row["thread_id"]]) for row in rows]

    def delete(self, thread_id: str, *, detach_forks: bool) -> bool:
        """Delete a thread with its messages, runs and answers, and its rows of thread control.

        Args:
            thread_id: the thread.
            detach_forks: whether to keep forks of the thread, without their link to it.

        Returns:
            True if the thread existed.

        Raises:
            ThreadHasForksError: the thread has forks, and `detach_forks` is False.
        """
        if not self.lock_existing(thread_id):
            return False
        is_fork = THREADS.c.parent_thread_id == thread_id
        if (
            not detach_forks
            and self.uow.execute(select(THREADS.c.thread_id).where(is_fork)).first()
        ):
            raise ThreadHasForksError(thread_id=thread_id)
        self.delete_locked(thread_id, detach_forks=detach_forks)
        return True

    def delete_locked(self, thread_id: str, *, detach_forks: bool) -> None:
        """Delete a locked thread with all that belongs to it; see `delete`."""
        if detach_forks:
            self.detach_forks(thread_id)
        for table in (*tables_of_thread(self.uow.connection), THREADS):
            self.uow.run(_delete(table), {"thread_id": thread_id})

    def detach_forks(self, thread_id: str) -> None:
        """Remove the links of a locked thread's forks to it; their times do not change."""
        values = {
            THREADS.c.parent_thread_id: None,
            THREADS.c.forked_at_seq: None,
            THREADS.c.updated_at: THREADS.c.updated_at,
        }
        is_fork = THREADS.c.parent_thread_id == thread_id
        self.uow.execute(update(THREADS).where(is_fork).values(values))

    def _lock_or_create(
        self,
        statements: Sequence[Statement],
        thread_id: str,
        more: Mapping[str, Any] = MappingProxyType({}),
        *,
        is_new: bool = False,
    ) -> Row:
        """Run a locking read of the thread's row; create the row first if it is missing.

        Under REPEATABLE READ a locking read of a missing row locks the gap, and two first
        writers would deadlock on it: then the row is created before it is read.
        """
        parameters = {"thread_id": thread_id, **more}
        if self.uow.read_committed and not is_new:
            row = execute_in_order(self.uow, statements, parameters)
            if row is not None:
                return row
        self._create(thread_id)  # locks the row too
        # All statements: a transaction with a snapshot may read rows that were deleted since, and
        # must fail on its lock.
        rest = statements[-1:] if self.uow.read_committed else statements
        return cast("Row", execute_in_order(self.uow, rest, parameters))

    def _create(self, thread_id: str) -> None:
        """Lock the thread's row, creating it if need be, in one statement."""
        self.uow.run(_create(self.uow.dialect), {"new": thread_id})

    def _last_seqs(self, thread_ids: Sequence[str], *, removed: bool = False) -> dict[str, int]:
        """Return each thread's last seq, read from the end of the thread's index range.

        With `removed`, the highest seq of the thread's messages and of those that were removed.

        A correlated subquery would read every message of each thread: MySQL finds MAX
        without reading the rows only if the thread is a constant.
        """
        found: dict[str, int] = {}
        for some in chunks(thread_ids, _LAST_SEQS_AT_ONCE):
            keys = {f"id_{place}": thread_id for place, thread_id in enumerate(some)}
            (seqs,) = self.uow.run(_select_last_seqs(len(some), removed=removed), keys)
            for place, thread_id in enumerate(some):
                found[thread_id] = max(seqs[place :: len(some)])
        return found


@cache
def _lock_several(dialect: str, *, wait: bool) -> Select[Any]:
    """Return the SELECT that locks several threads in key order.

    In this order two transactions that lock several threads never deadlock.
    """
    key = THREADS.c.thread_id
    return (
        select(key, NEEDS_TOUCH, try_advisory_lock(key, dialect, wait=wait))
        .where(key.in_(bindparam("thread_ids", expanding=True)))
        .order_by(key)
        .with_for_update(skip_locked=not wait)
    )


@cache
def _lock(dialect: str) -> Statement:
    """Return the SELECT that locks a thread."""
    return Statement(lock_thread(THREADS, _THREAD_ID, dialect))


@cache
def _try_lock(dialect: str) -> Statement:
    """Return the SELECT that locks a thread unless another transaction has locked it."""
    is_locked = try_advisory_lock(THREADS.c.thread_id, dialect, wait=False)
    return Statement(
        select(THREADS.c.thread_id, is_locked).where(_IS_THREAD).with_for_update(skip_locked=True)
    )


@cache
def _delete(table: Table) -> Statement:
    """Return the DELETE of a thread's rows in a table."""
    return Statement(delete(table).where(table.c.thread_id == bindparam("thread_id")))


@cache
def _create(dialect: str) -> Statement:
    """Return the INSERT of a thread that locks an existing thread instead."""
    new = with_advisory_lock(bindparam("new", type_=THREADS.c.thread_id.type), dialect)
    # inline: SQLAlchemy is not to add RETURNING for a key that it does not know
    return Statement(insert_if_absent(THREADS, dialect).values(thread_id=new).inline())


@cache
def _select_last_seqs(count: int, *, removed: bool) -> Statement:
    """Return one SELECT of the last seqs of `count` threads: parameters ``id_0`` and so on.

    With `removed`, as many columns follow, of the highest seqs that were removed.
    """
    seqs = [(MESSAGES.c.thread_id, MESSAGES.c.seq)]
    if removed:
        seqs.append((TRUNCATIONS.c.thread_id, TRUNCATIONS.c.last_seq))
    highest = [
        select(func.coalesce(func.max(seq), 0))
        .where(thread_id == bindparam(f"id_{place}"))
        .scalar_subquery()
        for thread_id, seq in seqs
        for place in range(count)
    ]
    return Statement(select(*highest))


def parse_extra(thread_id: str, stored: str) -> dict[str, Any]:
    """Return a thread's `extra` from its JSON text.

    Raises:
        CheckpointCorruptionError: the text is not a JSON object.
        EncryptedRowError: it is encrypted.
    """
    extra = parse_object(THREADS.name, thread_id, "extra", stored)
    refuse_encrypted(from_json(extra), Place("extra", thread_id))
    return extra


def _ordering(key: ColumnElement[str], order: ThreadOrder) -> Sequence[ColumnElement[Any]]:
    if order == "id":
        return (key.asc(),)
    return (THREADS.c.updated_at.desc(), key.desc())


def _after(key: ColumnElement[str], after: ThreadKey, order: ThreadOrder) -> ColumnElement[bool]:
    if order == "id":
        return key > after.thread_id
    # The second condition implies the first, which makes it a range scan of the index.
    return and_(
        THREADS.c.updated_at <= after.updated_at,
        or_(THREADS.c.updated_at < after.updated_at, key < after.thread_id),
    )
