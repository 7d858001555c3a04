"""Messages of Anthropic's API: a tool's result is a block of the user's next message."""

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
    mark_of,
    restore,
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

_FORMAT: Final[FormatName] = "anthropic"

# Kept where the parts of one message do not follow the rule of `_is_joined`.
_JOINED: Final = "joined"

_STOP_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_use",
    "max_tokens": "length",
}

# Keys that only an answer of the API has. They are stored in fields, and are no input of a model.
_ANSWER: Final = {"id", "type", "model", "stop_reason", "usage"}


def from_anthropic(raw: object, *, unknown: Unknown = "keep") -> Transcript:
    """Convert Anthropic's messages to threadlog's.

    A user's message with results of tools becomes several messages, one for each result. The
    id, model, stop reason and usage of an answer of the API are stored in the message's fields.

    Args:
        raw: the list of messages, an object with ``messages`` and other values, such as
            ``system`` and ``tools``, or an answer of the API.
        unknown: whether values that threadlog's messages have no field for are kept in the
            metadata or refused.

    Raises:
        ConversationError: a message cannot be stored unchanged.
    """
    draft = Draft(raw, _FORMAT, unknown)
    for index, entry in draft.entries():
        match entry.raw.get("role"):
            case "user":
                _add_user(draft, entry)
            case "assistant":
                _add_assistant(draft, entry)
            case "system":
                entry.check_content(entry.raw)
                entry.keep_others(entry.raw, {"role", "content"})
                if index:
                    entry.keep(("role",), "system", LATE_SYSTEM)
                draft.add_system(index, entry, entry.raw.get("content"), ("content",))
            case role:
                raise entry.unknown_role(role)
    return draft.finish()


def to_anthropic(messages: Iterable[Message]) -> list[JsonObject]:
    """Convert threadlog's messages to Anthropic's, as input of a model.

    The system message is no part of them: pass it as the request's ``system``. Leaves out what
    the API refuses: thinking without its signature, and an assistant's message without content.
    """
    written: list[dict[str, Any]] = []
    previous: Message | None = None
    for message in messages:
        content = _write(message)
        if message.role == "assistant" and not content["content"]:
            continue
        if (
            previous is not None
            and _is_joined(previous, message)
            and written[-1]["role"] == content["role"] == "user"
        ):
            written[-1]["content"] += content["content"]
            written[-1] = content | written[-1]
        else:
            written.append(content)
        previous = message
    return [_shorten(message) for message in written]


def _add_user(draft: Draft, entry: Entry) -> None:
    entry.check_content(entry.raw)
    entry.keep_others(entry.raw, {"role", "content"})
    parts = entry.parts(entry.raw.get("content"), ("content",))
    start = 0
    blocks: list[Content] = []
    for place, part in enumerate(parts):
        if isinstance(part, dict) and part.get("type") == "tool_result":
            if place > start:
                _add_part(draft, entry, start, UserMessage(content=blocks))
            _add_part(draft, entry, place, _tool_result(draft, entry, place, part))
            start, blocks = place + 1, []
        else:
            blocks += _content(entry, part, ("content", place))
    if start < len(parts) or not parts:
        _add_part(draft, entry, start, UserMessage(content=blocks))


def _add_part(
    draft: Draft, entry: Entry, start: int, message: UserMessage | ToolResultMessage
) -> None:
    """Add the part of a raw message that begins at `start`, with what was kept of it."""
    entry.kept = {_moved(pointer, start): value for pointer, value in entry.kept.items()}
    previous = draft.messages[-1] if draft.messages else None
    joined = start > 0
    if joined != _joined_by_default(previous, message):
        entry.kept[_JOINED] = joined
    message.metadata = draft.metadata(entry)
    draft.messages.append(message)
    entry.kept = {}


def _moved(pointer: str, start: int) -> str:
    first, second, *others = pointer.split("/")[1:] + [""] * 2
    if first != "content" or not second:
        return pointer
    return "/".join(["", first, str(int(second) - start), *others[:-2]])


def _tool_result(draft: Draft, entry: Entry, place: int, part: dict[str, Any]) -> ToolResultMessage:
    path = ("content", place)
    call_id = entry.as_string(part.get("tool_use_id"), (*path, "tool_use_id"))
    entry.keep_others(part, {"type", "tool_use_id", "content", "is_error"}, path)
    inside = (*path, "content")
    is_error = part.get("is_error") or False
    if not isinstance(is_error, bool):
        raise entry.fault((*path, "is_error"), "must be true or false")
    return ToolResultMessage(
        tool_call_id=call_id,
        tool_name=draft.tool_name(entry, call_id, None),
        content=[
            block
            for index, inner in enumerate(entry.parts(part.get("content"), inside))
            for block in _content(entry, inner, (*inside, index))
        ],
        is_error=is_error,
    )


