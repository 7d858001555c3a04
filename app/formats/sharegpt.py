"""ShareGPT: turns with ``from`` and ``value``, the form of many files for fine-tuning."""

import json
from collections.abc import Iterable
from typing import Any, Final

from threadlog.formats.json_text import parse_json
from threadlog.formats.transcript import (
    LATE_SYSTEM,
    Draft,
    Entry,
    FormatName,
    Transcript,
    Unknown,
    calls_of,
    restore,
    text_of,
)
from threadlog.messages import (
    AssistantMessage,
    JsonObject,
    Message,
    TextContent,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)

_FORMAT: Final[FormatName] = "sharegpt"

# The names that files have for the roles; the first of each is the one that is written.
_USER: Final = ("human", "user")
_ASSISTANT: Final = ("gpt", "assistant", "chatgpt", "model", "bot", "bing", "bard")
_CALL: Final = ("function_call", "tool_call")
_RESULT: Final = ("observation", "tool", "function", "tool_response", "function_response")


def from_sharegpt(raw: object, *, unknown: Unknown = "keep") -> Transcript:
    """Convert ShareGPT's turns to threadlog's messages.

    The turns have no ids of calls: they are numbered, and results belong to the calls before
    them in their order. The result of a call that is a part of a text has no tool's name.

    Args:
        raw: the list of turns, or an object with ``conversations`` and other values, such as
            ``system`` and ``tools``.
        unknown: whether values that threadlog's messages have no field for are kept in the
            metadata or refused.

    Raises:
        ConversationError: a turn cannot be stored unchanged.
    """
    draft = Draft(raw, _FORMAT, unknown)
    waiting: list[ToolCall] = []
    for index, entry in draft.entries():
        value = entry.as_string(entry.raw.get("value"), ("value",))
        content = [TextContent(text=value)]
        entry.keep_others(entry.raw, {"from", "value"})
        match entry.raw.get("from"):
            case str(role) if role in _USER:
                _note_role(entry, role, _USER)
                draft.messages.append(
                    UserMessage(content=[*content], metadata=draft.metadata(entry))
                )
            case str(role) if role in _ASSISTANT:
                _note_role(entry, role, _ASSISTANT)
                draft.messages.append(
                    AssistantMessage(content=[*content], metadata=draft.metadata(entry))
                )
            case str(role) if role in _CALL:
                _note_role(entry, role, _CALL)
                waiting = _calls(draft, entry, value)
                draft.messages.append(
                    AssistantMessage(
                        content=[*waiting],
                        stop_reason="tool_use",
                        metadata=draft.metadata(entry),
                    )
                )
            case str(role) if role in _RESULT:
                _note_role(entry, role, _RESULT)
                call = waiting.pop(0) if waiting else _unknown_call(draft)
                draft.messages.append(
                    ToolResultMessage(
                        tool_call_id=call.id,
                        tool_name=call.name,
                        content=[*content],
                        metadata=draft.metadata(entry),
                    )
                )
            case "system":
                if index:
                    entry.keep(("from",), "system", LATE_SYSTEM)
                draft.add_system(index, entry, value, ("value",))
            case role:
                raise entry.fault(("from",), f"is the unknown role {role!r}")
    return draft.finish()


def to_sharegpt(messages: Iterable[Message], *, system: str | None = None) -> list[JsonObject]:
    """Convert threadlog's messages to ShareGPT's turns.

    A message with a text and calls of tools becomes two turns. Leaves out thinking, images and
    the ids of calls.

    Args:
        messages: the messages.
        system: the text of an initial system turn.
    """
    written: list[JsonObject] = []
    if system is not None:
        written.append({"from": "system", "value": system})
    for message in messages:
        written += _write(message)
    return written


def _note_role(entry: Entry, role: str, names: tuple[str, ...]) -> None:
    if role != names[0]:
        entry.note(("from",), role)


def _calls(draft: Draft, entry: Entry, value: str) -> list[ToolCall]:
    parsed = parse_json(value, entry.place_of(("value",)))
    calls = parsed if isinstance(parsed, list) else [parsed]
    if not calls:
        raise entry.fault(("value",), "has no call")
    found = []
    for call in calls:
        if not isinstance(call, dict) or call.keys() != {"name", "arguments"}:
            raise entry.fault(("value",), "must have exactly name and arguments")
        made = ToolCall(
            id=f"call_{len(draft.tools) + 1}",
            name=entry.as_string(call["name"], ("value",)),
            arguments=entry.arguments(call["arguments"], ("value",)),
        )
        draft.tools[made.id] = made.name
        found.append(made)
    return found


def _unknown_call(draft: Draft) -> ToolCall:
    call_id = f"call_{len(draft.tools) + 1}"
    draft.tools[call_id] = ""
    return ToolCall(id=call_id, name="", arguments={})


def _write(message: Message) -> list[JsonObject]:
    turns: list[Any] = []
    text, calls = text_of(message.content), calls_of(message.content)
    if text or not calls:
        names = {"user": _USER, "assistant": _ASSISTANT, "tool_result": _RESULT}
        turns.append({"from": names[message.role][0], "value": text})
    if calls:
        values = [{"name": call.name, "arguments": call.arguments} for call in calls]
        value = json.dumps(values if len(values) > 1 else values[0], ensure_ascii=False)
        turns.append({"from": _CALL[0], "value": value})
    restore(turns[-1], message.metadata, _FORMAT)
    return turns
