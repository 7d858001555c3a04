"""Conversations inside other objects, and the marks that tell the format of a conversation."""

import json
from io import BytesIO
from typing import Any, get_args, get_type_hints

import pytest

from threadlog.errors import ConversationError
from threadlog.formats import read_conversation, to_openai_chat
from threadlog.formats.any_format import detect_format
from threadlog.importing import parse_conversation, read_file
from threadlog.messages import TextContent, UserMessage

HELLO = [{"role": "user", "content": "hello"}]
HUMAN = [{"type": "human", "content": "hello"}]
EXPECTED = [UserMessage(content=[TextContent(text="hello")])]


@pytest.mark.parametrize(
    ("raw", "extra"),
    [
        # The state of a LangGraph thread, whose metadata has messages of one step.
        (
            {
                "values": {"messages": HUMAN, "files": {"a": 1}},
                "next": ["tools"],
                "metadata": {"writes": {"agent": {"messages": HUMAN}}},
            },
            {
                "values": {"files": {"a": 1}},
                "next": ["tools"],
                "metadata": {"writes": {"agent": {"messages": HUMAN}}},
            },
        ),
        (
            {"checkpoint": {"v": 1, "channel_values": {"messages": HUMAN}}},
            {"checkpoint": {"v": 1}},
        ),
        # Lines of batches.
        (
            {"custom_id": "a", "body": {"model": "m", "input": "hello"}},
            {"custom_id": "a", "body": {"model": "m"}},
        ),
        (
            {"custom_id": "a", "params": {"max_tokens": 9, "messages": HELLO}},
            {"custom_id": "a", "params": {"max_tokens": 9}},
        ),
        # An example of a dataset, and a run of a model.
        (
            {"inputs": {"input": "q"}, "outputs": {"output": HUMAN}, "name": None},
            {"inputs": {"input": "q"}},
        ),
        ({"inputs": {"messages": [HUMAN]}, "id": "r"}, {"id": "r"}),
        ({"input": {"messages": HELLO}, "output": "hi"}, {"output": "hi"}),
    ],
)
def test_read_conversation_finds_the_messages_in_an_object(raw: Any, extra: Any) -> None:
    assert read_conversation(raw) == (None, EXPECTED, extra)
    lines = list(read_file(BytesIO(json.dumps([raw, raw], indent=1).encode())))
    assert [line.raw for line in lines] == [raw, raw]


def test_read_conversation_names_the_place_in_an_object() -> None:
    with pytest.raises(ConversationError, match=r"^values\.messages\[1\] has the unknown type"):
        read_conversation({"values": {"messages": [*HUMAN, {"type": "robot", "content": ""}]}})


def test_read_conversation_of_two_lists_is_refused() -> None:
    raw = {"inputs": {"messages": HELLO}, "outputs": {"messages": HUMAN}}
    with pytest.raises(ConversationError, match=r"has messages in inputs\.messages and in outputs"):
        read_conversation(raw)


@pytest.mark.parametrize(
    ("request_key", "answer_key"),
    [("input", "output"), ("messages", "choices"), ("conversations", "output")],
)
def test_read_conversation_of_a_request_and_its_answer_is_refused(
    request_key: str, answer_key: str
) -> None:
    raw = {request_key: HELLO, answer_key: [{"role": "assistant", "content": "hi"}]}
    with pytest.raises(ConversationError, match=f"in {request_key} and in {answer_key}"):
        read_conversation(raw)
    # Labels of an example, say.
    labels = {request_key: HELLO, answer_key: ["good"]}
    assert read_conversation(labels) == (None, EXPECTED, {answer_key: ["good"]})


def test_read_conversation_of_a_deep_object_is_refused() -> None:
    raw: Any = {"messages": HELLO}
    for _ in range(900):
        raw = {"values": raw}
    with pytest.raises(ConversationError, match=r"^The conversation has no list of messages"):
        read_conversation(raw)


