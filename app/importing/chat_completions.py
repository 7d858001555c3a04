"""Convert conversations from the chat-completions form to threadlog's messages.

Model providers' HTTP APIs and most logs use that form: a list of dicts with ``role`` and
``content``. Reading raises an error for a value that cannot be stored, and never drops one.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from threadlog.errors import ConversationError
from threadlog.messages import (
    AssistantContent,
    AssistantMessage,
    Content,
    ImageContent,
    JsonObject,
    Message,
    TextContent,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)

_SYSTEM_ROLES: Final = ("system", "developer")

# The keys that are stored in fields of a message, by role; all other keys are stored in its
# metadata.
_FIELDS: Final[dict[str, set[str]]] = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls"},
    "tool": {"role", "content", "tool_call_id", "name"},
}


class Transcript(NamedTuple):
    """A conversation in threadlog's form."""

    system: str | None
    """The text of the initial system message."""

    messages: list[Message]


def read_transcript(raw: object) -> Transcript:
    """Convert a list of chat-completions messages to threadlog's.

    The text of an initial system (or developer) message is returned separately: it is the
    application's, not a part of the conversation.

    Raises:
        ConversationError: a message cannot be stored unchanged.
    """
    if not isinstance(raw, list):
        raise ConversationError(f"messages must be a list, not {_kind(raw)}.")
    system: str | None = None
    messages: list[Message] = []
    tools: dict[str, str] = {}
    for index, item in enumerate(raw):
        try:
            if index == 0 and isinstance(item, dict) and item.get("role") in _SYSTEM_ROLES:
                system = _system_text(item)
            else:
                messages.append(_read_message(item, tools))
        except ConversationError as error:
            raise ConversationError(f"messages[{index}]{error}") from None
    return Transcript(system, messages)


def parse_json(text: str | bytes, what: str) -> Any:
    """Parse standard JSON whose values can be stored unchanged.

    Python's own parser accepts NaN, converts large numbers to infinity, and drops the first of
    two equal keys.

    Args:
        text: the document.
        what: its name in errors.

    Raises:
        ConversationError: it cannot be parsed.
    """
    try:
        return json.loads(
            text.decode("utf-8-sig") if isinstance(text, bytes) else text,
            parse_constant=_no_constant,
            parse_float=_finite,
            object_pairs_hook=_no_duplicate_keys,
        )
    except RecursionError:
        raise ConversationError(f"{what} is nested too deeply.") from None
    except UnicodeDecodeError:
        raise ConversationError(f"{what} is not UTF-8.") from None
    except json.JSONDecodeError as error:
        raise ConversationError(
            f"{what} is not JSON: {error.msg} at character {error.pos + 1}."
        ) from None
    except ValueError as error:
        raise ConversationError(f"{what} is not JSON that can be stored: {error}.") from None


def _read_message(item: object, tools: dict[str, str]) -> Message:
    """Convert one message; adds the names of called tools to `tools`, by the calls' ids."""
    if not isinstance(item, dict):
        raise _fault(f" must be an object, not {_kind(item)}")
    match item.get("role"):
        case "user":
            return UserMessage(content=_content(item.get("content")), metadata=_rest(item, "user"))
        case "assistant":
            return _assistant(item, tools)
        case "tool":
            return _tool_result(item, tools)
        case "system" | "developer" as role:
            raise _fault(f" is a {role} message, which can be stored only as the first message")
        case role:
            raise _fault(f" has the unknown role {role!r}")


def _system_text(item: Mapping[str, Any]) -> str:
    if unknown := sorted(_rest(item, "system")):
        raise _fault(f": the {unknown[0]!r} of a system message cannot be stored")
    content = _content(item.get("content"))
    texts = [block.text for block in content if isinstance(block, TextContent)]
    if len(texts) != len(content):
        raise _fault(": a system message can be stored only if it is text")
    return "".join(texts)


