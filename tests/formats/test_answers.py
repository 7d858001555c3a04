"""Answers of the APIs, which are conversations of one message."""

from typing import Any

import pytest

from threadlog.errors import ConversationError
from threadlog.formats import (
    read_conversation,
    to_anthropic,
    to_openai_chat,
    to_openai_responses,
)
from threadlog.messages import AssistantMessage, TextContent, ThinkingContent, ToolCall, Usage

ANTHROPIC: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus",
    "content": [
        {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "q"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "srv_1",
            "content": [{"type": "web_search_result", "url": "https://example.com"}],
        },
        {
            "type": "text",
            "text": "It rains.",
            "citations": [{"type": "web_search_result_location", "cited_text": "rain"}],
        },
    ],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 7, "output_tokens": 2, "server_tool_use": {"web_search_requests": 1}},
}

CHAT: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "gpt-mini",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "rain", "arguments": '{"in": "Bonn"}'},
                    }
                ],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {
        "prompt_tokens": 50,
        "completion_tokens": 4,
        "total_tokens": 54,
        "prompt_tokens_details": {"cached_tokens": 30},
    },
}

RESPONSES: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "instructions": [{"type": "message", "role": "developer", "content": "Be brief."}],
    "model": "gpt-large",
    "output": [
        {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gA"},
        {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"q": "rain"}},
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [
                {
                    "type": "output_text",
                    "text": "It rains.",
                    "annotations": [{"type": "url_citation", "url": "https://example.com"}],
                    "logprobs": [],
                }
            ],
        },
        {"id": "mcp_1", "type": "mcp_call", "name": "roll", "arguments": "{}", "output": "4"},
    ],
    "usage": {
        "input_tokens": 50,
        "input_tokens_details": {"cached_tokens": 30},
        "output_tokens": 4,
        "total_tokens": 54,
    },
    "error": None,
    "metadata": {},
}


def test_read_conversation_of_an_answer_of_anthropic_stores_its_values_in_the_message() -> None:
    system, (message,), extra = read_conversation(ANTHROPIC)
    assert (system, extra) == (None, {})
    assert message.model_copy(update={"metadata": {}}) == AssistantMessage(
        content=[TextContent(text="It rains.")],
        response_id="msg_1",
        model_id="claude-opus",
        usage=Usage.model_validate(
            {"input_tokens": 7, "output_tokens": 2, "server_tool_use": {"web_search_requests": 1}}
        ),
    )
    assert to_anthropic([message]) == [{"role": "assistant", "content": ANTHROPIC["content"]}]


def test_read_conversation_of_a_chat_completion_stores_its_values_in_the_message() -> None:
    system, messages, extra = read_conversation(CHAT)
    assert (system, extra) == (None, {"object": "chat.completion", "created": 1700000000})
    assert messages == [
        AssistantMessage(
            content=[ToolCall(id="call_1", name="rain", arguments={"in": "Bonn"})],
            stop_reason="tool_use",
            response_id="chatcmpl-1",
            model_id="gpt-mini",
            usage=Usage.model_validate(
                CHAT["usage"] | {"input_tokens": 20, "output_tokens": 4, "cache_read_tokens": 30}
            ),
        )
    ]
    assert to_openai_chat(messages) == [CHAT["choices"][0]["message"]]


def test_read_conversation_of_a_chat_completion_keeps_what_has_no_field() -> None:
    choice = CHAT["choices"][0] | {"logprobs": {"content": []}, "finish_reason": "length"}
    usage = {"prompt_tokens": "many"}
    raw = {"choices": [choice], "model": 1, "usage": usage}
    _, (message,), extra = read_conversation(raw)
    assert extra == {
        "choices": [{"logprobs": {"content": []}}],
        "model": 1,
        "usage": usage,
    }
    assert isinstance(message, AssistantMessage)
    assert (message.stop_reason, message.usage, message.model_id) == ("length", None, "")