def test_system_messages_inside_an_object_are_the_conversations() -> None:
    marked = {"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}
    raw = {"body": {"messages": [{"role": "system", "content": [marked]}, *HELLO]}}
    system, messages, extra = read_conversation(raw)
    assert (system, messages) == ("Be kind.", EXPECTED)
    assert extra == {"unmodeled": {"anthropic": {"/body/messages/0/content": [marked]}}}
    given = {"params": {"system": "Be kind.", "messages": HELLO}}
    assert read_conversation(given)[:2] == ("Be kind.", EXPECTED)
    assert parse_conversation(raw, "file:1").skipped == 1
    assert parse_conversation(given, "file:1").skipped == 0


def types_of(form: Any) -> set[str]:
    """Return the types that a TypedDict of an SDK may have, or those of a union."""
    if hasattr(form, "__required_keys__"):
        form = get_type_hints(form)["type"]
    if isinstance(form, str):
        return {form}
    return {name for member in get_args(form) for name in types_of(member)}


def test_detect_format_knows_every_item_of_responses() -> None:
    # In every process of a run, the import would take longer than all these tests.
    from openai.types.responses import ResponseInputItemParam  # noqa: PLC0415 - see above

    names = types_of(ResponseInputItemParam) - {"message"}
    assert len(names) > 25
    for name in names:
        assert detect_format([*HELLO, {"type": name, "id": "a"}]) == "openai_responses", name


def test_detect_format_knows_every_block_of_anthropic() -> None:
    from anthropic.types import ContentBlockParam  # noqa: PLC0415 - as above
    from anthropic.types.beta import BetaContentBlockParam  # noqa: PLC0415 - as above

    names = (types_of(ContentBlockParam) | types_of(BetaContentBlockParam)) - {"text"}
    assert len(names) > 15
    for name in names:
        message = {"role": "assistant", "content": [{"type": name}]}
        assert detect_format([*HELLO, message]) == "anthropic", name


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ({"messages": HELLO, "tools": [{"name": "f", "input_schema": {}}]}, "anthropic"),
        ({"messages": HELLO, "model": "claude-haiku"}, "anthropic"),
        ([{"role": "user", "content": [{"type": "text", "cache_control": {}}]}], "anthropic"),
        # A proxy in OpenAI's form before a model of Anthropic's.
        (
            {
                "model": "claude-haiku",
                "messages": [*HELLO, {"role": "tool", "content": "a", "tool_call_id": "b"}],
            },
            "openai_chat",
        ),
        ({"messages": [{"type": "AIMessageChunk", "content": "a"}]}, "langchain"),
        ([{"lc": 1, "type": "constructor", "id": ["x", "HumanMessage"]}], "langchain"),
        ({"object": "response", "output": []}, "openai_responses"),
        ({"model": "gpt", "input": HELLO}, "openai_responses"),
        # A trace of Langfuse, whose input is a list of chat completions.
        (
            {
                "model": "gpt",
                "input": [*HELLO, {"role": "tool", "content": "a", "tool_call_id": "b"}],
            },
            "openai_chat",
        ),
        ({"model": "claude-haiku", "choices": [{"message": HELLO[0]}]}, "openai_chat"),
        (3, "openai_chat"),
    ],
)
def test_detect_format_of_marks_beside_the_text(raw: Any, name: str) -> None:
    assert detect_format(raw) == name


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        # Events of a stream have types too, and are no items of Responses.
        ([{"type": "text-delta", "delta": "a"}], "messages[0] has no role. Set its format (--f"),
        # Other libraries have the text of a message under another key.
        (
            [{"role": "user", "parts": [{"text": "a"}]}],
            "messages[0] has no 'content'. Rename",
        ),
        ([{"role": "assistant", "text": "a"}], "messages[0] has no 'content'. "),
        ([{"role": "system", "text": "a"}], "messages[0] has no 'content'. "),
        ([{"role": "tool", "tool_call_id": "a", "result": 1}], "messages[0] has no 'content'. "),
        ([{"type": "message", "role": "user", "text": "a"}], "messages[0] has no 'content'. "),
        ([{"type": "human", "data": {"text": "a"}}], "messages[0] has no 'content'. "),
        (
            {"model": "claude-haiku", "messages": [{"role": "user", "parts": []}]},
            "messages[0] has no 'content'. ",
        ),
        ({"role": "user", "content": "a"}, "The conversation has no list of messages: none of"),
    ],
)
def test_read_conversation_of_another_form_is_refused(raw: Any, reason: str) -> None:
    with pytest.raises(ConversationError) as caught:
        read_conversation(raw)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    "item",
    [
        {"role": "tool", "tool_call_id": "c1", "content": "a"},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "a"}]},
        {"type": "function_call_output", "call_id": "c1", "output": "a"},
        {"type": "tool", "tool_call_id": "c1", "content": "a"},
    ],
)
def test_read_conversation_of_a_result_without_its_call_has_no_name(item: Any) -> None:
    """A request that continues a stored answer has the result only."""
    (message,) = read_conversation([item]).messages
    assert message.role == "tool_result"
    assert (message.tool_call_id, message.tool_name) == ("c1", "")
    assert to_openai_chat([message]) == [{"role": "tool", "tool_call_id": "c1", "content": "a"}]
