"""Messages: inserting them after a thread's last seq, and reading them in order."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias, cast

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    and_,
    bindparam,
    func,
    insert,
    literal,
    null,
    select,
    union_all,
)

from threadlog.encryption import Place, refuse_encrypted
from threadlog.errors import StorageError
from threadlog.models.dialects.json import as_text
from threadlog.models.dialects.locking import (
    is_version_read,
    subquery_lock,
    try_advisory_lock,
    unless_under_lock,
)
from threadlog.models.dialects.query_plans import LastRows
from threadlog.models.dialects.returned_number import with_number_kept, with_number_returned
from threadlog.models.dialects.time import to_epoch
from threadlog.models.dialects.types import id_equals
from threadlog.models.tables import MESSAGES, RUNS, SEARCH, THREADS
from threadlog.repositories.base import Repository, Row, Statement
from threadlog.repositories.log.search import SearchValues, index_appended, lists_of_appended
from threadlog.repositories.log.thread import NEEDS_TOUCH, ThreadTail, last_seq, truncated_seq

_INSERT: Final = Statement(insert(MESSAGES))
_OF_THREAD: Final = MESSAGES.c.thread_id == bindparam("thread_id")
# As text: a row with invalid JSON must be reported by its seq, not fail in the driver.
_METADATA: Final = as_text(MESSAGES.c.metadata)


# In place of a seq in the thread's own row; sorts before all messages.
THREAD_ROW: Final = -1


def _log(restrict: Callable[[Select[Any]], Select[Any]] | None = None) -> Statement:
    """Return the one statement that reads a thread and its messages from one snapshot."""
    thread = select(
        literal(THREAD_ROW).label("seq"),
        null().label("role"),
        as_text(THREADS.c.extra).label("metadata"),
        null().label("payload"),
        THREADS.c.parent_thread_id,
    ).where(THREADS.c.thread_id == bindparam("thread_id"))
    messages = select(MESSAGES.c.seq, MESSAGES.c.role, _METADATA, MESSAGES.c.payload, null()).where(
        _OF_THREAD
    )
    return Statement(union_all(thread, messages if restrict is None else restrict(messages)))


_BOUND: Final = MESSAGES.alias("bound")
_LOG: Final = _log()
_LAST: Final = LastRows(
    MESSAGES.c.seq,
    first=select(_BOUND.c.seq)
    .where(_BOUND.c.thread_id == bindparam("thread_id"))
    .order_by(_BOUND.c.seq.desc())
    .limit(1)
    .offset(bindparam("skip")),
    most=bindparam("last"),
)


@cache
def _newest(dialect: str) -> Statement:
    return _log(lambda messages: _LAST.of(messages, dialect))


_FROM: Final = _log(lambda messages: messages.where(MESSAGES.c.seq >= bindparam("first_seq")))
_TURN: Final = (
    select(MESSAGES.c.seq)
    .where(_OF_THREAD, MESSAGES.c.seq < bindparam("before_seq"), MESSAGES.c.role == "user")
    .order_by(MESSAGES.c.seq.desc())
    .limit(1)
)
_STORED: Final = (
    select(MESSAGES.c.seq, MESSAGES.c.role, MESSAGES.c.payload, MESSAGES.c.run_id)
    .where(_OF_THREAD, MESSAGES.c.seq > bindparam("after"), MESSAGES.c.seq <= bindparam("last"))
    .order_by(MESSAGES.c.seq)
)
_PAGE: Final = (
    select(
        MESSAGES.c.seq,
        to_epoch(MESSAGES.c.created_at),
        MESSAGES.c.role,
        _METADATA,
        MESSAGES.c.payload,
    )
    .where(_OF_THREAD, MESSAGES.c.seq > bindparam("after_seq"))
    .order_by(MESSAGES.c.seq)
)
_WHOLE_PAGE: Final = Statement(_PAGE)
_LIMITED_PAGE: Final = Statement(_PAGE.limit(bindparam("limit")))
_PAGE_BEFORE: Final = (
    _PAGE.where(MESSAGES.c.seq < bindparam("before_seq"))
    .order_by(None)
    .order_by(MESSAGES.c.seq.desc())
)
_WHOLE_PAGE_BEFORE: Final = Statement(_PAGE_BEFORE)
_LIMITED_PAGE_BEFORE: Final = Statement(_PAGE_BEFORE.limit(bindparam("limit")))


_GIVEN: Final = [MESSAGES.c[name] for name in ("role", "metadata", "payload", "run_id")]
_IS_RUN: Final = and_(
    RUNS.c.thread_id == bindparam("thread_id"),
    id_equals(RUNS.c.run_id, bindparam("run_id")),
)


def _given(place: int) -> list[ColumnElement[Any]]:
    """Return the parameters of a message: ``role_0`` and so on for the first one."""
    return [
        bindparam(f"{column.name}_{place}", type_=column.type).label(column.name)
        for column in _GIVEN
    ]


@cache
def _lock_and_append(
    dialect: str, count: int, *, of_run: bool, has_control: bool, has_search: bool
) -> Statement:
    """Return the INSERT that locks a thread and adds messages after its last one.

    Args:
        dialect: the name of the dialect.
        count: how many messages.
        of_run: whether messages belong to a run, which must not be completed.
        has_control: whether the database has thread control.
        has_search: whether to add rows of the search index too.
    """
    # On MySQL all subqueries lock, so that the statement reads what was committed when it got
    # its lock. On PostgreSQL the key of a message that was committed meanwhile is a duplicate.
    lock = subquery_lock(dialect)
    allocated = last_seq(lock)
    if has_control:
        allocated = func.greatest(allocated, truncated_seq(lock))
    seq = allocated + 1
    key: BindParameter[str] = bindparam("thread_id", type_=THREADS.c.thread_id.type)
    rows = (
        select(THREADS.c.thread_id, with_number_kept(seq, NEEDS_TOUCH, dialect).label("seq"))
        .where(THREADS.c.thread_id == key, try_advisory_lock(key, dialect, wait=False))
        .with_for_update()
    )
    if has_control:
        # After an append and its truncation the key from the snapshot is no duplicate, but given.
        rows = rows.where(is_version_read(THREADS, key, dialect))
    if of_run:
        is_completed = RUNS.c.completed_at.is_not(None)
        rows = unless_under_lock(rows, RUNS, _IS_RUN, is_completed, dialect)
    if count == 1:
        rows = rows.add_columns(*_given(0))
    else:
        # The lock is tried once, not for each message: a CTE runs at most once.
        first = rows.cte("first")
        selects = (select(literal(place).label("place"), *_given(place)) for place in range(count))
        given = union_all(*selects).subquery("given")
        columns = (given.c[column.name] for column in _GIVEN)
        rows = select(first.c.thread_id, first.c.seq + given.c.place, *columns)
    names = ["thread_id", "seq", *(column.name for column in _GIVEN)]
    statement = insert(MESSAGES).from_select(names, rows)
    needs_touch = select(NEEDS_TOUCH).where(THREADS.c.thread_id == key).scalar_subquery()
    number, lists = MESSAGES.c.seq, list[str]()
    if has_search:
        appended = statement.returning(MESSAGES.c.thread_id, number).cte("appended")
        (statement, lists), number = index_appended(appended), SEARCH.c.seq
    returning = with_number_returned(statement, number, needs_touch, dialect)
    return Statement(returning.execution_options(preserve_rowcount=True), lists)


class NewMessage(NamedTuple):
    """A message ready to be inserted: encoded, without thread and seq."""

    role: str
    metadata: dict[str, Any]
    payload: bytes
    run_id: str | None


class PlacedMessages(NamedTuple):
    """Messages ready to be inserted, with their thread and position."""

    thread_id: str
    after_seq: int
    """The seq before the first message."""

    messages: Sequence[NewMessage]


_MessageKey: TypeAlias = tuple[int, str, bytes, str | None]
"""Seq, role, payload and run id of a message."""


def _keys_at(placed: PlacedMessages) -> set[_MessageKey]:
    return {
        (seq, new.role, new.payload, new.run_id)
        for seq, new in enumerate(placed.messages, placed.after_seq + 1)
    }


class MessageRow(NamedTuple):
    """A stored message, not yet decoded."""

    seq: int
    role: str
    metadata: str | None
    """As JSON text; None if the copy in the payload counts."""

    payload: bytes


class DatedMessageRow(NamedTuple):
    """A stored message, with the second (since 1970 UTC) at which it was stored."""

    seq: int
    created_at: int
    role: str
    metadata: str | None
    """See `MessageRow`."""

    payload: bytes


class LogRows(NamedTuple):
    """A thread at one point in time."""

    extra: str | None
    """The text of `extra`; None if the messages have no thread row."""

    parent_thread_id: str | None
    messages: Sequence[Row]
    """In seq order, each with the columns of `MessageRow` first."""


class MessageRepository(Repository):
    """Statements on messages, bound to one session."""

    def insert(
        self, thread_id: str, after_seq: int, batches: Iterable[Sequence[NewMessage]]
    ) -> None:
        """Insert messages after `after_seq`; the caller holds the thread's lock.

        Args:
            thread_id: the thread.
            after_seq: the thread's last seq.
            batches: the messages in order; each batch becomes one multi-row statement.
        """
        seq = after_seq
        for batch in batches:
            self.insert_together([PlacedMessages(thread_id, seq, batch)])
            seq += len(batch)

    def insert_together(self, placed: Iterable[PlacedMessages]) -> None:
        """Insert messages of several threads in one statement; the caller holds their locks."""
        rows = [
            {"thread_id": thread_id, "seq": after_seq + place, **message._asdict()}
            for thread_id, after_seq, messages in placed
            for place, message in enumerate(messages, start=1)
        ]
        if self.uow.encryption is not None:
            self.uow.encrypted_values.encrypt_rows(rows)
        self.uow.run(_INSERT, rows)

    def lock_and_append(
        self,
        thread_id: str,
        messages: Sequence[NewMessage],
        run_id: str | None,
        search: Sequence[Sequence[SearchValues]] = (),
    ) -> ThreadTail | None:
        """Lock a thread, and insert messages after its last one, in one statement.

        Only for sessions at READ COMMITTED on a server of `ONE_STATEMENT_DIALECTS`. The text
        differs with the number of messages.

        Args:
            thread_id: the thread.
            messages: the messages in order.
            run_id: the run that messages belong to; None if they belong to none.
            search: for each message its rows of the search index, to insert these too; only on
                PostgreSQL.

        Returns:
            The end of the thread before the messages, with the lock held; None if the thread
            does not exist or the run is completed, on PostgreSQL also if the thread is locked,
            its row was written to in this moment, or the run is not claimed: then nothing was
            inserted.

        Raises:
            StorageError: the server does not return the seqs of the messages.
        """
        parameters: dict[str, Any] = {"thread_id": thread_id}
        if run_id is not None:
            parameters["run_id"] = run_id
        for place, message in enumerate(messages):
            for column, value in zip(_GIVEN, message, strict=True):
                parameters[f"{column.name}_{place}"] = value
        statement = _lock_and_append(
            self.uow.dialect,
            len(messages),
            of_run=run_id is not None,
            has_control=self.uow.has_control,
            has_search=bool(search),
        )
        if search:
            parameters |= lists_of_appended(statement.lists, search)
        inserted = self.uow.run(statement, parameters)
        if not inserted.rowcount:
            return None
        # see `with_number_kept` and `with_number_returned`
        first = min(inserted, key=itemgetter(0), default=None)
        seq, needs_touch = first or divmod(inserted.lastrowid, 2)
        if not seq:  # a proxy in between, or a server that is not quite MySQL
            raise StorageError(
                "The server does not return the argument of LAST_INSERT_ID(). A proxy may rewrite "
                "it: connect to the server directly"
            )
        return ThreadTail(last_seq=seq - 1, needs_touch=bool(needs_touch), completed_run=None)

    def are_stored(self, placed: PlacedMessages) -> bool:
        """Return True if exactly these messages are at their seqs: role, payload and run id."""
        return self._found_at(placed) == _keys_at(placed)

    def differ(self, placed: PlacedMessages) -> bool:
        """Return True if another message is at one of the seqs; removed messages do not count."""
        return not self._found_at(placed) <= _keys_at(placed)

    def _found_at(self, placed: PlacedMessages) -> set[_MessageKey]:
        thread_id, after, messages = placed
        keys = {"thread_id": thread_id, "after": after, "last": after + len(messages)}
        # Committed rows, as under REPEATABLE READ the snapshot may be older than the lock.
        stored = subquery_lock(self.uow.dialect)(_STORED)
        found = {cast("_MessageKey", tuple(row)) for row in self.uow.execute(stored, keys)}
        if self.uow.encryption is None:
            for seq, _, payload, _ in found:
                refuse_encrypted(payload, Place("payload", thread_id, seq))
            return found
        # The stored bytes differ from attempt to attempt, and a rotation changes them.
        decrypt = self.uow.encrypted_values.decrypt_payload
        return {
            (seq, role, decrypt(thread_id, seq, payload), run_id)
            for seq, role, payload, run_id in found
        }

    def turn_start(self, thread_id: str, before_seq: int) -> int:
        """Return the seq of the last user message before a seq. Return 1 if not found."""
        found = self.uow.execute(_TURN, {"thread_id": thread_id, "before_seq": before_seq})
        return found.scalar() or 1

    def log(
        self, thread_id: str, *, last: int | None = None, first_seq: int | None = None
    ) -> LogRows | None:
        """Read a thread and its messages in one statement.

        Args:
            thread_id: the thread.
            last: read only this many of the newest messages.
            first_seq: read only messages from this seq on.

        Returns:
            The thread at one point in time; None if nothing of it is stored.
        """
        statement = _LOG
        parameters: dict[str, Any] = {"thread_id": thread_id}
        if first_seq is not None:
            statement, parameters = _FROM, {**parameters, "first_seq": first_seq}
        elif last is not None:
            statement = _newest(self.uow.dialect)
            parameters = {**parameters, "skip": last - 1, "last": last}
        # SQL guarantees no order of a UNION, and ORDER BY would sort whole payloads on the
        # server; sorting rows that are already in order costs next to nothing here.
        rows = sorted(self.uow.run(statement, parameters), key=itemgetter(0))
        if not rows:
            return None
        first = rows[0]
        if first[0] != THREAD_ROW:
            found = LogRows(None, None, rows)
        else:
            found = LogRows(first[2], first[4], rows[1:])
        return found if self.uow.encryption is None else self._decrypt(thread_id, found)

    def _decrypt(self, thread_id: str, log: LogRows) -> LogRows:
        decrypt = self.uow.encrypted_values
        extra = log.extra and decrypt.decrypt_json(log.extra, Place("extra", thread_id))
        rows = decrypt.decrypt_rows(thread_id, (row[:4] for row in log.messages))
        return LogRows(extra, log.parent_thread_id, rows)

    def page(
        self, thread_id: str, *, after_seq: int, limit: int | None, before_seq: int | None = None
    ) -> list[DatedMessageRow]:
        """Return up to `limit` messages between two seqs, in seq order.

        They are the first after `after_seq`, or with `before_seq` the last before it.
        """
        parameters: dict[str, Any] = {"thread_id": thread_id, "after_seq": after_seq}
        whole, limited = _WHOLE_PAGE, _LIMITED_PAGE
        if before_seq is not None:
            whole, limited = _WHOLE_PAGE_BEFORE, _LIMITED_PAGE_BEFORE
            parameters["before_seq"] = before_seq
        if limit is not None:
            parameters["limit"] = limit
        rows: Sequence[Row] = self.uow.run(whole if limit is None else limited, parameters)
        if self.uow.encryption is not None:
            rows = self.uow.encrypted_values.decrypt_rows(thread_id, rows)
        found = [DatedMessageRow(*row) for row in rows]
        return found if before_seq is None else found[::-1]
