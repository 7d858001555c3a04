"""Runs of an agent server: creating, changing, listing and claiming them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Insert,
    Table,
    bindparam,
    delete,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from threadlog.errors import RunAlreadyExistsError
from threadlog.models.dialects.json import ExactJson, as_text
from threadlog.models.dialects.locking import select_with_row_kept_locked
from threadlog.models.dialects.time import utc_now
from threadlog.models.dialects.types import UuidText
from threadlog.models.tables import APP_RUNS, APP_THREADS
from threadlog.repositories.base import Repository, chunks, rowcount

IN_FLIGHT: Final = ("pending", "running")
"""The statuses of a run that is not finished; every other one is final."""


def columns_of(table: Table, names: Iterable[str]) -> dict[str, ColumnElement[Any]]:
    """Return columns of a table by their names, those with ids and JSON as text."""
    columns = {name: table.c[name] for name in names}
    return {
        name: as_text(column) if isinstance(column.type, ExactJson | UuidText) else column
        for name, column in columns.items()
    }


class AppRunRow(NamedTuple):
    """A stored run; JSON as text."""

    run_id: str
    thread_id: str
    assistant_id: str
    created_at: datetime
    updated_at: datetime
    status: str
    metadata: str
    kwargs: str
    multitask_strategy: str
    error: str | None


_COLUMNS: Final = columns_of(APP_RUNS, AppRunRow._fields)
_ROW: Final = select(*_COLUMNS.values())
_THREAD: Final = bindparam("of_thread", type_=APP_RUNS.c.thread_id.type)
_OF_THREAD: Final = APP_RUNS.c.thread_id == _THREAD
_IS_RUN: Final = APP_RUNS.c.run_id == bindparam("id", type_=APP_RUNS.c.run_id.type)
_IS_IN_FLIGHT: Final = APP_RUNS.c.status.in_(IN_FLIGHT)

# Inserted from the thread's row, which is locked: no run without a thread, even if the database
# enforces no foreign keys, and no deletion or expiry between the check and the commit.
_NEW: Final = [column for column in APP_RUNS.columns if column.name not in {"thread_id", "error"}]
_GET: Final = _ROW.where(_OF_THREAD, _IS_RUN)
_PAGE: Final = (
    select(APP_RUNS.c.run_id)
    .where(_OF_THREAD)
    .order_by(APP_RUNS.c.created_at.desc(), APP_RUNS.c.run_id.desc())
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
)
_SET_STATUS: Final = update(APP_RUNS).where(_IS_RUN, _IS_IN_FLIGHT)
_DELETE: Final = delete(APP_RUNS).where(_OF_THREAD, _IS_RUN)
_DELETE_ALL: Final = delete(APP_RUNS).where(_OF_THREAD)
# Locks, so that it reads the latest commits and not a snapshot.
_ANY_IN_FLIGHT: Final = (
    select(APP_RUNS.c.run_id).where(_OF_THREAD, _IS_IN_FLIGHT).limit(1).with_for_update(read=True)
)

# Values in one IN list: below the limit of every server.
_AT_ONCE: Final = 500


class AppRunRepository(Repository):
    """Statements on the runs of an agent server, bound to one session."""

    def insert(self, row: Mapping[str, Any]) -> bool:
        """Insert a run without an error, and keep its thread until the transaction ends.

        Args:
            row: the run; its keys are the names of the columns.

        Returns:
            True if the thread exists; if not, nothing was inserted.

        Raises:
            RunAlreadyExistsError: a run of this id exists; the transaction may have ended.
        """
        given = {f"new_{column.name}": row[column.name] for column in _NEW}
        thread_id, run_id = row["thread_id"], row["run_id"]
        try:
            statement = _inserting(self.uow.dialect)
            return rowcount(self.uow.execute(statement, {**given, "of_thread": thread_id})) > 0
        except IntegrityError as error:
            # The thread is locked, so only the run's key can be the conflict.
            raise RunAlreadyExistsError(thread_id=str(thread_id), run_id=str(run_id)) from error

    def get(self, thread_id: UUID, run_id: UUID) -> AppRunRow | None:
        """Return a run of a thread; None if not found."""
        key = {"of_thread": thread_id, "id": run_id}
        row = self.uow.execute(_GET, key).first()
        return None if row is None else AppRunRow(*row)

    def page(
        self, thread_id: UUID, *, status: str | None, limit: int, offset: int
    ) -> list[AppRunRow]:
        """Return a page of a thread's runs, newest first, in one statement."""
        page = _PAGE if status is None else _PAGE.where(APP_RUNS.c.status == status)
        # The server sorts only ids: with large JSON MySQL runs out of sort memory (error 1038).
        # The rows of one page are sorted here, on the client.
        ids = page.subquery("page")
        key = {"of_thread": thread_id, "limit": limit, "offset": offset}
        rows = self.uow.execute(_ROW.join(ids, APP_RUNS.c.run_id == ids.c.run_id), key).all()
        found = [AppRunRow(*row) for row in rows]
        return sorted(found, key=lambda run: (run.created_at, run.run_id), reverse=True)

    def set_status(self, run_id: UUID, status: str, error: str | None) -> bool:
        """Set the status of a run in flight; return True if there was one."""
        statement = _SET_STATUS.values(status=status, error=error, updated_at=self._now())
        return rowcount(self.uow.execute(statement, {"id": run_id})) > 0

    def delete(self, thread_id: UUID, run_id: UUID) -> None:
        """Delete a run of a thread."""
        self.uow.execute(_DELETE, {"of_thread": thread_id, "id": run_id})

    def delete_all(self, thread_id: UUID) -> None:
        """Delete all runs of a thread."""
        self.uow.execute(_DELETE_ALL, {"of_thread": thread_id})

    def touch(self, run_ids: Sequence[UUID]) -> None:
        """Set ``updated_at`` of the runs in flight among these: one statement per 500 runs."""
        for some in _in_order(run_ids):
            alive = update(APP_RUNS).where(APP_RUNS.c.run_id.in_(some), _IS_IN_FLIGHT)
            self.uow.execute(alive.values(updated_at=self._now()))

    def lock_stale(self, seconds: float, exclude: Collection[UUID], error: str) -> list[AppRunRow]:
        """Lock runs in flight that were not touched for `seconds`, except those in `exclude`.

        Runs that another transaction has locked are skipped if the database supports it.

        Returns:
            The runs with the values that `fail` will write, by the database's clock.
        """
        changed = {
            "status": literal("error"),
            "error": literal(error, APP_RUNS.c.error.type),
            "updated_at": self._now(),
        }
        statement = select(*(changed.get(name, column) for name, column in _COLUMNS.items()))
        limit = utc_now(self.uow.dialect, seconds_ago=seconds)
        statement = statement.where(_IS_IN_FLIGHT, APP_RUNS.c.updated_at < limit)
        if exclude:
            statement = statement.where(APP_RUNS.c.run_id.not_in(exclude))
        rows = self.uow.execute(statement.with_for_update(skip_locked=True)).all()
        return [AppRunRow(*row) for row in rows]

    def fail(self, run_ids: Sequence[UUID], error: str, now: datetime) -> None:
        """Set the status of runs from `lock_stale` to ``error``: one statement per 500 runs."""
        for some in _in_order(run_ids):
            failed = update(APP_RUNS).where(APP_RUNS.c.run_id.in_(some))
            self.uow.execute(failed.values(status="error", error=error, updated_at=now))

    def any_in_flight(self, thread_id: UUID) -> bool:
        """Return True if a thread has an unfinished run; the caller holds the thread's lock."""
        return self.uow.execute(_ANY_IN_FLIGHT, {"of_thread": thread_id}).first() is not None

    def _now(self) -> ColumnElement[datetime]:
        return utc_now(self.uow.dialect)


@cache
def _inserting(dialect: str) -> Insert:
    values = [bindparam(f"new_{column.name}", type_=column.type) for column in _NEW]
    row = select_with_row_kept_locked(
        APP_THREADS, APP_THREADS.c.thread_id == _THREAD, values, dialect
    )
    names = ["thread_id", *(column.name for column in _NEW)]
    return insert(APP_RUNS).from_select(names, row).execution_options(preserve_rowcount=True)


def _in_order(run_ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    """Divide ids in sorted order, so that two transactions on the same ids do not deadlock."""
    return chunks(sorted(run_ids), _AT_ONCE)