def _assistant(item: Mapping[str, Any], tools: dict[str, str]) -> AssistantMessage:
    metadata = _rest(item, "assistant")
    if "function_call" in metadata:
        raise _fault(" has a 'function_call', which tool_calls replaced; convert it first")
    raw = item.get("content")
    parts = raw if isinstance(raw, list) else []
    for place, part in enumerate(parts):
        if isinstance(part, dict) and part.get("type") == "refusal":
            if "refusal" in metadata:
                raise _fault(" has more than one refusal")
            metadata["refusal"] = _string(part.get("refusal"), f".content[{place}].refusal")
            raw = [*parts[:place], *parts[place + 1 :]]
    calls = [
        _tool_call(f".tool_calls[{place}]", call)
        for place, call in enumerate(_list(item.get("tool_calls"), ".tool_calls"))
    ]
    tools.update((call.id, call.name) for call in calls)
    content: list[AssistantContent] = [*_content(raw), *calls]
    return AssistantMessage(
        content=content, stop_reason="tool_use" if calls else "stop", metadata=metadata
    )


def _tool_call(where: str, call: object) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(function, dict):
        raise _fault(f"{where} has no function")
    if call.get("type", "function") != "function":
        raise _fault(f"{where} has the unknown type {call['type']!r}")
    text = _string(function.get("arguments"), f"{where}.function.arguments")
    # Providers write the arguments of a call without parameters as "".
    arguments = parse_json(text, f"{where}.function.arguments") if text.strip() else {}
    if not isinstance(arguments, dict):
        raise _fault(f"{where}.function.arguments must be a JSON object, not {_kind(arguments)}")
    # The pieces of a stream have an index: the place in the list, which is stored.
    place = {"index"} if type(call.get("index")) is int else set()
    for name in (call.keys() - {"id", "type", "function"} - place) | (
        function.keys() - {"name", "arguments"}
    ):
        raise _fault(f"{where} has {name!r}, which cannot be stored")
    return ToolCall(
        id=_string(call.get("id"), f"{where}.id"),
        name=_string(function.get("name"), f"{where}.function.name"),
        arguments=arguments,
    )


def _tool_result(item: Mapping[str, Any], tools: Mapping[str, str]) -> ToolResultMessage:
    call_id = _string(item.get("tool_call_id"), ".tool_call_id")
    name = tools.get(call_id) if item.get("name") is None else item["name"]
    if name is None:
        raise _fault(" has no name, and no earlier message has its tool call")
    return ToolResultMessage(
        tool_call_id=call_id,
        tool_name=_string(name, ".name"),
        content=_content(item.get("content")),
        metadata=_rest(item, "tool"),
    )


def _content(content: object) -> list[Content]:
    if content is None:
        return []
    if isinstance(content, str):
        return [TextContent(text=content)]
    parts = _list(content, ".content")
    return [_part(f".content[{place}]", part) for place, part in enumerate(parts)]


def _part(where: str, part: object) -> Content:
    match part:
        case {"type": "text", "text": str(text), **rest} if not rest:
            return TextContent(text=text)
        case {"type": "image_url", "image_url": {"url": str(url), **options}, **rest} if (
            not rest and options.keys() <= {"detail"}
        ):
            # The default is dropped; another value is stored as an extra field.
            detail = {} if options.get("detail") in (None, "auto") else options
            image = {"source": url, "media_type": _media_type(url), **detail}
            return ImageContent.model_validate(image)
    kind = part.get("type") if isinstance(part, dict) else _kind(part)
    raise _fault(f"{where} is a part that cannot be stored (type {kind!r})")


def _media_type(url: str) -> str:
    if not url.startswith("data:"):
        return ""
    return url.removeprefix("data:").partition(",")[0].partition(";")[0]


def _rest(item: Mapping[str, Any], role: str) -> JsonObject:
    """Return the non-empty values of a message that have no field in threadlog's."""
    return {
        key: value
        for key, value in item.items()
        if key not in _FIELDS[role] and value is not None and value != []
    }


def _list(value: object, where: str) -> Sequence[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _fault(f"{where} must be a list, not {_kind(value)}")
    return value


def _string(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _fault(f"{where} must be a string, not {_kind(value)}")
    return value


def _fault(reason: str) -> ConversationError:
    return ConversationError(f"{reason}.")


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise ValueError("a number is too large")
    return value


def _no_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has the same key twice")
    return value
