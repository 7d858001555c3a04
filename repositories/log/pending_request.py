"""Pending requests: the question that waits for a person, at most one per thread."""

from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import BindParameter, Update, bindparam, select, update

from threadlog.encryption import Place
from threadlog.models.dialects.json import as_text
from threadlog.models.dialects.types import as_bytes
from threadlog.models.dialects.upsert import insert_if_absent
from threadlog.models.tables import THREADS
from threadlog.repositories.base import Repository, Statement
from threadlog.repositories.log.lease import Fence, where_held

_ID: Final[BindParameter[str]] = bindparam("id", type_=THREADS.c.thread_id.type)
_OF_ID: Final = update(THREADS).where(THREADS.c.thread_id == _ID)
_SAVE: Final = _OF_ID.values(pending_request=bindparam("request"), run_id=bindparam("of_run"))
_CLEAR: Final = _OF_ID.values(pending_request=None, run_id=None)
_CLEAR_IF_SAME: Final = _CLEAR.where(
    as_bytes(THREADS.c.pending_request["question_id"].as_string())
    == as_bytes(bindparam("question_id")),
    as_bytes(THREADS.c.run_id) == as_bytes(bindparam("of_run")),
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

    def save(
        self, thread_id: str, request: dict[str, Any], run_id: str | None, fence: Fence | None
    ) -> bool:
        """Replace a thread's pending request; the thread is created if need be.

        On an existing thread it is one statement under READ COMMITTED. Under REPEATABLE READ
        an UPDATE of a missing row locks the gap, so the row is created first. A thread with a
        lease exists.

        Returns:
            False if the lease was taken over, and nothing was written.
        """
        if self.uow.encryption is not None:
            # The thread first: its owner, whose key is needed, is read under the thread's lock.
            if fence is None:
                self.uow.threads.lock(thread_id)
            elif not self.uow.leases.lock_thread(thread_id, fence):
                return False
            request = self.uow.encrypted_values.encrypt_request(thread_id, request)
        values = {"id": thread_id, "request": request, "of_run": run_id}
        if fence is not None or self.uow.read_committed:
            written = self._run(_SAVE, values, fence)
            if written or fence is not None:
                return written
        self.uow.execute(insert_if_absent(THREADS, self.uow.dialect), {"thread_id": thread_id})
        return self._run(_SAVE, values, None)

    def clear(self, thread_id: str, fence: Fence | None) -> bool:
        """Remove a thread's pending request with its run id; a missing thread is not created.

        Returns:
            False if there is no such thread, or the lease was taken over.
        """
        return self._run(_CLEAR, {"id": thread_id}, fence)

    def clear_if_same(
        self, thread_id: str, question_id: str, run_id: str, fence: Fence | None
    ) -> bool:
        """Remove a pending request, in one statement, if it is this question of this run.

        The question id and the run id are compared byte by byte.

        Returns:
            True if it was removed; False also if the lease was taken over.
        """
        key = {"id": thread_id, "question_id": question_id, "of_run": run_id}
        return self._run(_CLEAR_IF_SAME, key, fence)

    def load(self, thread_id: str) -> PendingRequestRow | None:
        """Return a thread's pending request with its run id; None if not found."""
        row = self.uow.run(_LOAD, {"thread_id": thread_id}).first()
        if row is None:
            return None
        run_id, request = row
        if self.uow.encryption is not None:
            place = Place("pending_request", thread_id)
            request = self.uow.encrypted_values.decrypt_json(request, place)
        return PendingRequestRow(run_id, request)

    def _run(self, statement: Update, values: dict[str, Any], fence: Fence | None) -> bool:
        """Run an UPDATE of the thread's row, and return True if it matched."""
        if fence is None:
            return self.uow.run(_plain(statement), values).rowcount == 1
        fenced = _fenced(statement, self.uow.dialect)
        return self.uow.run(fenced, {**values, **fence._asdict()}).rowcount == 1


@cache
def _plain(statement: Update) -> Statement:
    return Statement(statement)


@cache
def _fenced(statement: Update, dialect: str) -> Statement:
    return Statement(where_held(statement, _ID, dialect))
