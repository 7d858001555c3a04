"""ShareGPT's turns."""

import json
from typing import Any

import pytest

from threadlog.errors import ConversationError
from threadlog.formats import from_sharegpt, to_openai_chat, to_sharegpt
from threadlog.messages import (
    AssistantMessage,
    ImageContent,
    TextContent,
    ThinkingContent,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)

CALL = {"name": "weather", "arguments": {"in": "Rome"}}

CONVERSATION: dict[str, Any] = {
    "id": "identity_0",
    "conversations": [
        {"from": "human", "value": "Weather in Rome?"},
        {"from": "function_call", "value": json.dumps(CALL)},
        {"from": "observation", "value": '{"sky": "clear"}'},
        {"from": "gpt", "value": "Sunny.", "weight": 1},
    ],
    "system": "Be brief.",
    "tools": '[{"name": "weather"}]',
}


def test_from_sharegpt_of_a_line_reads_all_of_it() -> None:
    system, messages, extra = from_sharegpt(CONVERSATION)
    assert system == "Be brief."
    assert extra == {"id": "identity_0", "tools": '[{"name": "weather"}]'}
    assert messages == [
        UserMessage(content=[TextContent(text="Weather in Rome?")]),
        AssistantMessage(
            content=[ToolCall(id="call_1", name="weather", arguments={"in": "Rome"})],
            stop_reason="tool_use",
        ),
        ToolResultMessage(
            tool_call_id="call_1",
            tool_name="weather",
            content=[TextContent(text='{"sky": "clear"}')],
        ),
        AssistantMessage(
            content=[TextContent(text="Sunny.")],
            metadata={"unmodeled": {"sharegpt": {"/weight": 1}}},
        ),
    ]
    assert to_sharegpt(messages) == CONVERSATION["conversations"]
    assert [message["role"] for message in to_openai_chat(messages)] == [
        *("user", "assistant", "tool", "assistant")
    ]


def test_from_sharegpt_gives_results_to_the_calls_in_their_order() -> None:
    other = {"name": "time", "arguments": "{}"}
    raw = [
        {"from": "function_call", "value": json.dumps([CALL, other])},
        {"from": "tool", "value": "sunny"},
        {"from": "tool", "value": "noon"},
        {"from": "tool", "value": "of no call"},
    ]
    messages = from_sharegpt(raw, unknown="refuse").messages
    results = [message for message in messages if isinstance(message, ToolResultMessage)]
    assert [(result.tool_call_id, result.tool_name) for result in results] == [
        ("call_1", "weather"),
        ("call_2", "time"),
        ("call_3", ""),
    ]
    assert [turn["from"] for turn in to_sharegpt(messages)] == ["function_call", *["tool"] * 3]


def test_to_sharegpt_of_a_text_with_calls_writes_two_turns() -> None:
    message = AssistantMessage(
        content=[
            ThinkingContent(thinking="hm"),
            TextContent(text="I look."),
            ImageContent(source="https://example.com"),
            ToolCall(id="x", name="weather", arguments={"in": "Rome"}),
        ]
    )
    assert to_sharegpt([message], system="s") == [
        {"from": "system", "value": "s"},
        {"from": "gpt", "value": "I look."},
        {"from": "function_call", "value": json.dumps(CALL)},
    ]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({"conversations": "a"}, "conversations must be a list, not str."),
        ([{"from": "robot", "value": ""}], "messages[0].from is the unknown role 'robot'."),
        ([{"from": "human", "value": None}], "messages[0].value must be a string, not null."),
        ([{"from": "function_call", "value": "f()"}], "messages[0].value is not JSON: "),
        ([{"from": "function_call", "value": "[]"}], "messages[0].value has no call."),
        (
            [{"from": "function_call", "value": '{"name": "f"}'}],
            "messages[0].value must have exactly name and arguments.",
        ),
        ([{"from": "human", "value": "a", "weight": 0}], "messages[0].weight has no field"),
        (
            [{"from": "human", "value": "a"}, {"from": "system", "value": "b"}],
            "messages[1].from is a system message after the first message.",
        ),
    ],
)
def test_from_sharegpt_names_the_place_of_what_cannot_be_stored(raw: object, reason: str) -> None:
    with pytest.raises(ConversationError) as caught:
        from_sharegpt(raw, unknown="refuse")
    assert reason in str(caught.value)