@pytest.mark.parametrize(
    "other", [{"cache_write_tokens": "many"}, {"cache_read_tokens": 7}, {"input_tokens": 9}]
)
def test_read_conversation_of_an_answer_with_counts_of_two_forms_keeps_them(other: Any) -> None:
    usage = CHAT["usage"] | other
    _, (message,), extra = read_conversation(CHAT | {"usage": usage})
    assert isinstance(message, AssistantMessage)
    assert (message.usage, extra["usage"]) == (None, usage)


def test_read_conversation_counts_no_zeros_of_the_other_form() -> None:
    """Proxies write both forms, one of them with zeros."""
    usage = CHAT["usage"] | {"input_tokens": 0, "output_tokens": 0, "input_tokens_details": None}
    _, (message,), _ = read_conversation(CHAT | {"usage": usage})
    assert isinstance(message, AssistantMessage)
    assert message.usage is not None
    assert (message.usage.input_tokens, message.usage.output_tokens) == (20, 4)


@pytest.mark.parametrize("value", [{"index": 1}, {"filtered": False}, {"matched_stop": 0}])
def test_read_conversation_of_a_chat_completion_drops_no_value_of_its_choice(value: Any) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "logprobs": None}
    assert read_conversation({"choices": [choice]}, unknown="refuse").extra == {}
    assert "choices" in read_conversation({"choices": [choice | value]}).extra
    with pytest.raises(ConversationError, match=r"^choices has no field"):
        read_conversation({"choices": [choice | value]}, unknown="refuse")


@pytest.mark.parametrize(
    "choices", [[], {}, CHAT["choices"] * 2, [{"text": "legacy", "finish_reason": "stop"}]]
)
def test_read_conversation_of_several_choices_is_refused(choices: Any) -> None:
    with pytest.raises(ConversationError, match=r"^choices must have one choice with a message\."):
        read_conversation(CHAT | {"choices": choices})


def test_read_conversation_of_an_answer_of_responses_stores_its_values_in_the_message() -> None:
    system, (message,), extra = read_conversation(RESPONSES)
    assert system is None
    assert extra == {
        name: RESPONSES[name] for name in ("object", "status", "instructions", "metadata")
    }
    assert message.model_copy(update={"metadata": {}}) == AssistantMessage(
        content=[ThinkingContent(thinking=""), TextContent(text="It rains.")],
        response_id="resp_1",
        model_id="gpt-large",
        usage=Usage.model_validate(
            RESPONSES["usage"] | {"input_tokens": 20, "cache_read_tokens": 30}
        ),
    )
    expected = [dict(item) for item in RESPONSES["output"]]
    del expected[2]["content"][0]["logprobs"]  # empty
    assert to_openai_responses([message]) == expected


def test_read_conversation_of_results_of_batches_keeps_what_is_around_the_answer() -> None:
    raw = {"custom_id": "a", "result": {"type": "succeeded", "message": ANTHROPIC}}
    assert read_conversation(raw) == (
        None,
        read_conversation(ANTHROPIC).messages,
        {"custom_id": "a", "result": {"type": "succeeded"}},
    )
    body = RESPONSES | {"output": [], "usage": None}
    line = {"id": "batch_1", "response": {"status_code": 200, "body": body}, "error": None}
    kept = {name: RESPONSES[name] for name in ("object", "status", "instructions", "metadata")}
    kept |= {"id": "resp_1", "model": "gpt-large"}
    assert read_conversation(line) == (
        None,
        [],
        {"id": "batch_1", "response": {"status_code": 200, "body": kept}},
    )


@pytest.mark.parametrize(("value", "place"), [({"model": 1}, "model"), ({"usage": {}}, "usage")])
def test_read_conversation_refuses_a_value_of_an_answer_that_has_no_field(
    value: Any, place: str
) -> None:
    choice = {"message": {"role": "assistant", "content": "a"}}
    assert read_conversation({"choices": [choice], "id": "c"}, unknown="refuse").messages
    with pytest.raises(ConversationError, match=f"^{place} has no field"):
        read_conversation({"choices": [choice], **value}, unknown="refuse")


def test_read_conversation_of_an_answer_without_output_keeps_its_values() -> None:
    values = {"object": "response", "status": "failed", "id": "resp_1"}
    assert read_conversation(values | {"output": [], "usage": None}) == (None, [], values)
