"""Pending requests: the question that waits for a person, at most one per thread."""

from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, select, update

from threadlog.models.dialects.json import as_text
from threadlog.models.dialects.types import as_bytes
from threadlog.models.dialects.upsert import insert_if_absent
from threadlog.models.tables import THREADS
from threadlog.repositories.base import Repository, Statement

_SAVE: Final = Statement(
    update(THREADS)
    .where(THREADS.c.thread_id == bindparam("id"))
    .values(pending_request=bindparam("request"), run_id=bindparam("of_run"))
)
_CLEAR: Final = (
    update(THREADS)
    .where(THREADS.c.thread_id == bindparam("id"))
    .values(pending_request=None, run_id=None)
)
_CLEAR_ANY: Final = Statement(_CLEAR)
_CLEAR_IF_SAME: Final = Statement(
    _CLEAR.where(
        as_bytes(THREADS.c.pending_request["question_id"].as_string())
        == as_bytes(bindparam("question_id")),
        as_bytes(THREADS.c.run_id) == as_bytes(bindparam("of_run")),
    )
)
# The run first: asyncmy reads a row that begins with a value of 16 MiB as the end of the rows.
_LOAD: Final = Statement(
    select(THREADS.c.run_id, as_text(THREADS.c.pending_request)).where(
        THREADS.c.thread_id == bindparam("thread_id"), THREADS.c.pending_request.is_not(None)
    )
)


class PendingRequestRow(NamedTuple):
    """A stored pending request, not yet decoded."""

    run_id: str | None
    request: str
    """The request's JSON text."""


class PendingRequestRepository(Repository):
    """Statements on pending requests, bound to one session."""

    def save(self, thread_id: str, request: dict[str, Any], run_id: str | None) -> None:
        """Replace a thread's pending request; the thread is created if need be.

        On an existing thread it is one statement under READ COMMITTED. Under REPEATABLE READ
        an UPDATE of a missing row locks the gap, so the row is created first.
        """
        values = {"id": thread_id, "request": request, "of_run": run_id}
        if self.uow.read_committed and self.uow.run(_SAVE, values).rowcount:
            return
        dialect = self.uow.dialect
        self.uow.execute(insert_if_absent(THREADS, dialect), {"thread_id": thread_id})
        self.uow.run(_SAVE, values)

    def clear(self, thread_id: str) -> None:
        """Remove a thread's pending request with its run id; a missing thread is not created."""
        self.uow.run(_CLEAR_ANY, {"id": thread_id})

    def clear_if_same(self, thread_id: str, question_id: str, run_id: str) -> bool:
        """Remove a pending request, in one statement, if it is this question of this run.

        The question id and the run id are compared byte by byte.

        Returns:
            True if it was removed.
        """
        key = {"id": thread_id, "question_id": question_id, "of_run": run_id}
        return self.uow.run(_CLEAR_IF_SAME, key).rowcount == 1

    def load(self, thread_id: str) -> PendingRequestRow | None:
        """Return a thread's pending request with its run id; None if not found."""
        row = self.uow.run(_LOAD, {"thread_id": thread_id}).first()
        return None if row is None else PendingRequestRow(*row)
