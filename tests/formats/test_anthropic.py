"""Messages of Anthropic's API."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from threadlog.errors import ConversationError
from threadlog.formats import from_anthropic, to_anthropic, to_openai_chat
from threadlog.messages import (
    AssistantMessage,
    ImageContent,
    TextContent,
    ThinkingContent,
    ToolCall,
    ToolResultMessage,
    Usage,
    UserMessage,
)

CONVERSATION: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 1024,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                {"type": "text", "text": "Weather in Rome and Oslo, like here?"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Two calls.", "signature": "EqoB"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"in": "Rome"}},
                {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {"in": "Oslo"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": True},
                {"type": "text", "text": "And Bonn?"},
            ],
        },
        {"role": "assistant", "content": "I do not know."},
    ],
}


def test_from_anthropic_of_a_request_reads_all_of_it() -> None:
    # In every process of a run, the import would take longer than all these tests.
    from anthropic.types import MessageParam  # noqa: PLC0415 - see above

    system, messages, extra = from_anthropic(CONVERSATION)
    assert system == "Be brief."
    assert extra == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 1024,
        "tools": CONVERSATION["tools"],
        "unmodeled": {"anthropic": {"/system": CONVERSATION["system"]}},
    }
    assert messages == [
        UserMessage(
            content=[
                ImageContent(source="https://example.com/a.png"),
                TextContent(text="Weather in Rome and Oslo, like here?"),
            ]
        ),
        AssistantMessage(
            content=[
                ThinkingContent(thinking="Two calls."),
                TextContent(text="I look."),
                ToolCall(id="toolu_1", name="weather", arguments={"in": "Rome"}),
                ToolCall(id="toolu_2", name="weather", arguments={"in": "Oslo"}),
            ],
            stop_reason="tool_use",
            metadata={"unmodeled": {"anthropic": {"/content/0/signature": "EqoB"}}},
        ),
        ToolResultMessage(
            tool_call_id="toolu_1", tool_name="weather", content=[TextContent(text="sunny")]
        ),
        ToolResultMessage(tool_call_id="toolu_2", tool_name="weather", content=[], is_error=True),
        UserMessage(content=[TextContent(text="And Bonn?")]),
        AssistantMessage(content=[TextContent(text="I do not know.")]),
    ]
    written = to_anthropic(messages)
    assert written == CONVERSATION["messages"]
    TypeAdapter(list[MessageParam]).validate_python(written)


def test_from_anthropic_of_an_answer_stores_its_fields_and_writes_its_content_only() -> None:
    answer = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": "a"}],
        "stop_reason": "max_tokens",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 3,
            "output_tokens": 4,
            "cache_read_input_tokens": 5,
            "cache_creation_input_tokens": None,
            "service_tier": "standard",
        },
    }
    (message,) = from_anthropic([answer], unknown="refuse").messages
    usage = {"input_tokens": 3, "output_tokens": 4, "cache_read_tokens": 5}
    assert message == AssistantMessage(
        content=[TextContent(text="a")],
        stop_reason="length",
        response_id="msg_1",
        model_id="claude",
        usage=Usage.model_validate(usage | {"service_tier": "standard"}),
    )
    assert to_anthropic([message]) == [{"role": "assistant", "content": "a"}]


def test_to_anthropic_leaves_out_what_the_api_refuses() -> None:
    thought = AssistantMessage(content=[ThinkingContent(thinking="not signed")])
    assert to_anthropic([thought]) == []


def test_to_anthropic_reads_images_of_other_formats() -> None:
    sources = ["data:image/png;base64,AAAA", "https://example.com/a.png"]
    images = [ImageContent(source=source, media_type="image/png") for source in sources]
    (written,) = to_anthropic([UserMessage(content=[*images, ImageContent(source="BBBB")])])
    assert [part["source"] for part in written["content"]] == [  # type: ignore[index, union-attr, call-overload]  # parts
        {"type": "base64", "media_type": "image/png", "data": "AAAA"},
        {"type": "url", "url": "https://example.com/a.png"},
        {"type": "base64", "media_type": "", "data": "BBBB"},
    ]


def test_messages_of_anthropic_feed_a_model_of_openai() -> None:
    """The marks of a format stay out of the others."""
    written = to_openai_chat(from_anthropic(CONVERSATION).messages)
    assert [message["role"] for message in written] == [
        *("user", "assistant", "tool", "tool", "user", "assistant")
    ]
    assert "signature" not in str(written)


def test_from_anthropic_of_a_later_system_message_keeps_its_parts() -> None:
    """A request may add tools in a system message, which has no text."""
    raw: list[Any] = [
        {"role": "user", "content": "a"},
        {"role": "system", "content": [{"type": "tool_addition", "tool": {"name": "f"}}]},
        {"role": "system", "content": "Be brief."},
    ]
    messages = from_anthropic(raw).messages
    assert messages[1].content == []
    assert to_anthropic(messages) == raw


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ([{"role": "human"}], "messages[0] has the unknown role 'human'."),
        ([{"role": "user", "content": 1}], "messages[0].content must be a list, not int."),
        ([{"role": "user", "content": ["a"]}], "messages[0].content[0] must be an object, not str"),
        (
            [{"role": "user", "content": [{"type": "tool_result"}]}],
            "messages[0].content[0].tool_use_id must be a string, not null.",
        ),
        (
            [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b"}]}],
            "messages[0].content[0].input must be an object, not null.",
        ),
        (
            [{"role": "assistant", "content": "a", "usage": {"input_tokens": "many"}}],
            "messages[0].usage.input_tokens must be an int, not str.",
        ),
        (
            [{"role": "user", "content": [{"type": "document", "source": {}}]}],
            "messages[0].content[0] has no field in threadlog's messages.",
        ),
        (
            [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}],
            "messages[1].role is a system message after the first message.",
        ),
        ({"messages": [], "tools": []}, "tools has no field in threadlog's messages."),
        (
            {"messages": [], "system": [{"type": "text", "text": "", "cache_control": {}}]},
            "system has no field in threadlog's messages.",
        ),
    ],
)
def test_from_anthropic_names_the_place_of_what_cannot_be_stored(raw: object, reason: str) -> None:
    with pytest.raises(ConversationError) as caught:
        from_anthropic(raw, unknown="refuse")
    assert reason in str(caught.value)
