"""A message as the columns of cubeloop's table, and back, by hand."""

import json
from typing import Any, Final

import msgpack
from cubeloop.providers.base import AssistantMessage, Message, ToolResultMessage, UserMessage

_CLASSES: Final[dict[str, type[Message]]] = {
    "user": UserMessage,
    "assistant": AssistantMessage,
    "tool": ToolResultMessage,
}


def to_row(message: Message) -> dict[str, Any]:
    """Return the columns that depend on the message alone."""
    return {
        "role": "tool" if message.role == "tool_result" else message.role,
        "metadata": json.dumps(message.metadata),
        "payload": msgpack.packb(message.model_dump(mode="json"), use_bin_type=True),
        "run_id": message.run_id,
    }


def from_row(role: str, metadata: str, payload: bytes) -> Message:
    """Return the message of three columns."""
    data = msgpack.unpackb(payload, raw=False)
    data["metadata"] = json.loads(metadata)
    return _CLASSES[role].model_validate(data)
