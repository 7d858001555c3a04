"""Items of OpenAI's Responses: a model's reasoning, texts and calls are items of their own."""

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
    JsonObject,
    Message,
    TextContent,
    ThinkingContent,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)

_FORMAT: Final[FormatName] = "openai_responses"

# The API's own marks of an item.
_MARKS: Final = ("id", "status", "encrypted_content")


def from_openai_responses(raw: object, *, unknown: Unknown = "keep") -> Transcript:
    """Convert items of OpenAI's Responses to threadlog's messages.

    Consecutive reasoning, text and calls of the model become one message; each text begins one
    if the item before it is a text.

    Args:
        raw: the list of items, an object with ``input`` and other values, such as
            ``instructions`` and ``tools``, or an answer of the API with ``output``.
        unknown: whether values that threadlog's messages have no field for are kept in the
            metadata or refused.

    Raises:
        ConversationError: an item cannot be stored unchanged.
    """
    draft = Draft(raw, _FORMAT, unknown)
    answer: list[Entry] = []
    for index, entry in draft.entries():
        item = entry.raw
        is_message = item.get("type") in (None, "message")
        if is_message and item.get("role") is not None:
            entry.check_content(item)
        if is_message and item.get("role") != "assistant":
            answer = []
            _add_input(draft, index, entry)
        elif item.get("type") == "function_call_output":
            answer = []
            _add_result(draft, entry)
        else:
            if not answer or (is_message and _ends_in_text(draft.messages[-1])):
                answer = []
                draft.messages.append(AssistantMessage(content=[]))
            answer.append(entry)
            _add_to_answer(draft, answer)
    return draft.finish()


def to_openai_responses(
    messages: Iterable[Message], *, system: str | None = None
) -> list[JsonObject]:
    """Convert threadlog's messages to items of OpenAI's Responses, as input of a model.

    Leaves out thinking without the API's id or encrypted content, and images of the model.

    Args:
        messages: the messages.
        system: the text of an initial system message; or pass it as ``instructions``.
    """
    written: list[JsonObject] = []
    if system is not None:
        written.append({"type": "message", "role": "system", "content": system})
    for message in messages:
        items = _write(message)
        restore(items, message.metadata, _FORMAT)
        written += [_shorten(item) for item in items if not _is_lone_thought(item)]
    return written


def _ends_in_text(message: Message) -> bool:
    return bool(message.content) and isinstance(message.content[-1], TextContent)


def _add_input(draft: Draft, index: int, entry: Entry) -> None:
    item = entry.raw
    role = item.get("role")
    if role == "user":
        content = _input_content(entry, "content")
        _keep_item(entry, {"role", "content"})
        draft.messages.append(UserMessage(content=content, metadata=draft.metadata(entry)))
    elif role in SYSTEM_ROLES:
        _keep_item(entry, {"role", "content"})
        if index:
            entry.keep(("role",), role, LATE_SYSTEM)
        else:
            entry.prefix = ()
        draft.add_system(index, entry, item.get("content"), ("content",))
    else:
        raise entry.unknown_role(role)


def _add_result(draft: Draft, entry: Entry) -> None:
    item = entry.raw
    call_id = entry.as_string(item.get("call_id"), ("call_id",))
    if item.get("name") is not None:
        entry.note(("name",), item["name"])
    content = _input_content(entry, "output")
    _keep_item(entry, {"call_id", "name", "output"})
    draft.messages.append(
        ToolResultMessage(
            tool_call_id=call_id,
            tool_name=draft.tool_name(entry, call_id, item.get("name")),
            content=content,
            metadata=draft.metadata(entry),
        )
    )


def _add_to_answer(draft: Draft, items: list[Entry]) -> None:
    """Add the last of the items to the model's message, which is the last message."""
    entry, message = items[-1], draft.messages[-1]
    assert isinstance(message, AssistantMessage)  # noqa: S101 - appended by the caller
    entry.prefix = (len(items) - 1,)
    blocks = _output(entry)
    if not blocks:
        entry.kept = {}
        entry.keep((), entry.raw)
    message.content += blocks
    for call in calls_of(blocks):
        draft.tools[call.id] = call.name
        message.stop_reason = "tool_use"
    message.metadata = draft.metadata(*items)


def _keep_item(entry: Entry, known: set[str]) -> None:
    for mark in _MARKS:
        if entry.raw.get(mark) is not None:
            entry.note((mark,), entry.raw[mark])
    entry.keep_others(entry.raw, {"type", *known, *_MARKS})


