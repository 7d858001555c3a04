"""The messages that every contender is given.

They are the framework's own objects for all whose tables are cubeloop's, and the same texts as
items of the OpenAI Agents SDK for its session.
"""

import json
from typing import Any

from cubeloop.providers.base import (
    AssistantMessage,
    Message,
    TextContent,
    ToolCall,
    ToolResultMessage,
    Usage,
    UserMessage,
)

_QUESTION = "Where is my parcel? I ordered it two weeks ago, and nobody answers. " * 7
_ANSWER = "It is in Köln and will be with you tomorrow; I am sorry that it took so long. " * 6
_FOUND = json.dumps({"order": 17, "place": "Köln", "steps": ["packed", "sent", "sorted"] * 16})


def question() -> UserMessage:
    """Create the message that is appended repeatedly: about 700 bytes when it is stored."""
    return UserMessage(content=[TextContent(text=_QUESTION)], metadata={"user": "u1"})


def conversation() -> list[Message]:
    """Create a question, a call of a tool, its result and an answer, of 500 to 800 bytes each."""
    call = ToolCall(id="call-1", name="track", arguments={"order": 17, "why": _QUESTION[:280]})
    usage = Usage(input_tokens=900, output_tokens=80)
    return [
        question(),
        AssistantMessage(content=[call], stop_reason="tool_use", usage=usage),
        ToolResultMessage(
            tool_call_id="call-1", tool_name="track", content=[TextContent(text=_FOUND)]
        ),
        AssistantMessage(content=[TextContent(text=_ANSWER)], usage=usage),
    ]


def question_item() -> dict[str, Any]:
    """Create the question as an item of the OpenAI Agents SDK."""
    return {"role": "user", "content": _QUESTION}


def conversation_items() -> list[dict[str, Any]]:
    """Create the conversation as items of the OpenAI Agents SDK."""
    arguments = json.dumps({"order": 17, "why": _QUESTION[:280]})
    call = {"type": "function_call", "call_id": "call-1", "name": "track", "arguments": arguments}
    text = {"type": "output_text", "text": _ANSWER, "annotations": []}
    return [
        question_item(),
        call,
        {"type": "function_call_output", "call_id": "call-1", "output": _FOUND},
        {"type": "message", "role": "assistant", "content": [text], "status": "completed"},
    ]
