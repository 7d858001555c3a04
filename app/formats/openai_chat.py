"""OpenAI's chat completions: dicts with ``role`` and ``content``.

Most providers' HTTP APIs, most logs and fine-tuning files use this form.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

from threadlog.formats.transcript import (
    LATE_SYSTEM,
    SYSTEM_ROLES,
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
    ToolCall,
    ToolResultMessage,
    UserMessage,
)

_FORMAT: Final[FormatName] = "openai_chat"

# Kept in the metadata by their own names.
_OWN: Final = ("name", "refusal")


def from_openai_chat(raw: object, *, unknown: Unknown = "keep") -> Transcript:
    """Convert chat completions to threadlog's messages.

    Args:
        raw: the list of messages, an object with ``messages`` and other values, such as
            ``tools`` and ``system``, or an answer of the API with ``choices``.
        unknown: whether values that threadlog's messages have no field for are kept in the
            metadata or refused.

    Raises:
        ConversationError: a message cannot be stored unchanged.
    """
    draft = Draft(raw, _FORMAT, unknown)
    for index, entry in draft.entries():
        match entry.raw.get("role"):
            case "user":
                entry.check_content(entry.raw)
                _add_user(draft, entry)
            case "assistant":
                _add_assistant(draft, entry)
            case "tool":
                _add_tool_result(draft, entry)
            case str(role) if role in SYSTEM_ROLES:
                entry.check_content(entry.raw)
                entry.keep_others(entry.raw, {"role", "content"})
                if index:
                    entry.keep(("role",), role, LATE_SYSTEM)
                draft.add_system(index, entry, entry.raw.get("content"), ("content",))
            case role:
                raise entry.unknown_role(role)
    return draft.finish()


def to_openai_chat(messages: Iterable[Message], *, system: str | None = None) -> list[JsonObject]:
    """Convert threadlog's messages to chat completions, as input of a model.

    Leaves out thinking, and metadata except ``name``, ``refusal`` and values that
    `from_openai_chat` kept.

    Args:
        messages: the messages.
        system: the text of an initial system message.
    """
    written: list[JsonObject] = []
    if system is not None:
        written.append({"role": "system", "content": system})
    return written + [_write(message) for message in messages]


def _add_user(draft: Draft, entry: Entry) -> None:
    content = _content(entry, entry.raw.get("content"))
    entry.keep_others(entry.raw, {"role", "content", *_OWN})
    draft.messages.append(UserMessage(content=content, metadata=_metadata(draft, entry)))


def _add_assistant(draft: Draft, entry: Entry) -> None:
    raw = entry.raw
    entry.check_content(raw, "tool_calls", "function_call", "refusal", "audio")
    if raw.get("function_call") is not None:
        raise entry.fault((), "has a 'function_call', which tool_calls replaced; convert it first")
    refusals = [] if raw.get("refusal") is None else [raw["refusal"]]
    content = raw.get("content")
    if isinstance(content, list):
        parts = [part for part in content if not _is_refusal(part)]
        refusals += [part.get("refusal") for part in content if _is_refusal(part)]
        content = parts
    if len(refusals) > 1:
        raise entry.fault((), "has more than one refusal")
    blocks: list[AssistantContent] = [*_content(entry, content)]
    for place, call in enumerate(entry.as_list(raw.get("tool_calls"), ("tool_calls",))):
        blocks += _tool_call(entry, place, call)
    entry.keep_others(raw, {"role", "content", "tool_calls", *_OWN})
    calls = calls_of(blocks)
    draft.tools.update((call.id, call.name) for call in calls)
    metadata = _metadata(draft, entry)
    if refusals:
        metadata["refusal"] = entry.as_string(refusals[0], ("refusal",))
    draft.messages.append(
        AssistantMessage(
            content=blocks, stop_reason="tool_use" if calls else "stop", metadata=metadata
        )
    )


def _add_tool_result(draft: Draft, entry: Entry) -> None:
    raw = entry.raw
    call_id = entry.as_string(raw.get("tool_call_id"), ("tool_call_id",))
    entry.check_content(raw)
    entry.keep_others(raw, {"role", "content", "tool_call_id", "name"})
    draft.messages.append(
        ToolResultMessage(
            tool_call_id=call_id,
            tool_name=draft.tool_name(entry, call_id, raw.get("name")),
            content=_content(entry, raw.get("content")),
            metadata=draft.metadata(entry),
        )
    )


def _metadata(draft: Draft, entry: Entry) -> JsonObject:
    own = {key: value for key in _OWN if (value := entry.raw.get(key)) not in (None, [])}
    return own | draft.metadata(entry)


def _is_refusal(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") == "refusal"


def _tool_call(entry: Entry, place: int, call: object) -> list[ToolCall]:
    path = ("tool_calls", place)
    raw = entry.as_object(call, path)
    if raw.get("type", "function") != "function":
        entry.keep(path, raw)
        return []
    function = raw.get("function")
    if not isinstance(function, dict):
        raise entry.fault(path, "has no function")
    # The pieces of a stream have an index: the place in the list, which is stored.
    place_key = {"index"} if type(raw.get("index")) is int and raw["index"] == place else set()
    entry.keep_others(raw, {"id", "type", "function"} | place_key, path)
    inside = (*path, "function")
    entry.keep_others(function, {"name", "arguments"}, inside)
    return [
        ToolCall(
            id=entry.as_string(raw.get("id"), (*path, "id")),
            name=entry.as_string(function.get("name"), (*inside, "name")),
            arguments=entry.arguments(function.get("arguments"), (*inside, "arguments")),
        )
    ]


def _content(entry: Entry, raw: object) -> list[Content]:
    blocks: list[Content] = []
    for place, part in enumerate(entry.parts(raw, ("content",))):
        path = ("content", place)
        match part:
            case {"type": "text", "text": str(text), **others}:
                blocks.append(TextContent(text=text))
                entry.keep_others(others, set(), path)
            case {"type": "image_url", "image_url": {"url": str(url), **options}, **others}:
                # The default detail is dropped; another is stored as an extra field.
                detail = options.pop("detail", None)
                blocks.append(
                    image_of(url, **({} if detail in (None, "auto") else {"detail": detail}))
                )
                entry.keep_others(options, set(), (*path, "image_url"))
                entry.keep_others(others, set(), path)
            case _:
                entry.keep_part(part, path, "text", "image_url")
    return blocks


def _write(message: Message) -> JsonObject:
    written: dict[str, Any] = {
        "role": "tool" if message.role == "tool_result" else message.role,
        "content": [
            _write_part(block)
            for block in message.content
            if isinstance(block, TextContent | ImageContent)
        ],
        "tool_calls": [_write_call(call) for call in calls_of(message.content)],
    }
    if isinstance(message, ToolResultMessage):
        written |= {"tool_call_id": message.tool_call_id}
        written |= {"name": message.tool_name} if message.tool_name else {}
    written |= {key: message.metadata[key] for key in _OWN if key in message.metadata}
    restore(written, message.metadata, _FORMAT)
    if not written["tool_calls"]:
        del written["tool_calls"]
    match written["content"]:
        case []:
            written["content"] = None
        case [{"type": "text", "text": str(text), **others}] if not others:
            written["content"] = text
    return written


def _write_part(block: Content) -> JsonObject:
    if isinstance(block, TextContent):
        return {"type": "text", "text": block.text}
    detail = (block.model_extra or {}).get("detail")
    return {
        "type": "image_url",
        "image_url": {"url": url_of(block)} | ({} if detail is None else {"detail": detail}),
    }


def _write_call(call: ToolCall) -> JsonObject:
    return {
        "id": call.id,
        "type": "function",
        "function": {
            "name": call.name,
            "arguments": json.dumps(call.arguments, ensure_ascii=False),
        },
    }
