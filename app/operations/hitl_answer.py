"""Answers that people gave."""

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from threadlog.errors import CheckpointCorruptionError, InvalidInputError
from threadlog.models import HitlAnswer
from threadlog.packing import check_size
from threadlog.repositories import UnitOfWork
from threadlog.store import OwnedStore
from threadlog.validation import check_id, check_ids, check_json


def save_hitl_answer(
    store: OwnedStore[Any, Any, Any],
    thread_id: str,
    question_id: str,
    answer: Any,
    *,
    run_id: str | None,
) -> None:
    """Keep an answer; see `Checkpointer.save_hitl_answer`."""

    def save(uow: UnitOfWork) -> None:
        uow.threads.lock(thread_id)
        uow.hitl_answers.save(thread_id, run_id, question_id, value)

    _check(thread_id, run_id)
    check_id(question_id, "question_id")
    value = _encode(answer)
    check_size(value, "answer", store.statement_limit)
    store.write(save)


def load_hitl_answer(
    store: OwnedStore[Any, Any, Any], thread_id: str, question_id: str, *, run_id: str | None
) -> Any:
    """Read an answer; see `Checkpointer.load_hitl_answer`."""
    _check(thread_id, run_id)
    check_id(question_id, "question_id")
    text = store.read(lambda uow: uow.hitl_answers.load(thread_id, run_id, question_id))
    if text is None:
        return None
    try:
        return json.loads(text)
    except (TypeError, ValueError) as error:
        raise CheckpointCorruptionError(
            table=HitlAnswer.__tablename__,
            thread_id=thread_id,
            seq=None,
            reason=f"the answer to question {question_id!r} is not JSON",
        ) from error


def clear_hitl_answers(
    store: OwnedStore[Any, Any, Any],
    thread_id: str,
    question_ids: Iterable[str] | None,
    *,
    run_id: str | None,
) -> None:
    """Delete answers; see `Checkpointer.clear_hitl_answers`."""
    _check(thread_id, run_id)
    questions = None
    if question_ids is not None:
        questions = check_ids(question_ids, "question_ids")
        if not questions:
            return
    store.write(lambda uow: uow.hitl_answers.clear(thread_id, run_id, questions))


def _check(thread_id: str, run_id: str | None) -> None:
    check_id(thread_id)
    if run_id is not None:
        check_id(run_id, "run_id")


def _encode(answer: Any) -> Any:
    """Turn an answer, which may be or hold Pydantic models, into a JSON value."""
    try:
        value = _without_models(answer)
    except (PydanticSerializationError, RecursionError, ValueError) as error:
        raise InvalidInputError(
            "answer holds a model with a field that is missing or not of its declared type, "
            "or is nested too deep."
        ) from error
    check_json(value, "answer")
    return value


def _without_models(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(warnings="error")
    if isinstance(value, dict):
        return {key: _without_models(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_models(inner) for inner in value]
    return value
