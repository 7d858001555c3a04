"""Dumps of LangChain's messages, of LangChain's own functions."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.load import dumpd
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    message_to_dict,
    messages_from_dict,
)

from threadlog.errors import ConversationError
from threadlog.formats import from_langchain, to_anthropic, to_langchain
from threadlog.messages import (
    AssistantMessage,
    TextContent,
    ThinkingContent,
    ToolCall,
    ToolResultMessage,
    Usage,
    UserMessage,
)

MESSAGES: list[BaseMessage] = [
    SystemMessage("Be brief."),
    HumanMessage(["Weather in", {"type": "text", "text": " Rome?"}], id="h1", name="ann"),
    AIMessage(
        [
            {"type": "thinking", "thinking": "A call.", "signature": "EqoB"},
            {"type": "tool_use", "id": "c1", "name": "weather", "input": {"in": "Rome"}},
        ],
        tool_calls=[{"id": "c1", "name": "weather", "args": {"in": "Rome"}, "type": "tool_call"}],
        usage_metadata={
            "input_tokens": 10,
            "output_tokens": 2,
            "total_tokens": 12,
            "input_token_details": {"cache_read": 4},
        },
        response_metadata={"model_name": "claude", "stop_reason": "tool_use"},
    ),
    ToolMessage("sunny", tool_call_id="c1", name="weather", artifact={"raw": 1}, status="error"),
    AIMessage("Sunny.", additional_kwargs={"refusal": None}),
]


@pytest.mark.parametrize("dump", [message_to_dict, dumpd, BaseMessage.model_dump])
def test_from_langchain_reads_every_form_of_a_dump(dump: Callable[[BaseMessage], Any]) -> None:
    raw = [dump(message) for message in MESSAGES]
    system, messages, extra = from_langchain(raw)
    assert (system, extra) == ("Be brief.", {})
    assert [message.model_copy(update={"metadata": {}}) for message in messages] == [
        UserMessage(content=[TextContent(text="Weather in"), TextContent(text=" Rome?")], id="h1"),
        AssistantMessage(
            content=[
                ThinkingContent(thinking="A call."),
                ToolCall(id="c1", name="weather", arguments={"in": "Rome"}),
            ],
            stop_reason="tool_use",
            usage=Usage(input_tokens=6, output_tokens=2, cache_read_tokens=4),
            model_id="claude",
        ),
        ToolResultMessage(
            tool_call_id="c1",
            tool_name="weather",
            content=[TextContent(text="sunny")],
            details={"raw": 1},
            is_error=True,
        ),
        AssistantMessage(content=[TextContent(text="Sunny.")]),
    ]
    expected = list(MESSAGES)
    expected[1] = HumanMessage(
        [{"type": "text", "text": "Weather in"}, {"type": "text", "text": " Rome?"}],
        id="h1",
        name="ann",
    )
    assert messages_from_dict(to_langchain(messages, system=system)) == expected


def test_from_langchain_reads_what_a_stream_left() -> None:
    chunk = AIMessageChunk(content="a", id="run-1")
    (message,) = from_langchain([message_to_dict(chunk)]).messages
    assert message.content == [TextContent(text="a")]
    assert messages_from_dict(to_langchain([message])) == [chunk]


def test_from_langchain_reads_a_chunk_of_javascript() -> None:
    """JavaScript's dump has the class only, and no type among the fields."""
    raw = {"lc": 1, "type": "constructor", "id": ["langchain_core", "messages", "AIMessageChunk"]}
    (message,) = from_langchain([raw | {"kwargs": {"content": "a", "id": "run-1"}}]).messages
    assert messages_from_dict(to_langchain([message])) == [AIMessageChunk(content="a", id="run-1")]


def test_from_langchain_reads_the_names_of_classes() -> None:
    raw = [{"type": "HumanMessage", "content": "a"}, {"type": "AIMessage", "content": "b"}]
    messages = from_langchain(raw, unknown="refuse").messages
    assert messages_from_dict(to_langchain(messages)) == [HumanMessage("a"), AIMessage("b")]


def test_from_langchain_reads_calls_of_older_releases() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    broken = {"id": "c2", "type": "function"}
    kwargs = {"tool_calls": [call, broken]}
    raw: list[Any] = [
        {"type": "ai", "data": {"content": "", "additional_kwargs": kwargs}},
        {"type": "tool", "data": {"content": "b", "tool_call_id": "c1"}},
    ]
    answer, result = from_langchain(raw).messages
    assert answer.content == [ToolCall(id="c1", name="f", arguments={"a": 1})]
    assert isinstance(result, ToolResultMessage)
    assert result.tool_name == "f"
    assert answer.metadata == {
        "unmodeled": {"langchain": {"/data/additional_kwargs": {"tool_calls": [call, broken]}}}
    }


def test_from_langchain_knows_the_calls_that_a_content_repeats() -> None:
    """Parts of OpenAI's Responses have the id of the item, and that of the call."""
    part = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"}
    message = AIMessage(
        [part], tool_calls=[{"id": "c1", "name": "f", "args": {}, "type": "tool_call"}]
    )
    (read,) = from_langchain([message_to_dict(message)], unknown="refuse").messages
    assert read.content == [ToolCall(id="c1", name="f", arguments={})]
    assert messages_from_dict(to_langchain([read])) == [message]


def test_messages_of_langchain_feed_a_model_of_anthropic() -> None:
    messages = from_langchain([message_to_dict(message) for message in MESSAGES]).messages
    assert to_anthropic(messages)[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"in": "Rome"}}
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "content": "sunny",
                    "is_error": True,
                }
            ],
        },
        {"role": "assistant", "content": "Sunny."},
    ]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ([{"content": "a"}], "messages[0] is no dump of a message: it has no type."),
        ([{"type": "robot", "data": {}}], "messages[0] has the unknown type 'robot'."),
        ([{"type": "human", "content": 1}], "messages[0].content must be a list, not int."),
        (
            [{"type": "tool", "content": "a", "tool_call_id": "x", "name": "f", "status": "odd"}],
            "messages[0].status must be success or error.",
        ),
        (
            [{"type": "ai", "content": "", "tool_calls": [{"name": "f", "args": {}, "id": None}]}],
            "messages[0].tool_calls[0].id must be a string, not null.",
        ),
        (
            [{"type": "human", "data": {"content": "a", "additional_kwargs": {"b": 1}}}],
            "messages[0].additional_kwargs has no field in threadlog's messages.",
        ),
        (
            [{"type": "human", "content": "a"}, {"type": "system", "content": "b"}],
            "messages[1].type is a system message after the first message.",
        ),
    ],
)
def test_from_langchain_names_the_place_of_what_cannot_be_stored(raw: object, reason: str) -> None:
    with pytest.raises(ConversationError) as caught:
        from_langchain(raw, unknown="refuse")
    assert reason in str(caught.value)
