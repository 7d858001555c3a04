"""Dumps of LangChain's messages, in the form of `messages_to_dict`."""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any, Final

from threadlog.formats.transcript import (
    LATE_SYSTEM,
    Draft,
    Entry,
    FormatName,
    Transcript,
    Unknown,
    calls_of,
    image_of,
    restore,
    url_of,
)
from threadlog.messages import (
    AssistantContent,
    AssistantMessage,
    Content,
    ImageContent,
    JsonObject,
    Message,
    TextContent,
    ThinkingContent,
    ToolCall,
    ToolResultMessage,
    Usage,
    UserMessage,
)

_FORMAT: Final[FormatName] = "langchain"

# The types of messages by the names of their classes, in which `dumpd` writes them.
_TYPES: Final = {
    "HumanMessage": "human",
    "AIMessage": "ai",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "HumanMessageChunk": "human",
    "AIMessageChunk": "ai",
    "SystemMessageChunk": "system",
    "ToolMessageChunk": "tool",
}

# The fields that are stored in those of threadlog's messages, by type.
_FIELDS: Final = {
    "human": {"type", "content", "id"},
    "ai": {"type", "content", "id", "tool_calls", "usage_metadata"},
    "system": {"type", "content"},
    "tool": {"type", "content", "id", "tool_call_id", "name", "artifact", "status"},
}

# Content that repeats the calls in ``tool_calls``.
_CALLS: Final = ("tool_use", "tool_call", "function_call")


def from_langchain(raw: object, *, unknown: Unknown = "keep") -> Transcript:
    """Convert dumps of LangChain's messages to threadlog's.

    A message may be in the form of `messages_to_dict`, of `dumpd`, or of its own `model_dump()`.

    Args:
        raw: the list of messages, or an object with ``messages`` and other values.
        unknown: whether values that threadlog's messages have no field for are kept in the
            metadata or refused.

    Raises:
        ConversationError: a message cannot be stored unchanged.
    """
    draft = Draft(raw, _FORMAT, unknown)
    for index, entry in draft.entries():
        given, data = _open(entry)
        role = _TYPES.get(given, given)
        if role not in _FIELDS:
            raise entry.fault(
                (), f"has the unknown type {given!r}. Convert it to human, ai, tool or system"
            )
        entry.check_content(data)
        spelled = given if given.endswith("Chunk") else role
        if spelled != role:
            entry.note(("type",), spelled)
        entry.prefix = ("data",)
        inner = data.get("type", spelled)
        if inner != role and not str(inner).endswith("Message"):
            entry.note(("type",), inner)
        _keep_fields(entry, data, _FIELDS[role])
        match role:
            case "human":
                content = _content(entry, data)
                draft.messages.append(
                    UserMessage(
                        content=content, id=_id(entry, data), metadata=draft.metadata(entry)
                    )
                )
            case "ai":
                _add_assistant(draft, entry, data)
            case "tool":
                _add_tool_result(draft, entry, data)
            case "system":
                _add_system(draft, index, entry, data)
    return draft.finish()


def is_langchain_type(name: str) -> bool:
    """Return True for a type of LangChain's messages, or the name of its class."""
    return name in _FIELDS or name in _TYPES


def to_langchain(messages: Iterable[Message], *, system: str | None = None) -> list[JsonObject]:
    """Convert threadlog's messages to LangChain's, for `messages_from_dict`.

    Leaves out metadata except values that `from_langchain` kept.

    Args:
        messages: the messages.
        system: the text of an initial system message.
    """
    written: list[JsonObject] = []
    if system is not None:
        written.append(_envelope("system", system, ""))
    return written + [_write(message) for message in messages]


def _open(entry: Entry) -> tuple[str, dict[str, Any]]:
    """Return the type of a message and its fields."""
    raw = entry.raw
    match raw:
        case {"lc": _, "id": [*_, str(name)], "kwargs": dict(data)}:
            return name, data
        case {"type": str(name), "data": dict(data)}:
            return name, data
        case {"type": str(name)}:
            return name, raw
    raise entry.fault((), "is no dump of a message: it has no type")


def _keep_fields(entry: Entry, data: dict[str, Any], known: set[str]) -> None:
    for name, value in data.items():
        # Older releases wrote "example": false into every message.
        is_default = value in (None, [], {}) or (name == "example" and value is False)
        if name not in known and not is_default:
            entry.keep((name,), value)


