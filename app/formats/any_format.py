"""Read and write a conversation in any of the formats."""

from collections.abc import Callable
from typing import Any, Final, get_args

from threadlog.encoding.validation import check_one_of
from threadlog.formats.anthropic import from_anthropic, to_anthropic
from threadlog.formats.finding import (
    LISTS,
    holder_of,
    is_answer_of_anthropic,
    paths_of_lists,
    without_batch,
)
from threadlog.formats.langchain import from_langchain, is_langchain_type, to_langchain
from threadlog.formats.openai_chat import from_openai_chat, to_openai_chat
from threadlog.formats.openai_responses import from_openai_responses, to_openai_responses
from threadlog.formats.sharegpt import from_sharegpt, to_sharegpt
from threadlog.formats.transcript import FormatName, Transcript, Unknown
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

_RESPONSES_PARTS: Final = {"input_text", "input_image", "input_file", "output_text"}
_RESPONSES_ITEMS: Final = {
    *("reasoning", "item_reference", "program", "compaction", "compaction_trigger"),
    *("additional_tools", "configuration_update", "mcp_list_tools"),
}
_RESPONSES_ENDINGS: Final = ("_call", "_output", "_approval_request", "_approval_response")

_ANTHROPIC_PARTS: Final = {
    *("image", "document", "search_result", "container_upload", "thinking", "redacted_thinking"),
    *("tool_use", "server_tool_use", "mcp_tool_use", "tool_result", "mcp_tool_listing"),
    *("tool_addition", "tool_removal", "compaction", "fallback"),
}


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
    holder = holder_of(raw) if isinstance(raw, dict) else {"messages": raw}
    found = _format_of_object(holder)
    if found is not None:
        return found
    messages = without_batch(next((holder[key] for key in LISTS if key in holder), None))
    found_items = messages if isinstance(messages, list) else []
    items = [item for item in found_items if isinstance(item, dict)]
    for item in items:
        found = _format_of(item)
        if found is not None:
            return found
    if "input" in holder and "messages" not in holder and "model" in holder:
        return "openai_responses"
    is_anthropics = str(holder.get("model")).startswith("claude") or any(map(_is_cached, items))
    return "anthropic" if is_anthropics else "openai_chat"


def _format_of_object(raw: dict[str, Any]) -> FormatName | None:
    """Return the format that the values beside the messages tell, or None."""
    if is_answer_of_anthropic(raw) or isinstance(raw.get("system"), list):
        return "anthropic"
    match raw.get("tools"):
        case [{"input_schema": _}, *_]:
            return "anthropic"
    if paths_of_lists(raw) == [("choices",)]:
        return "openai_chat"
    is_request = "messages" not in raw and "input" in raw and "instructions" in raw
    return "openai_responses" if is_request or raw.get("object") == "response" else None


def _format_of(item: dict[str, Any]) -> FormatName | None:
    """Return the format of a message, or None if several formats have such messages."""
    found: FormatName | None = None
    name = str(item.get("type"))
    if "from" in item and "value" in item:
        found = "sharegpt"
    elif "role" not in item and ("lc" in item or is_langchain_type(name) or "data" in item):
        found = "langchain"
    elif "role" not in item:
        if name in _RESPONSES_ITEMS or name.endswith(_RESPONSES_ENDINGS):
            found = "openai_responses"
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
    if types & _ANTHROPIC_PARTS or any(name.endswith("_tool_result") for name in types):
        return "anthropic"
    if item.get("type") == "message":
        return "anthropic" if "stop_reason" in item else "openai_responses"
    return "openai_chat" if "image_url" in types else None


def _is_cached(item: dict[str, Any]) -> bool:
    """Return True for a message with a mark of Anthropic's cache, which proxies accept too."""
    parts = item.get("content")
    return isinstance(parts, list) and any(
        isinstance(part, dict) and "cache_control" in part for part in parts
    )
