"""Save, load and remove the question that waits for a person."""

import json
from typing import Any

from threadlog.encoding.json_value import to_json_value
from threadlog.encoding.statement_size import check_size
from threadlog.encoding.validation import check_id
from threadlog.encryption import Place, from_json, refuse_encrypted
from threadlog.errors import (
    CheckpointCorruptionError,
    InvalidInputError,
)
from threadlog.log.conditions import check_claim, check_held, fence_of, lease_lost
from threadlog.log.framework_types import FrameworkTypes, RequestT
from threadlog.log.hitl_answers import check_answer_key
from threadlog.log.owners import check_thread_owner, resolve_owner, write_thread
from threadlog.log.results import Claim
from threadlog.models import Thread
from threadlog.repositories import UnitOfWork
from threadlog.repositories.log.pending_request import PendingRequestRow
from threadlog.runtime.transactions import TransactionRunner


def save_pending_request(
    transactions: TransactionRunner,
    vocabulary: FrameworkTypes[Any, RequestT, Any],
    thread_id: str,
    request: RequestT | None,
    *,
    run_id: str | None = None,
    owner: str | None = None,
    claim: Claim | None = None,
) -> None:
    """Save a question, or remove it; see `Checkpointer.save_pending_request`."""
    check_id(thread_id)
    if claim is not None:
        check_claim(claim, thread_id)
    resolve_owner(transactions, owner)  # checks it
    content: dict[str, Any] | None = None
    if request is not None:
        if run_id is not None:
            check_id(run_id, "run_id")
        content = _encode(vocabulary, request)
        check_answer_key(thread_id, run_id, content["question_id"])
        encrypted = transactions.facts.encryption is not None
        check_size(content, "request", transactions.statement_limit, encrypted=encrypted)

    def save(uow: UnitOfWork) -> None:
        fence = fence_of(uow, claim)
        if content is None:
            if owner is not None:
                check_thread_owner(uow, thread_id, owner)
            written = uow.pending_requests.clear(thread_id, fence)
        else:
            written = uow.pending_requests.save(thread_id, content, run_id, fence)
        if claim is not None and not written:
            raise lease_lost(uow, claim)

    if content is None:  # no thread is created
        transactions.write(save, idempotent=True)
    else:
        write_thread(transactions, thread_id, owner, save, claim=claim)


def load_pending(
    transactions: TransactionRunner, vocabulary: FrameworkTypes[Any, RequestT, Any], thread_id: str
) -> tuple[RequestT, str | None] | None:
    """Read the question and its run; see `Checkpointer.load_pending`."""
    check_id(thread_id)
    row = transactions.read(lambda uow: uow.pending_requests.load(thread_id))
    return None if row is None else (_decode(vocabulary, thread_id, row), row.run_id)


def load_pending_run_id(transactions: TransactionRunner, thread_id: str) -> str | None:
    """Read which run asked; see `Checkpointer.load_pending_run_id`."""
    check_id(thread_id)
    row = transactions.read(lambda uow: uow.pending_requests.load(thread_id))
    return None if row is None else row.run_id


def clear_pending_request_if_matches(
    transactions: TransactionRunner,
    thread_id: str,
    *,
    question_id: str,
    run_id: str,
    claim: Claim | None = None,
) -> bool:
    """Remove a certain question; see `Checkpointer.clear_pending_request_if_matches`."""
    check_id(thread_id)
    check_id(question_id, "question_id")
    check_id(run_id, "run_id")
    if claim is not None:
        check_claim(claim, thread_id)
    removed = False

    def clear(uow: UnitOfWork) -> bool:
        nonlocal removed
        was_removed = removed
        fence = fence_of(uow, claim)
        removed = uow.pending_requests.clear_if_same(thread_id, question_id, run_id, fence)
        if uow.lost_commits and was_removed and not removed:
            raise uow.outcome_unknown()  # removed by this call, or by another since
        if claim is not None and not removed:
            check_held(uow, claim)
        return removed

    return transactions.write(clear, idempotent=True)


def _encode(vocabulary: FrameworkTypes[Any, RequestT, Any], request: RequestT) -> dict[str, Any]:
    kind = vocabulary.request
    if not isinstance(request, kind):
        raise InvalidInputError(
            f"request must be a {kind.__module__}.{kind.__name__} or None, "
            f"not {type(request).__name__}."
        )
    content: dict[str, Any] = to_json_value(request, "request")
    check_id(content.get("question_id"), "question_id")
    return content


def _decode(
    vocabulary: FrameworkTypes[Any, RequestT, Any], thread_id: str, row: PendingRequestRow
) -> RequestT:
    try:
        content = json.loads(row.request)
        refuse_encrypted(from_json(content), Place("pending_request", thread_id))
        return vocabulary.request.model_validate(content)
    except (TypeError, ValueError) as error:
        raise CheckpointCorruptionError(
            table=Thread.__tablename__,
            thread_id=thread_id,
            reason=f"{type(error).__name__} while reading pending_request",
        ) from error
