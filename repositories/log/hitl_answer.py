"""People's answers, stored by thread, run and question."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import BindParameter, Delete, bindparam, delete, select

from threadlog.encryption import Place
from threadlog.models.dialects.json import as_text, exact_json
from threadlog.models.dialects.time import statement_time
from threadlog.models.dialects.types import as_bytes, id_equals
from threadlog.models.dialects.upsert import insert_or_replace
from threadlog.models.tables import ANSWERS
from threadlog.repositories.base import Repository, Statement, chunks, rowcount
from threadlog.repositories.log.lease import Fence, where_held

_THREAD_ID: Final[BindParameter[str]] = bindparam("thread_id", type_=ANSWERS.c.thread_id.type)
_OF_RUN: Final = (
    ANSWERS.c.thread_id == _THREAD_ID,
    id_equals(ANSWERS.c.run_id, bindparam("run_id")),
)
_IS_QUESTION: Final = id_equals(ANSWERS.c.question_id, bindparam("question_id"))
# The key first: asyncmy reads a row that begins with a value of 16 MiB as the end of the rows.
_LOAD: Final = Statement(
    select(ANSWERS.c.question_id, as_text(ANSWERS.c.answer)).where(*_OF_RUN, _IS_QUESTION)
)
_CLEAR: Final = delete(ANSWERS).where(*_OF_RUN)

_CLEAR_SOME: Final = _CLEAR.where(
    ANSWERS.c.question_id.in_(bindparam("question_ids", expanding=True)),
    as_bytes(ANSWERS.c.question_id).in_(bindparam("question_ids", expanding=True)),
)

# Values in one IN list: below the limit of every server.
_AT_ONCE: Final = 500

_NO_RUN: Final = ""
"""The run id in the key of a question without a run."""


def answer_place(thread_id: str, run_id: str | None, question_id: str) -> Place:
    """Return the place of an answer for its encryption."""
    return Place("answer", thread_id, ids=(run_id or _NO_RUN, question_id))


class HitlAnswerRepository(Repository):
    """Statements on answers, bound to one session."""

    def save(self, thread_id: str, run_id: str | None, question_id: str, answer: Any) -> None:
        """Insert an answer or replace the stored one, in one statement.

        Args:
            thread_id: the thread.
            run_id: the run that asked; None for a question without a run.
            question_id: the question.
            answer: a JSON value.
        """
        dialect = self.uow.dialect
        if self.uow.encryption is not None:
            place = answer_place(thread_id, run_id, question_id)
            answer = self.uow.encrypted_values.encrypt_json(answer, place)
        row = {
            "thread_id": thread_id,
            "run_id": run_id or _NO_RUN,
            "question_id": question_id,
            "answer": exact_json(answer, dialect),
            "answered_at": statement_time(),
        }
        self.uow.execute(insert_or_replace(ANSWERS, dialect, row))

    def load(self, thread_id: str, run_id: str | None, question_id: str) -> str | bytes | None:
        """Return an answer's JSON text; None if not found."""
        key = {"thread_id": thread_id, "run_id": run_id or _NO_RUN, "question_id": question_id}
        row = self.uow.run(_LOAD, key).first()
        answer: str | bytes | None = None if row is None else row[1]
        if answer is None or self.uow.encryption is None:
            return answer
        place = answer_place(thread_id, run_id, question_id)
        return self.uow.encrypted_values.decrypt_json(answer, place)

    def clear(
        self,
        thread_id: str,
        run_id: str | None,
        question_ids: Sequence[str] | None,
        fence: Fence | None,
    ) -> int:
        """Delete a run's answers to `question_ids`, or all its answers if that is None.

        Returns:
            How many were deleted: none if the lease was taken over.
        """
        key: dict[str, Any] = {"thread_id": thread_id, "run_id": run_id or _NO_RUN}
        if question_ids is None:
            return self._delete(_CLEAR, key, fence)
        return sum(
            self._delete(_CLEAR_SOME, {**key, "question_ids": some}, fence)
            for some in chunks(question_ids, _AT_ONCE)
        )

    def _delete(self, statement: Delete, key: dict[str, Any], fence: Fence | None) -> int:
        if fence is not None:
            statement = _fenced(statement, self.uow.dialect)
            key = {**key, **fence._asdict()}
        return rowcount(self.uow.execute(statement, key))


@cache
def _fenced(statement: Delete, dialect: str) -> Delete:
    return where_held(statement, _THREAD_ID, dialect)
