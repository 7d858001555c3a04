"""Messages: inserting them behind a thread's last seq, and reading them in order."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import (
    CursorResult,
    Executable,
    Select,
    String,
    Table,
    bindparam,
    exists,
    func,
    insert,
    literal,
    null,
    select,
    union_all,
)

from threadlog.errors import StorageError
from threadlog.models import Message, Run, Thread
from threadlog.models.dialects import (
    LastRows,
    as_text,
    encode_last_insert_id,
    id_equals,
    to_epoch,
)
from threadlog.repositories.base import Repository
from threadlog.repositories.log.thread import NEEDS_TOUCH, ThreadTail, last_seq

_MESSAGES: Final[Table] = Message.metadata.tables[Message.__tablename__]
_THREADS: Final[Table] = Thread.metadata.tables[Thread.__tablename__]
_RUNS: Final[Table] = Run.metadata.tables[Run.__tablename__]

_INSERT: Final = insert(_MESSAGES)
_OF_THREAD: Final = _MESSAGES.c.thread_id == bindparam("thread_id")
# As text: a row whose JSON is broken must be named by its seq, not fail in the driver's hands.
_METADATA: Final = as_text(_MESSAGES.c.metadata)


# Stands where a message has its seq, and sorts before every one of them.
THREAD_ROW: Final = -1


def _log(restrict: Callable[[Select[Any]], Select[Any]] | None = None) -> Any:
    """Build the one statement that reads a thread and its messages from one snapshot."""
    thread = select(
        literal(THREAD_ROW).label("seq"),
        null().label("role"),
        as_text(_THREADS.c.extra).label("metadata"),
        null().label("payload"),
        _THREADS.c.parent_thread_id,
    ).where(_THREADS.c.thread_id == bindparam("thread_id"))
    messages = select(
        _MESSAGES.c.seq, _MESSAGES.c.role, _METADATA, _MESSAGES.c.payload, null()
    ).where(_OF_THREAD)
    return union_all(thread, messages if restrict is None else restrict(messages))


_BOUND: Final = _MESSAGES.alias("bound")
_LOG: Final = _log()
_LAST: Final = LastRows(
    _MESSAGES.c.seq,
    first=select(_BOUND.c.seq)
    .where(_BOUND.c.thread_id == bindparam("thread_id"))
    .order_by(_BOUND.c.seq.desc())
    .limit(1)
    .offset(bindparam("skip")),
    most=bindparam("last"),
)


@cache
def _newest(dialect: str) -> Any:
    return _log(lambda messages: _LAST.of(messages, dialect))


_FROM: Final = _log(lambda messages: messages.where(_MESSAGES.c.seq >= bindparam("first_seq")))
_TURN: Final = (
    select(_MESSAGES.c.seq)
    .where(_OF_THREAD, _MESSAGES.c.seq < bindparam("before_seq"), _MESSAGES.c.role == "user")
    .order_by(_MESSAGES.c.seq.desc())
    .limit(1)
)
_STORED: Final = (
    select(_MESSAGES.c.role, _MESSAGES.c.payload, _MESSAGES.c.run_id)
    .where(_OF_THREAD, _MESSAGES.c.seq > bindparam("after"), _MESSAGES.c.seq <= bindparam("last"))
    .order_by(_MESSAGES.c.seq)
)
_PAGE: Final = (
    select(
        _MESSAGES.c.seq,
        to_epoch(_MESSAGES.c.created_at),
        _MESSAGES.c.role,
        _METADATA,
        _MESSAGES.c.payload,
    )
    .where(_OF_THREAD, _MESSAGES.c.seq > bindparam("after_seq"))
    .order_by(_MESSAGES.c.seq)
)
_LIMITED_PAGE: Final = _PAGE.limit(bindparam("limit"))


def _insert_behind(*unless: Select[Any]) -> Executable:
    """Build what locks a thread and inserts a message behind its last one.

    Args:
        unless: what finds a row where nothing is to be inserted.
    """
    # All of it locks, as the statement reads what was committed when it got its lock.
    place = last_seq(Select.with_for_update) + 1
    # As digits: a statement that waits is shown by the server, which fails over other bytes.
    payload = func.unhex(bindparam("digits", type_=String()))
    given = [bindparam(column.name, type_=column.type) for column in _GIVEN]
    row = select(
        _THREADS.c.thread_id, encode_last_insert_id(place, NEEDS_TOUCH), payload, *given
    ).where(
        _THREADS.c.thread_id == bindparam("thread_id"),
        *(~exists(found.with_for_update()) for found in unless),
    )
    names = ["thread_id", "seq", "payload", *(column.name for column in _GIVEN)]
    return (
        insert(_MESSAGES)
        .from_select(names, row.with_for_update())
        .execution_options(preserve_rowcount=True)
    )


_GIVEN: Final = [_MESSAGES.c[name] for name in ("role", "metadata", "run_id")]
_INSERT_BEHIND: Final = _insert_behind()
_INSERT_BEHIND_UNLESS_COMPLETED: Final = _insert_behind(
    select(_RUNS.c.run_id).where(
        _RUNS.c.thread_id == bindparam("thread_id"),
        id_equals(_RUNS.c.run_id, bindparam("run_id")),
        _RUNS.c.completed_at.is_not(None),
    )
)


class NewMessage(NamedTuple):
    """A message ready to be inserted: encoded, without its place in a thread."""

    role: str
    metadata: dict[str, Any]
    payload: bytes
    run_id: str | None


class PlacedMessages(NamedTuple):
    """Messages ready to be inserted, and where."""

    thread_id: str
    after_seq: int
    """The seq that the first of them follows."""

    messages: Sequence[NewMessage]


class MessageRow(NamedTuple):
    """A message as stored, not yet decoded."""

    seq: int
    role: str
    metadata: str
    payload: bytes


class DatedMessageRow(NamedTuple):
    """A message as stored, with the second (since 1970 UTC) in which it was."""

    seq: int
    created_at: int
    role: str
    metadata: str
    payload: bytes


class LogRows(NamedTuple):
    """A thread at one point in time."""

    extra: str | None
    """The text of `extra`; None where messages have no thread row."""

    parent_thread_id: str | None
    messages: Sequence[Sequence[Any]]
    """In seq order, each with the columns of `MessageRow` first."""


class MessageRepository(Repository):
    """Statements on messages, bound to one session."""

    def insert(
        self, thread_id: str, after_seq: int, batches: Iterable[Sequence[NewMessage]]
    ) -> None:
        """Insert messages behind `after_seq`; the caller holds the thread's lock.

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
        self.uow.execute(_INSERT, rows)

    def lock_and_append(self, thread_id: str, message: NewMessage) -> ThreadTail | None:
        """Lock a thread, and insert a message behind its last one, in one statement.

        Only for sessions that read at READ COMMITTED, and on servers that can; see `tells`.
        The payload is sent as two digits for each byte.

        Returns:
            The thread's end before, with its lock held; None where there is no such thread,
            or the message's run is completed: nothing is inserted then.

        Raises:
            StorageError: the server does not tell where the message was put.
        """
        statement = _INSERT_BEHIND if message.run_id is None else _INSERT_BEHIND_UNLESS_COMPLETED
        values = {**message._asdict(), "digits": message.payload.hex()}
        result = self.uow.execute(statement, {"thread_id": thread_id, **values})
        inserted = cast("CursorResult[Any]", result)
        if not inserted.rowcount:
            return None
        seq, needs_touch = divmod(inserted.lastrowid, 2)  # see `encode_last_insert_id`
        if not seq:  # a proxy between, or a server that is not quite MySQL
            raise StorageError("The server does not return the argument of LAST_INSERT_ID()")
        return ThreadTail(last_seq=seq - 1, needs_touch=bool(needs_touch), completed_run=None)

    def are_stored(self, placed: PlacedMessages) -> bool:
        """Say whether these very messages are at their seqs: role, payload and run id."""
        thread_id, after, messages = placed
        keys = {"thread_id": thread_id, "after": after, "last": after + len(messages)}
        stored = [tuple(row) for row in self.uow.execute(_STORED, keys)]
        return stored == [(new.role, new.payload, new.run_id) for new in messages]

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
            The thread as it was at one point in time; None where nothing is stored of it.
        """
        statement = _LOG
        parameters: dict[str, Any] = {"thread_id": thread_id}
        if first_seq is not None:
            statement, parameters = _FROM, {**parameters, "first_seq": first_seq}
        elif last is not None:
            statement = _newest(self.uow.dialect)
            parameters = {**parameters, "skip": last - 1, "last": last}
        # SQL promises no order of a UNION, and ORDER BY would sort whole payloads on the
        # server; sorting what is already in order costs next to nothing here.
        rows = sorted(self.uow.execute(statement, parameters), key=itemgetter(0))
        if not rows:
            return None
        first = rows[0]
        if first[0] != THREAD_ROW:
            return LogRows(None, None, rows)
        return LogRows(first[2], first[4], rows[1:])

    def page(self, thread_id: str, *, after_seq: int, limit: int | None) -> list[DatedMessageRow]:
        """Read up to `limit` messages with a seq above `after_seq`, in seq order."""
        parameters: dict[str, Any] = {"thread_id": thread_id, "after_seq": after_seq}
        statement = _PAGE
        if limit is not None:
            statement, parameters = _LIMITED_PAGE, {**parameters, "limit": limit}
        rows = self.uow.execute(statement, parameters)
        return [DatedMessageRow(*row) for row in rows]
