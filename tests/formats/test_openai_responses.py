"""Items of OpenAI's Responses."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from threadlog.errors import ConversationError
from threadlog.formats import from_openai_responses, to_openai_responses
from threadlog.messages import (
    AssistantMessage,
    TextContent,
    ThinkingContent,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)

CONVERSATION: dict[str, Any] = {
    "model": "gpt-5",
    "instructions": "Be brief.",
    "tools": [{"type": "function", "name": "weather", "parameters": {}}],
    "input": [
        {"type": "message", "role": "user", "content": "Weather in Rome?"},
        {
            "id": "rs_1",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "A call."}],
            "encrypted_content": "gAAA",
        },
        {
            "id": "fc_1",
            "type": "function_call",
            "status": "completed",
            "call_id": "call_1",
            "name": "weather",
            "arguments": '{"in": "Rome"}',
        },
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "phase": "final_answer",
            "content": [{"type": "output_text", "text": "Sunny.", "annotations": []}],
        },
    ],
}


def test_from_openai_responses_of_a_request_reads_all_of_it() -> None:
    # In every process of a run, the import would take longer than all these tests.
    from openai.types.responses import ResponseInputItemParam  # noqa: PLC0415 - see above

    system, messages, extra = from_openai_responses(CONVERSATION)
    assert system == "Be brief."
    assert extra == {"model": "gpt-5", "tools": CONVERSATION["tools"]}
    assert [message.model_copy(update={"metadata": {}}) for message in messages] == [
        UserMessage(content=[TextContent(text="Weather in Rome?")]),
        AssistantMessage(
            content=[
                ThinkingContent(thinking="A call."),
                ToolCall(id="call_1", name="weather", arguments={"in": "Rome"}),
            ],
            stop_reason="tool_use",
        ),
        ToolResultMessage(
            tool_call_id="call_1", tool_name="weather", content=[TextContent(text="sunny")]
        ),
        AssistantMessage(content=[TextContent(text="Sunny.")]),
    ]
    assert messages[3].metadata == {
        "unmodeled": {
            "openai_responses": {
                "/0/id": "msg_1",
                "/0/status": "completed",
                "/0/phase": "final_answer",
            }
        }
    }
    written = to_openai_responses(messages)
    assert written == CONVERSATION["input"]
    TypeAdapter(list[ResponseInputItemParam]).validate_python(written)


def test_from_openai_responses_reads_the_short_spellings() -> None:
    """Items may have no type, and an input may be a text."""
    assert from_openai_responses({"input": "a"}).messages == [
        UserMessage(content=[TextContent(text="a")])
    ]
    raw = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"role": "assistant", "content": "b"},
    ]
    system, messages, _ = from_openai_responses(raw, unknown="refuse")
    assert to_openai_responses(messages, system=system) == [
        {"type": "message", "role": "system", "content": "Be brief."},
        {"type": "message", "role": "user", "content": "a"},
        {"type": "message", "role": "assistant", "content": "b"},
    ]


def test_to_openai_responses_leaves_out_thinking_that_is_not_of_the_api() -> None:
    message = AssistantMessage(
        content=[ThinkingContent(thinking="hm"), TextContent(text="a")], metadata={"n": 1}
    )
    assert to_openai_responses([message]) == [
        {"type": "message", "role": "assistant", "content": "a"}
    ]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ([{"role": "tool", "content": "a"}], "messages[0] has the unknown role 'tool'."),
        ({"input": {}}, "input must be a list, not dict."),
        (
            {"input": [{"type": "function_call", "call_id": "a", "name": "b", "arguments": "{"}]},
            "input[0].arguments is not JSON: ",
        ),
        ([{"type": "reasoning", "summary": ["a"]}], "messages[0].summary[0] must be an object"),
        ([{"type": "item_reference", "id": "a"}], "messages[0] has no field"),
        ([{"role": "user", "content": [{"type": "input_file"}]}], "messages[0].content[0] has no"),
        (
            [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}],
            "messages[1].role is a system message after the first message.",
        ),
    ],
)
def test_from_openai_responses_names_the_place_of_what_cannot_be_stored(
    raw: object, reason: str
) -> None:
    with pytest.raises(ConversationError) as caught:
        from_openai_responses(raw, unknown="refuse")
    assert reason in str(caught.value)
