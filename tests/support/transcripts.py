"""Convert threadlog's messages back to the chat-completions form, to compare with what was read."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from threadlog.messages import (
    AssistantContent,
    Content,
    ImageContent,
    JsonObject,
    Message,
    TextContent,
    ToolCall,
    ToolResultMessage,
)

# The keys that are read from the metadata.
_WRITTEN_BACK: Final = ("name", "refusal")


def write_transcript(messages: Iterable[Message], *, system: str | None = None) -> list[JsonObject]:
    """Convert threadlog's messages to the chat-completions form, as input of a model.

    Omits the values that the form does not have: thinking, and metadata except ``name`` and
    ``refusal``.

    Args:
        messages: the messages.
        system: the text of an initial system message.
    """
    written: list[JsonObject] = []
    if system is not None:
        written.append({"role": "system", "content": system})
    written += [_write_message(message) for message in messages]
    return written


def _write_message(message: Message) -> JsonObject:
    written: JsonObject = {"role": "tool" if message.role == "tool_result" else message.role}
    written["content"] = _write_content(message.content)
    calls = [_write_call(block) for block in message.content if isinstance(block, ToolCall)]
    if calls:
        written["tool_calls"] = [*calls]
    if isinstance(message, ToolResultMessage):
        written |= {"tool_call_id": message.tool_call_id, "name": message.tool_name}
    written |= {key: message.metadata[key] for key in _WRITTEN_BACK if key in message.metadata}
    return written


def _write_content(content: Sequence[Content | AssistantContent]) -> Any:
    """Return a single text as a string, no content as null, and all other content as parts."""
    blocks = [block for block in content if isinstance(block, TextContent | ImageContent)]
    match blocks:
        case []:
            return None
        case [TextContent(text=text)]:
            return text
        case _:
            return [_write_part(block) for block in blocks]


def _write_part(block: Content) -> JsonObject:
    if isinstance(block, TextContent):
        return {"type": "text", "text": block.text}
    return {"type": "image_url", "image_url": {"url": block.source, **(block.model_extra or {})}}


def _write_call(call: ToolCall) -> JsonObject:
    return {
        "id": call.id,
        "type": "function",
        "function": {
            "name": call.name,
            "arguments": json.dumps(call.arguments, ensure_ascii=False),
        },
    }
