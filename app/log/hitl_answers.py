"""Save, load and delete people's answers."""

import json
from collections.abc import Iterable
from typing import Any, Final

from threadlog.encoding.json_value import to_json_value
from threadlog.encoding.statement_size import check_size
from threadlog.encoding.validation import check_id, check_ids
from threadlog.encryption import Place, check_is_plain, from_json, refuse_encrypted
from threadlog.errors import CheckpointCorruptionError, InvalidIdError
from threadlog.log.conditions import check_claim, check_held, fence_of, lease_lost
from threadlog.log.owners import write_thread
from threadlog.log.results import Claim
from threadlog.models import HitlAnswer
from threadlog.repositories import UnitOfWork
from threadlog.runtime.transactions import TransactionRunner

# A row of an index of PostgreSQL has at most 2,704 bytes, with up to 29 beside these.
_MAX_KEY_BYTES: Final = 2_600


def save_hitl_answer(
    transactions: TransactionRunner,
    thread_id: str,
    question_id: str,
    answer: Any,
    *,
    run_id: str | None = None,
    owner: str | None = None,
    claim: Claim | None = None,
) -> None:
    """Save an answer; see `Checkpointer.save_hitl_answer`."""

    def save(uow: UnitOfWork) -> None:
        fence = fence_of(uow, claim)
        if claim is None or fence is None:
            uow.threads.lock(thread_id)
        elif not uow.leases.lock_thread(thread_id, fence):
            raise lease_lost(uow, claim)
        uow.hitl_answers.save(thread_id, run_id, question_id, value)

    _check(thread_id, run_id, claim)
    check_id(question_id, "question_id")
    check_answer_key(thread_id, run_id, question_id)
    value = to_json_value(answer, "answer")
    check_is_plain(value, "answer")
    encrypted = transactions.facts.encryption is not None
    check_size(value, "answer", transactions.statement_limit, encrypted=encrypted)
    write_thread(transactions, thread_id, owner, save, claim=claim)


def load_hitl_answer(
    transactions: TransactionRunner,
    thread_id: str,
    question_id: str,
    *,
    run_id: str | None = None,
    default: Any = None,
) -> Any:
    """Read an answer; see `Checkpointer.load_hitl_answer`."""
    _check(thread_id, run_id)
    check_id(question_id, "question_id")
    text = transactions.read(lambda uow: uow.hitl_answers.load(thread_id, run_id, question_id))
    if text is None:
        return default
    try:
        answer = json.loads(text)
    except (TypeError, ValueError) as error:
        raise CheckpointCorruptionError(
            table=HitlAnswer.__tablename__,
            thread_id=thread_id,
            reason=f"the answer to question {question_id!r} is not JSON",
        ) from error
    refuse_encrypted(from_json(answer), Place("answer", thread_id))
    return answer


def clear_hitl_answers(
    transactions: TransactionRunner,
    thread_id: str,
    question_ids: Iterable[str] | None = None,
    *,
    run_id: str | None = None,
    claim: Claim | None = None,
) -> None:
    """Delete answers; see `Checkpointer.clear_hitl_answers`."""

    def clear(uow: UnitOfWork) -> None:
        deleted = uow.hitl_answers.clear(thread_id, run_id, questions, fence_of(uow, claim))
        if claim is not None and not deleted:
            check_held(uow, claim)

    _check(thread_id, run_id, claim)
    questions = None
    if question_ids is not None:
        questions = check_ids(question_ids, "question_ids")
        if not questions:
            return
    transactions.write(clear, idempotent=True)


def check_answer_key(thread_id: str, run_id: str | None, question_id: str) -> None:
    """Raise InvalidIdError if ids that were checked are too long together to be a key."""
    size = len(f"{thread_id}{run_id or ''}{question_id}".encode())
    if size > _MAX_KEY_BYTES:
        reason = f"must have, with thread_id and run_id, at most {_MAX_KEY_BYTES:,} bytes in UTF-8"
        raise InvalidIdError(name="question_id", reason=f"{reason}, not {size:,}")


def _check(thread_id: str, run_id: str | None, claim: Claim | None = None) -> None:
    check_id(thread_id)
    if claim is not None:
        check_claim(claim, thread_id)
    if run_id is not None:
        check_id(run_id, "run_id")
