"""Read and write a conversation in any of the formats."""

from collections.abc import Callable
from typing import Any, Final, get_args

from threadlog.encoding.validation import check_one_of
from threadlog.formats.anthropic import from_anthropic, to_anthropic
from threadlog.formats.langchain import from_langchain, to_langchain
from threadlog.formats.openai_chat import from_openai_chat, to_openai_chat
from threadlog.formats.openai_responses import from_openai_responses, to_openai_responses
from threadlog.formats.sharegpt import from_sharegpt, to_sharegpt
from threadlog.formats.transcript import LISTS, FormatName, Transcript, Unknown
from threadlog.messages import JsonObject, Message

_READERS: Final[dict[FormatName, Callable[..., Transcript]]] = {
    "openai_chat": from_openai_chat,
    "openai_responses": from_openai_responses,
    "anthropic": from_anthropic,
    "sharegpt": from_sharegpt,
    "langchain": from_langchain,
}

WRITERS: Final[dict[FormatName, Callable[[list[Message]], list[JsonObject]]]] = {
    "openai_chat": to_openai_chat,
    "openai_responses": to_openai_responses,
    "anthropic": to_anthropic,
    "sharegpt": to_sharegpt,
    "langchain": to_langchain,
}

_ANTHROPIC_PARTS: Final = {
    "image",
    "document",
    "tool_use",
    "tool_result",
    "thinking",
    "redacted_thinking",
}
_RESPONSES_PARTS: Final = {"input_text", "input_image", "input_file", "output_text"}


def read_conversation(
    raw: object,
    *,
    format: FormatName | None = None,  # noqa: A002 - the name of the command line's option
    unknown: Unknown = "keep",
) -> Transcript:
    """Convert a conversation in any of the formats to threadlog's messages.

    Args:
        raw: the list of messages, or an object with the list and other values.
        format: the format, if it is not to be told from the first message that has a mark of it.
        unknown: whether values that threadlog's messages have no field for are kept in the
            metadata or refused.

    Raises:
        ConversationError: the conversation cannot be stored unchanged.
    """
    if format is not None:
        check_one_of(format, "format", get_args(FormatName))
    return _READERS[format or detect_format(raw)](raw, unknown=unknown)


def detect_format(raw: object) -> FormatName:
    """Return the format of a conversation: OpenAI's chat completions if nothing tells another."""
    if isinstance(raw, dict):
        if isinstance(raw.get("system"), list):
            return "anthropic"
        if "input" in raw and raw.keys() & {"instructions", "model"}:
            return "openai_responses"
        raw = next((raw[key] for key in LISTS if key in raw), None)
    for item in raw if isinstance(raw, list) else []:
        found = _format_of(item) if isinstance(item, dict) else None
        if found is not None:
            return found
    return "openai_chat"


def _format_of(item: dict[str, Any]) -> FormatName | None:
    """Return the format of a message, or None if several formats have such messages."""
    found: FormatName | None = None
    if "from" in item and "value" in item:
        found = "sharegpt"
    elif "role" not in item:
        if "type" in item:
            dumped = item.keys() & {"content", "data", "lc"} and item["type"] != "reasoning"
            found = "langchain" if dumped else "openai_responses"
    elif item["role"] == "tool" or "tool_calls" in item:
        found = "openai_chat"
    else:
        found = _format_of_parts(item)
    return found


def _format_of_parts(item: dict[str, Any]) -> FormatName | None:
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    types = {str(part.get("type")) for part in parts if isinstance(part, dict)}
    if types & _RESPONSES_PARTS:
        return "openai_responses"
    if types & _ANTHROPIC_PARTS:
        return "anthropic"
    if item.get("type") == "message":
        return "anthropic" if "stop_reason" in item else "openai_responses"
    return "openai_chat" if "image_url" in types else None