def _output(entry: Entry) -> list[AssistantContent]:
    """Return the content of an item of the model, nothing for one of an unknown type."""
    item = entry.raw
    match item.get("type"):
        case None | "message":
            _keep_item(entry, {"role", "content"})
            return _output_content(entry)
        case "function_call":
            _keep_item(entry, {"call_id", "name", "arguments"})
            return [
                ToolCall(
                    id=entry.as_string(item.get("call_id"), ("call_id",)),
                    name=entry.as_string(item.get("name"), ("name",)),
                    arguments=entry.arguments(item.get("arguments"), ("arguments",)),
                )
            ]
        case "reasoning":
            _keep_item(entry, {"summary"})
            return [ThinkingContent(thinking=_thinking(entry))]
    return []


def _output_content(entry: Entry) -> list[AssistantContent]:
    blocks: list[AssistantContent] = []
    for place, part in enumerate(entry.parts(entry.raw.get("content"), ("content",))):
        match part:
            case {"type": "text" | "output_text", "text": str(text), **others}:
                blocks.append(TextContent(text=text))
                entry.keep_others(others, set(), ("content", place))
            case _:
                entry.keep_part(part, ("content", place), "text", "input_text", "output_text")
    return blocks


def _thinking(entry: Entry) -> str:
    """Return the text of reasoning: its summary, or itself."""
    texts = [
        entry.as_string(entry.as_object(part, (key, place)).get("text"), (key, place, "text"))
        for key in ("summary", "content")
        for place, part in enumerate(entry.as_list(entry.raw.get(key), (key,)))
        if key == "summary" or not entry.raw.get("summary")
    ]
    thinking = "\n\n".join(texts)
    if (summary := entry.raw.get("summary")) != [{"type": "summary_text", "text": thinking}]:
        entry.note(("summary",), summary or [])
    return thinking


def _input_content(entry: Entry, key: str) -> list[Content]:
    entry.prefix = (0,)
    blocks: list[Content] = []
    for place, part in enumerate(entry.parts(entry.raw.get(key), (key,))):
        path = (key, place)
        match part:
            case {"type": "text" | "input_text", "text": str(text), **others}:
                blocks.append(TextContent(text=text))
                entry.keep_others(others, set(), path)
            case {"type": "input_image", "image_url": str(url), **others}:
                detail = others.pop("detail", None)
                options = {} if detail in (None, "auto") else {"detail": detail}
                blocks.append(image_of(url, **options))
                entry.keep_others(others, set(), path)
            case _:
                entry.keep_part(part, path, "text", "input_text", "output_text")
    return blocks


def _write(message: Message) -> list[Any]:
    """Return the items of a message."""
    match message:
        case UserMessage():
            content = [_write_input(block) for block in message.content]
            return [{"type": "message", "role": "user", "content": content}]
        case ToolResultMessage():
            output = [_write_input(block) for block in message.content]
            return [
                {
                    "type": "function_call_output",
                    "call_id": message.tool_call_id,
                    "output": output,
                }
            ]
    items: list[Any] = []
    for block in message.content:
        match block:
            case TextContent():
                if not items or items[-1]["type"] != "message":
                    items.append({"type": "message", "role": "assistant", "content": []})
                part = {"type": "output_text", "text": block.text, "annotations": []}
                items[-1]["content"].append(part)
            case ThinkingContent():
                summary = [{"type": "summary_text", "text": block.thinking}]
                items.append({"type": "reasoning", "summary": summary})
            case ToolCall():
                items.append(
                    {
                        "type": "function_call",
                        "call_id": block.id,
                        "name": block.name,
                        "arguments": json.dumps(block.arguments, ensure_ascii=False),
                    }
                )
    return items


def _write_input(block: Content) -> JsonObject:
    if isinstance(block, TextContent):
        return {"type": "input_text", "text": block.text}
    detail = (block.model_extra or {}).get("detail", "auto")
    return {"type": "input_image", "image_url": url_of(block), "detail": detail}


def _is_lone_thought(item: Any) -> bool:
    return item.get("type") == "reasoning" and not {"id", "encrypted_content"} & item.keys()


def _shorten(item: Any) -> JsonObject:
    """Return an item whose content of one text is a string, unless the API wrote it."""
    key = "output" if item.get("type") == "function_call_output" else "content"
    match item.get(key):
        case [{"type": "input_text", "text": str(text), **others}] if not others:
            return {**item, key: text}
        case [{"type": "output_text", "text": str(text), "annotations": [], **others}] if (
            not others and "id" not in item
        ):
            return {**item, key: text}
    return {**item}
