"""Answers of OpenAI's API: their id, model and usage are stored in the model's message."""

from typing import Any, Final

from threadlog.errors import ConversationError
from threadlog.messages import AssistantMessage, JsonObject, Message, Usage

_VALUES: Final = ("id", "model", "usage")

# The counts of all input, of the output, and the details of the first: of chat completions, of
# Responses. Some proxies write both, those of Responses with zeros.
_COUNTS: Final = (
    ("prompt_tokens", "completion_tokens", "prompt_tokens_details"),
    ("input_tokens", "output_tokens", "input_tokens_details"),
)

_STOP_REASONS: Final = {"tool_calls": "tool_use"}


def take_answer(others: dict[str, Any]) -> dict[str, Any]:
    """Return the values of an answer that a message has fields for, and remove them."""
    return {name: others.pop(name) for name in _VALUES if name in others}


def open_choice(choices: Any, others: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the messages of a chat completion, and the values that a message has fields for.

    Args:
        choices: its ``choices``.
        others: its other values, from which these are removed.

    Raises:
        ConversationError: it has several choices, or one without a message.
    """
    match choices:
        case [{"message": dict(message), **rest}]:
            if rest.get("index") == 0:
                del rest["index"]
            answer = {**take_answer(others), "finish_reason": rest.pop("finish_reason", None)}
            if any(value is not None and value != [] for value in rest.values()):
                others["choices"] = [rest]
            return [message], answer
    raise ConversationError(
        "choices must have one choice with a message. Write the messages of the conversation as a "
        "list."
    )


def store_answer(answer: dict[str, Any], messages: list[Message]) -> JsonObject:
    """Store the values of an answer in its last message, and return those that have no field."""
    others: JsonObject = {name: value for name, value in answer.items() if value is not None}
    message = messages[-1] if messages else None
    if not isinstance(message, AssistantMessage):
        return others
    usage = _usage(others.get("usage"))
    if usage is not None:
        message.usage = usage
        del others["usage"]
    if isinstance(identifier := others.get("id"), str):
        message.response_id = identifier
        del others["id"]
    if isinstance(model := others.get("model"), str):
        message.model_id = model
        del others["model"]
    if isinstance(reason := others.get("finish_reason"), str):
        message.stop_reason = _STOP_REASONS.get(reason, reason)
        del others["finish_reason"]
    return others


def _usage(raw: Any) -> Usage | None:
    """Return a usage with its other counts as extra fields, or None if not of these forms."""
    if not isinstance(raw, dict):
        return None
    for names in _COUNTS:
        total, output, details = (raw.get(name) for name in names)
        cached = (details.get("cached_tokens") or 0) if isinstance(details, dict) else 0
        # A value of the same name as ours would be lost.
        others = [raw.get(name) for name in Usage.model_fields if name not in names]
        is_lossless = all(value in (None, 0) for value in others)
        if is_lossless and type(total) is type(output) is type(cached) is int:
            counts = {
                "input_tokens": total - cached,
                "output_tokens": output,
                "cache_read_tokens": cached,
                "cache_write_tokens": 0,
            }
            return Usage.model_validate(raw | counts)
    return None
