"""Threads of an agent server: creating, changing, searching and deleting them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    bindparam,
    delete,
    exists,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from threadlog.errors import ThreadAlreadyExistsError
from threadlog.models.dialects.json import as_text, json_member_is
from threadlog.models.dialects.locking import prelock_statements
from threadlog.models.dialects.time import utc_now
from threadlog.models.tables import APP_RUNS, APP_THREADS
from threadlog.repositories.base import Repository, rowcount
from threadlog.repositories.metadata.run import IN_FLIGHT, columns_of


class AppThreadRow(NamedTuple):
    """A stored thread; JSON as text."""

    thread_id: str
    created_at: datetime
    updated_at: datetime
    state_updated_at: datetime | None
    metadata: str
    config: str
    status: str
    ttl: str | None


_ROW: Final = select(*columns_of(APP_THREADS, AppThreadRow._fields).values())
# MySQL sorts rows with all columns that a statement reads, and runs out of sort memory if they
# have large JSON (error 1038). So only ids are sorted, metadata are searched in a second alias of
# the table, and rows are read by the ids of one page.
_DESCRIBED: Final = APP_THREADS.alias("described")

_IS_THREAD: Final = APP_THREADS.c.thread_id == bindparam("id", type_=APP_THREADS.c.thread_id.type)
_GET: Final = _ROW.where(_IS_THREAD)
_UPDATE: Final = update(APP_THREADS).where(_IS_THREAD)
_DELETE: Final = delete(APP_THREADS).where(_IS_THREAD)

_IN_FLIGHT: Final = select(APP_RUNS.c.run_id).where(
    APP_RUNS.c.thread_id == APP_THREADS.c.thread_id, APP_RUNS.c.status.in_(IN_FLIGHT)
)
# The read of runs locks them, and so waits for a transaction that is finishing one.
_IS_WORKED_ON: Final = exists(_IN_FLIGHT.with_for_update(read=True))
_RELEASE: Final = _UPDATE.where(APP_THREADS.c.status == "busy", ~_IS_WORKED_ON)

# Times in JSON are text; all are UTC and of equal length, so that they sort as text.
_EXPIRES_AT: Final = APP_THREADS.c.ttl["expires_at"].as_string()
_IS_OVER: Final = bindparam("now") >= _EXPIRES_AT
_OVER: Final = (
    select(APP_THREADS.c.thread_id)
    .where(_IS_OVER, ~exists(_IN_FLIGHT))
    .order_by(_EXPIRES_AT, APP_THREADS.c.thread_id)
    .limit(bindparam("limit"))
)
_CLAIM_OVER: Final = (
    select(APP_THREADS.c.thread_id, as_text(APP_THREADS.c.ttl))
    .where(_IS_THREAD, _IS_OVER)
    .with_for_update(skip_locked=True)
)


class AppThreadRepository(Repository):
    """Statements on the threads of an agent server, bound to one session."""

    def get(self, thread_id: UUID) -> AppThreadRow | None:
        """Return a thread; None if not found."""
        row = self.uow.execute(_GET, {"id": thread_id}).first()
        return None if row is None else AppThreadRow(*row)

    def insert(self, row: Mapping[str, Any]) -> None:
        """Insert a thread.

        Raises:
            ThreadAlreadyExistsError: a thread of this id exists; the transaction may have ended.
        """
        try:
            self.uow.execute(insert(APP_THREADS), row)
        except IntegrityError as error:
            raise ThreadAlreadyExistsError(thread_id=str(row["thread_id"])) from error

    def update(self, thread_id: UUID, values: Mapping[str, Any], *, state: bool) -> None:
        """Set columns and ``updated_at``; with `state` also ``state_updated_at``."""
        self.uow.execute(_UPDATE.values({**values, **self._times(state=state)}), {"id": thread_id})

    def search(
        self,
        *,
        ids: Collection[UUID],
        status: str | None,
        metadata: Mapping[str, Any],
        sort_by: str,
        descending: bool,
        limit: int,
        offset: int,
    ) -> list[AppThreadRow]:
        """Return a page of matching threads, in one statement; empty `ids` match all threads."""
        page = select(APP_THREADS.c.thread_id).order_by(*_ordering(sort_by, descending=descending))
        if ids:
            page = page.where(APP_THREADS.c.thread_id.in_(ids))
        if status is not None:
            page = page.where(APP_THREADS.c.status == status)
        if metadata:
            page = page.join(_DESCRIBED, _DESCRIBED.c.thread_id == APP_THREADS.c.thread_id)
        for key, value in metadata.items():
            page = page.where(json_member_is(_DESCRIBED.c.metadata, key, value, self.uow.dialect))
        # The rows of one page are sorted here, on the client.
        ids_of_page = page.limit(limit).offset(offset).subquery("page")
        is_of_page = APP_THREADS.c.thread_id == ids_of_page.c.thread_id
        rows = self.uow.execute(_ROW.join(ids_of_page, is_of_page)).all()
        return sorted(
            (AppThreadRow(*row) for row in rows), key=_sort_key(sort_by), reverse=descending
        )

    def delete(self, thread_id: UUID) -> None:
        """Delete a thread, and its runs if the database enforces foreign keys."""
        self.uow.execute(_DELETE, {"id": thread_id})

    def release_busy(self, thread_id: UUID, status: str, *, state: bool) -> bool:
        """Set the status of a busy thread that has no run in flight, and the time of its row.

        Returns:
            True if there was such a thread; `state` sets the time of the graph's state too.
        """
        for lock in prelock_statements(APP_THREADS, _IS_THREAD, self.uow.dialect):
            self.uow.execute(lock, {"id": thread_id})
        statement = _RELEASE.values({"status": status, **self._times(state=state)})
        return rowcount(self.uow.execute(statement, {"id": thread_id})) > 0

    def over(self, now: str, limit: int) -> Sequence[UUID]:
        """Return threads without runs in flight that were expired at `now`, oldest expiry first.

        Args:
            now: the database's time, in the format of ``ttl``.
            limit: the most threads to return.
        """
        return self.uow.execute(_OVER, {"now": now, "limit": limit}).scalars().all()

    def claim_over(self, thread_id: UUID, now: str) -> str | None:
        """Lock a thread that was expired at `now`, and return the text of its ``ttl``.

        Returns:
            None if not found, or if another transaction has locked it.
        """
        row = self.uow.execute(_CLAIM_OVER, {"id": thread_id, "now": now}).first()
        return None if row is None else str(row[1])

    def write_ttl(self, thread_id: UUID, ttl: Mapping[str, Any]) -> None:
        """Replace a thread's ``ttl``; no other column changes."""
        self.uow.execute(_UPDATE.values(ttl=ttl), {"id": thread_id})

    def _times(self, *, state: bool) -> dict[str, ColumnElement[datetime]]:
        now = utc_now(self.uow.dialect)
        return {"updated_at": now, "state_updated_at": now} if state else {"updated_at": now}


def _ordering(sort_by: str, *, descending: bool) -> Sequence[ColumnElement[Any]]:
    """Return the order by a column, then by thread_id; NULL sorts first on every database."""
    keys: list[ColumnElement[Any]] = [APP_THREADS.c[sort_by]]
    if APP_THREADS.c[sort_by].nullable:
        keys.insert(0, APP_THREADS.c[sort_by].is_not(None))
    if sort_by != "thread_id":
        keys.append(APP_THREADS.c.thread_id)
    return [key.desc() if descending else key.asc() for key in keys]


def _sort_key(sort_by: str) -> Callable[[AppThreadRow], tuple[Any, ...]]:
    """Return the key function that sorts rows as `_ordering` does."""

    def key(row: AppThreadRow) -> tuple[Any, ...]:
        value = getattr(row, sort_by)
        return (value is not None, value, row.thread_id)

    return key