def _add_assistant(draft: Draft, entry: Entry, data: dict[str, Any]) -> None:
    calls = [
        _tool_call(entry, place, call)
        for place, call in enumerate(entry.as_list(data.get("tool_calls"), ("tool_calls",)))
    ] or _older_calls(entry, data)
    draft.tools.update((call.id, call.name) for call in calls)
    content = _assistant_content(entry, data, {call.id for call in calls})
    usage = _usage(entry, data)
    answer = data.get("response_metadata") or {}
    model = entry.as_object(answer, ("response_metadata",)).get("model_name", answer.get("model"))
    draft.messages.append(
        AssistantMessage(
            content=[*content, *calls],
            id=_id(entry, data),
            stop_reason="tool_use" if calls else "stop",
            usage=usage,
            model_id=model if isinstance(model, str) else "",
            metadata=draft.metadata(entry),
        )
    )


def _add_tool_result(draft: Draft, entry: Entry, data: dict[str, Any]) -> None:
    call_id = entry.as_string(data.get("tool_call_id"), ("tool_call_id",))
    name = draft.tool_name(entry, call_id, data.get("name"))
    if data.get("name") is None:
        entry.note(("name",), None)
    status = data.get("status") or "success"
    if status not in ("success", "error"):
        raise entry.fault(("status",), "must be success or error")
    content = _content(entry, data)
    draft.messages.append(
        ToolResultMessage(
            tool_call_id=call_id,
            tool_name=name,
            content=content,
            details=data.get("artifact"),
            is_error=status == "error",
            id=_id(entry, data),
            metadata=draft.metadata(entry),
        )
    )


def _add_system(draft: Draft, index: int, entry: Entry, data: dict[str, Any]) -> None:
    if index:
        if data.get("id") is not None:
            entry.note(("id",), data["id"])
        entry.keep(("type",), "system", LATE_SYSTEM)
        entry.prefix = ()
        entry.keep(("type",), "system", LATE_SYSTEM)
        entry.prefix = ("data",)
    draft.add_system(index, entry, _parts(entry, data), ("content",))


def _id(entry: Entry, data: dict[str, Any]) -> str:
    value = data.get("id")
    return "" if value is None else entry.as_string(value, ("id",))


def _tool_call(entry: Entry, place: int, call: object) -> ToolCall:
    path = ("tool_calls", place)
    raw = entry.as_object(call, path)
    entry.keep_others(raw, {"name", "args", "id", "type"}, path)
    return ToolCall(
        id=entry.as_string(raw.get("id"), (*path, "id")),
        name=entry.as_string(raw.get("name"), (*path, "name")),
        arguments=entry.as_object(raw.get("args"), (*path, "args")),
    )


def _older_calls(entry: Entry, data: dict[str, Any]) -> list[ToolCall]:
    """Return the calls that releases before 0.1.46 have in OpenAI's form only."""
    match data:
        case {"additional_kwargs": {"tool_calls": list(calls)}}:
            path = ("additional_kwargs", "tool_calls")
            return [
                ToolCall(id=call_id, name=name, arguments=entry.arguments(given, (*path, place)))
                for place, call in enumerate(calls)
                for call_id, name, given in _openai_call(call)
            ]
    return []


def _openai_call(call: object) -> list[tuple[str, str, Any]]:
    match call:
        case {"id": str(call_id), "function": {"name": str(name), "arguments": given}}:
            return [(call_id, name, given)]
    return []


def _usage(entry: Entry, data: dict[str, Any]) -> Usage | None:
    if data.get("usage_metadata") is None:
        return None
    path = ("usage_metadata",)
    raw = entry.as_object(data["usage_metadata"], path)
    details = entry.as_object(raw.get("input_token_details") or {}, (*path, "input_token_details"))
    cached = entry.as_count(details.get("cache_read"), path)
    created = entry.as_count(details.get("cache_creation"), path)
    total = entry.as_count(raw.get("input_tokens"), path)
    usage = Usage(
        input_tokens=total - cached - created,
        output_tokens=entry.as_count(raw.get("output_tokens"), path),
        cache_read_tokens=cached,
        cache_write_tokens=created,
    )
    if _write_usage(usage) != raw:
        entry.keep(path, raw)
    return usage


def _parts(entry: Entry, data: dict[str, Any]) -> list[Any]:
    parts = entry.parts(data.get("content"), ("content",))
    return [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]