def _add_assistant(draft: Draft, entry: Entry) -> None:
    raw = entry.raw
    entry.check_content(raw)
    entry.keep_others(raw, {"role", "content", *_ANSWER})
    blocks: list[AssistantContent] = []
    for place, part in enumerate(entry.parts(raw.get("content"), ("content",))):
        blocks += _assistant_content(entry, part, ("content", place))
    calls = calls_of(blocks)
    draft.tools.update((call.id, call.name) for call in calls)
    given = raw.get("stop_reason") or ("tool_use" if calls else "end_turn")
    reason = entry.as_string(given, ("stop_reason",))
    draft.messages.append(
        AssistantMessage(
            content=blocks,
            stop_reason=_STOP_REASONS.get(reason, reason),
            response_id=_text(entry, "id"),
            model_id=_text(entry, "model") or "",
            usage=_usage(entry),
            metadata=draft.metadata(entry),
        )
    )


def _text(entry: Entry, name: str) -> str | None:
    value = entry.raw.get(name)
    return None if value is None else entry.as_string(value, (name,))


def _usage(entry: Entry) -> Usage | None:
    if entry.raw.get("usage") is None:
        return None
    raw = dict(entry.as_object(entry.raw["usage"], ("usage",)))
    counts = {
        ours: entry.as_count(raw.pop(name, None), ("usage", name))
        for ours, name in (
            ("input_tokens", "input_tokens"),
            ("output_tokens", "output_tokens"),
            ("cache_read_tokens", "cache_read_input_tokens"),
            ("cache_write_tokens", "cache_creation_input_tokens"),
        )
    }
    # The other counts, as extra fields.
    return Usage.model_validate(raw | counts)


def _assistant_content(
    entry: Entry, part: object, path: tuple[str | int, ...]
) -> list[AssistantContent]:
    match part:
        case {"type": "tool_use", **others}:
            entry.keep_others(others, {"id", "name", "input"}, path)
            return [
                ToolCall(
                    id=entry.as_string(others.get("id"), (*path, "id")),
                    name=entry.as_string(others.get("name"), (*path, "name")),
                    arguments=entry.as_object(others.get("input"), (*path, "input")),
                )
            ]
        case {"type": "thinking", "thinking": str(thinking), **others}:
            if others.get("signature") is not None:
                entry.note((*path, "signature"), others.pop("signature"))
            entry.keep_others(others, set(), path)
            return [ThinkingContent(thinking=thinking)]
    return [*_content(entry, part, path)]


def _content(entry: Entry, part: object, path: tuple[str | int, ...]) -> list[Content]:
    match part:
        case {"type": "text", "text": str(text), **others}:
            entry.keep_others(others, set(), path)
            return [TextContent(text=text)]
        case {"type": "image", "source": {"type": "url", "url": str(url), **rest}, **others} if (
            not rest and not url.startswith("data:")
        ):
            entry.keep_others(others, set(), path)
            return [image_of(url)]
        case {
            "type": "image",
            "source": {"type": "base64", "media_type": str(media_type), "data": str(data), **rest},
            **others,
        } if not rest and ":" not in data:
            entry.keep_others(others, set(), path)
            return [ImageContent(source=data, media_type=media_type)]
    entry.keep_part(part, path, "text", "thinking")
    return []


def _is_joined(previous: Message, message: Message) -> bool:
    """Return True if two messages are parts of one: by default a result and what follows it."""
    mark = mark_of(message.metadata, _FORMAT, _JOINED)
    if mark is None or "assistant" in (previous.role, message.role):
        return _joined_by_default(previous, message)
    return bool(mark)


def _joined_by_default(previous: Message | None, message: Message) -> bool:
    after_result = previous is not None and previous.role == "tool_result"
    return after_result and message.role != "assistant"


def _write(message: Message) -> dict[str, Any]:
    blocks: Any = [_write_block(block) for block in message.content]
    if isinstance(message, ToolResultMessage):
        result = {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": blocks}
        blocks = [result | ({"is_error": True} if message.is_error else {})]
    written = {"role": "user" if message.role == "tool_result" else message.role, "content": blocks}
    restore(written, message.metadata, _FORMAT)
    # The API refuses thinking without its signature.
    if isinstance(written["content"], list):
        written["content"] = [
            block
            for block in written["content"]
            if block.get("type") != "thinking" or "signature" in block
        ]
    return written


def _write_block(block: AssistantContent) -> JsonObject:
    match block:
        case TextContent():
            return {"type": "text", "text": block.text}
        case ThinkingContent():
            return {"type": "thinking", "thinking": block.thinking}
        case ToolCall():
            return {
                "type": "tool_use",
                "id": block.id,
                "name": block.name,
                "input": deepcopy(block.arguments),
            }
        case ImageContent():
            return {"type": "image", "source": _write_source(block)}


def _write_source(image: ImageContent) -> JsonObject:
    media_type, data = image.media_type, image.source
    if data.startswith("data:"):
        media_type, _, data = data.removeprefix("data:").partition(";base64,")
    elif ":" in data:
        return {"type": "url", "url": data}
    return {"type": "base64", "media_type": media_type, "data": data}


def _shorten(message: dict[str, Any]) -> JsonObject:
    """Return a message whose contents of one text are strings."""
    content = message["content"]
    for block in content:
        if block.get("type") == "tool_result" and not block["content"]:
            del block["content"]
        elif block.get("type") == "tool_result":
            block["content"] = _short(block["content"])
    return message | {"content": _short(content)}


def _short(content: Any) -> Any:
    match content:
        case [{"type": "text", "text": str(text), **others}] if not others:
            return text
    return content
