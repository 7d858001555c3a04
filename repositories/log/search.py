"""The search index: rows of messages and of their tool calls."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    CTE,
    Column,
    ColumnElement,
    Insert,
    Integer,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
)

from threadlog.models.dialects.json import as_text
from threadlog.models.dialects.upsert import LIST_DIALECTS, insert_of_lists, rows_of_lists
from threadlog.models.tables import MESSAGES, SEARCH, THREADS
from threadlog.repositories.base import Repository, Statement

SearchValues = Mapping[str, Any]
"""The values of a row of the index, by column."""

_GIVEN: Final = tuple(c for c in SEARCH.columns if c.name not in {"id", "created_at"})
_DATED: Final = (*_GIVEN, SEARCH.c.created_at)


@cache
def _insert(dialect: str, *, dated: bool) -> Statement:
    columns = _DATED if dated else _GIVEN
    if dialect in LIST_DIALECTS:
        return Statement(*insert_of_lists(SEARCH, columns))
    # inline: SQLAlchemy is not to add RETURNING for the row's number
    values = {column.name: bindparam(column.name, type_=column.type) for column in columns}
    return Statement(insert(SEARCH).values(values).inline())


_NUMBER: Final = Column("number", Integer())
_OF_MESSAGE: Final = tuple(c for c in _GIVEN if c.name not in {"thread_id", "seq"})


def index_appended(appended: CTE) -> tuple[Insert, list[str]]:
    """Return PostgreSQL's INSERT of the rows of messages that the same statement inserts.

    Args:
        appended: the INSERT of the messages, which returns their ``thread_id`` and ``seq``.

    Returns:
        The INSERT, and the names of its parameters; see `lists_of_appended`.
    """
    rows, names = rows_of_lists((_NUMBER, *_OF_MESSAGE))
    first = select(func.min(appended.c.seq)).scalar_subquery()
    values = (rows.c[column.name] for column in _OF_MESSAGE)
    selected = select(appended.c.thread_id, appended.c.seq, *values).join_from(
        appended, rows, rows.c.number == appended.c.seq - first
    )
    into = ["thread_id", "seq", *(column.name for column in _OF_MESSAGE)]
    return insert(SEARCH).from_select(into, selected), [*names]


def lists_of_appended(
    names: Sequence[str], rows: Sequence[Sequence[SearchValues]]
) -> dict[str, list[Any]]:
    """Return the parameters of `index_appended` for the rows of each message."""
    placed = [(number, row) for number, found in enumerate(rows) for row in found]
    lists: dict[str, list[Any]] = {names[0]: [number for number, _ in placed]}
    for name, column in zip(names[1:], _OF_MESSAGE, strict=True):
        lists[name] = [row[column.name] for _, row in placed]
    return lists


def _is_missing(thread_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a message of a thread is not in the index."""
    stored = exists().where(
        SEARCH.c.thread_id == MESSAGES.c.thread_id,
        SEARCH.c.seq == MESSAGES.c.seq,
        SEARCH.c.place == literal_column("0"),
    )
    return and_(MESSAGES.c.thread_id == thread_id, ~stored)


_MISSING: Final = (
    select(
        MESSAGES.c.seq,
        MESSAGES.c.role,
        as_text(MESSAGES.c.metadata),
        MESSAGES.c.payload,
        MESSAGES.c.run_id,
        MESSAGES.c.created_at,
    )
    .where(_is_missing(bindparam("thread_id", type_=MESSAGES.c.thread_id.type)))
    .order_by(MESSAGES.c.seq)
)
_INCOMPLETE: Final = (
    select(THREADS.c.thread_id)
    .where(exists(select(MESSAGES.c.seq).where(_is_missing(THREADS.c.thread_id))))
    .order_by(THREADS.c.thread_id)
)
_NEW: Final = bindparam("new", type_=THREADS.c.thread_id.type)


def _copied() -> Select[Any]:
    """Select the rows of those messages of the source that the new thread has too."""
    columns = [column for column in SEARCH.columns if column.name not in {"id", "thread_id"}]
    same = and_(MESSAGES.c.thread_id == _NEW, MESSAGES.c.seq == SEARCH.c.seq)
    return (
        select(_NEW, *columns)
        .select_from(SEARCH.join(MESSAGES, same))
        .where(SEARCH.c.thread_id == bindparam("source", type_=THREADS.c.thread_id.type))
    )


_COPY: Final = insert(SEARCH).from_select(
    ["thread_id", *(c.name for c in SEARCH.columns if c.name not in {"id", "thread_id"})],
    _copied(),
)


class MissingMessage(NamedTuple):
    """A message that is not in the index."""

    seq: int
    role: str
    metadata: str
    """The text of the JSON object."""

    payload: bytes
    run_id: str | None
    created_at: Any
    """As the session reads and writes it."""


class SearchRepository(Repository):
    """Statements on the search index, bound to one session."""

    def insert(self, rows: Sequence[SearchValues]) -> None:
        """Insert rows in one statement; all with ``created_at``, or all with the present time."""
        statement = _insert(self.uow.dialect, dated="created_at" in rows[0])
        if statement.lists:
            columns = [name.removeprefix("all_") for name in statement.lists]
            lists = ([row[column] for row in rows] for column in columns)
            self.uow.run(statement, dict(zip(statement.lists, lists, strict=True)))
        else:
            self.uow.run(statement, rows)

    def copy(self, source: str, new: str) -> None:
        """Copy the rows of a thread's messages to its fork, which has the messages already."""
        self.uow.execute(_COPY, {"source": source, "new": new})

    def delete_after(self, thread_id: str, seq: int) -> None:
        """Delete the rows of messages that are removed from the end of a thread."""
        later = and_(SEARCH.c.thread_id == thread_id, SEARCH.c.seq > seq)
        self.uow.execute(delete(SEARCH).where(later))

    def missing(self, thread_id: str, limit: int) -> list[MissingMessage]:
        """Return the first messages of a thread that are not in the index."""
        rows = self.uow.execute(_MISSING.limit(limit), {"thread_id": thread_id})
        return [MissingMessage(*row) for row in rows]

    def count_missing(self) -> int:
        """Return the number of messages that are not in the index."""
        counts = [
            select(func.count()).select_from(MESSAGES).scalar_subquery(),
            select(func.count()).where(SEARCH.c.place == 0).scalar_subquery(),
        ]
        messages, indexed = self.uow.execute(select(*counts)).one()
        return max(int(messages - indexed), 0)

    def incomplete_threads(self, *, after: str | None, limit: int) -> list[str]:
        """Return threads with messages that are not in the index, in the order of ids."""
        statement = _INCOMPLETE.limit(limit)
        if after is not None:
            statement = statement.where(THREADS.c.thread_id > after)
        return [row[0] for row in self.uow.execute(statement)]