def _content(entry: Entry, data: dict[str, Any]) -> list[Content]:
    blocks: list[Content] = []
    for place, part in enumerate(_parts(entry, data)):
        blocks += _part(entry, part, ("content", place))
    return blocks


def _assistant_content(
    entry: Entry, data: dict[str, Any], calls: set[str]
) -> list[AssistantContent]:
    blocks: list[AssistantContent] = []
    # An empty text is how LangChain writes no content.
    for place, part in enumerate(_parts(entry, data) if data.get("content") != "" else []):
        path = ("content", place)
        match part:
            case {"type": "thinking", "thinking": str(thinking), **others}:
                blocks.append(ThinkingContent(thinking=thinking))
                if others.get("signature") is not None:
                    entry.note((*path, "signature"), others.pop("signature"))
                entry.keep_others(others, set(), path)
            case {"type": str(kind)} if kind in _CALLS and _call_id(part) in calls:
                entry.note(path, part)
            case _:
                blocks += _part(entry, part, path)
    return blocks


def _call_id(part: dict[str, Any]) -> Any:
    """Return the id of a call in a content: OpenAI's Responses have the item's in ``id``."""
    return part.get("call_id", part.get("id"))


def _part(entry: Entry, part: object, path: tuple[str | int, ...]) -> list[Content]:
    match part:
        case {"type": "text", "text": str(text), **others}:
            entry.keep_others(others, set(), path)
            return [TextContent(text=text)]
        case {"type": "image_url", "image_url": {"url": str(url), **options}, **others}:
            detail = options.pop("detail", None)
            entry.keep_others(options, set(), (*path, "image_url"))
            entry.keep_others(others, set(), path)
            return [image_of(url, **({} if detail is None else {"detail": detail}))]
        case {"type": "image_url", "image_url": str(url), **others}:
            entry.note((*path, "image_url"), url)
            entry.keep_others(others, set(), path)
            return [image_of(url)]
    entry.keep_part(part, path, "text", "thinking")
    return []


def _write(message: Message) -> JsonObject:
    content = [_write_part(block) for block in message.content if not isinstance(block, ToolCall)]
    written: Any
    match message:
        case UserMessage():
            written = _envelope("human", content, message.id)
        case AssistantMessage():
            written = _envelope("ai", content, message.id)
            calls = [_write_call(call) for call in calls_of(message.content)]
            usage = None if message.usage is None else _write_usage(message.usage)
            written["data"] |= {
                "tool_calls": calls,
                "invalid_tool_calls": [],
                "usage_metadata": usage,
            }
        case ToolResultMessage():
            written = _envelope("tool", content, message.id)
            written["data"] |= {
                "name": message.tool_name,
                "tool_call_id": message.tool_call_id,
                "artifact": deepcopy(message.details),
                "status": "error" if message.is_error else "success",
            }
    restore(written, message.metadata, _FORMAT)
    match written["data"]["content"]:
        case []:
            written["data"]["content"] = ""
        case [{"type": "text", "text": str(text), **others}] if not others:
            written["data"]["content"] = text
    return {**written}


def _envelope(role: str, content: Any, message_id: str) -> dict[str, Any]:
    data = {
        "content": content,
        "additional_kwargs": {},
        "response_metadata": {},
        "type": role,
        "name": None,
        "id": message_id or None,
    }
    return {"type": role, "data": data}


def _write_part(block: AssistantContent) -> JsonObject:
    match block:
        case ThinkingContent():
            return {"type": "thinking", "thinking": block.thinking}
        case ImageContent():
            detail = (block.model_extra or {}).get("detail")
            image = {"url": url_of(block)} | ({} if detail is None else {"detail": detail})
            return {"type": "image_url", "image_url": image}
        case TextContent():
            return {"type": "text", "text": block.text}
    raise TypeError(type(block))


def _write_call(call: ToolCall) -> JsonObject:
    return {"name": call.name, "args": deepcopy(call.arguments), "id": call.id, "type": "tool_call"}


def _write_usage(usage: Usage) -> JsonObject:
    read, created = usage.cache_read_tokens, usage.cache_write_tokens
    total = usage.input_tokens + read + created
    details = {"cache_read": read, "cache_creation": created}
    shown = {name: value for name, value in details.items() if value}
    written: JsonObject = {
        "input_tokens": total,
        "output_tokens": usage.output_tokens,
        "total_tokens": total + usage.output_tokens,
    }
    return written | ({"input_token_details": {**shown}} if shown else {})
