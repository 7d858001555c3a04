"""OpenAI's chat completions, and JSON that can be stored."""

import json
from pathlib import Path
from typing import Any

import pytest

from threadlog.errors import ConversationError
from threadlog.formats import from_openai_chat, to_openai_chat
from threadlog.formats.json_text import parse_json
from threadlog.messages import (
    AssistantMessage,
    ImageContent,
    TextContent,
    ThinkingContent,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)

SAMPLE = Path(__file__).parents[1] / "support" / "data" / "sample.jsonl"

USER = {"role": "user", "content": "hello"}


def call(arguments: str = "{}", **changes: Any) -> dict[str, Any]:
    """Create an assistant's message that calls a tool."""
    made = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [made | changes]}


@pytest.mark.parametrize("line", SAMPLE.read_text(encoding="utf-8").splitlines())
def test_what_was_read_is_written_back_equal(line: str) -> None:
    """Reading loses nothing of the sample."""
    raw = json.loads(line)["messages"]
    system, messages, _ = from_openai_chat(raw)
    written = to_openai_chat(messages, system=system)
    for message in [*raw, *written]:
        for made in message.get("tool_calls", []):
            made["function"]["arguments"] = json.loads(made["function"]["arguments"])
    assert written == raw


@pytest.mark.parametrize("arguments", ["", " ", "{}"])
def test_call_without_parameters_has_no_arguments(arguments: str) -> None:
    """Providers write "" where the function has no parameters."""
    _, (message,), _ = from_openai_chat([call(arguments)])
    assert message.content == [ToolCall(id="c1", name="f", arguments={})]


def test_from_openai_chat_keeps_arguments_that_are_the_text_of_a_text() -> None:
    """A file of OpenAI's cookbook has such lines."""
    raw = [call(json.dumps('{"a": 1}'))]
    messages = from_openai_chat(raw).messages
    assert messages[0].content == [ToolCall(id="c1", name="f", arguments={"a": 1})]
    assert to_openai_chat(messages) == raw
    with pytest.raises(ConversationError, match="arguments is the JSON of a text"):
        from_openai_chat(raw, unknown="refuse")


def test_call_with_index_of_stream_is_read() -> None:
    _, (message,), _ = from_openai_chat([call(index=0)])
    assert message.content == [ToolCall(id="c1", name="f", arguments={})]
    with pytest.raises(ConversationError, match=r"tool_calls\[0\].index has no field"):
        from_openai_chat([call(index=1)], unknown="refuse")


def test_each_role_becomes_its_message() -> None:
    system, messages, _ = from_openai_chat(
        [
            {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
            USER | {"name": "ann"},
            call('{"x": [1, 2.5]}'),
            {"role": "tool", "tool_call_id": "c1", "content": ""},
            {"role": "assistant", "content": "done", "refusal": None, "annotations": []},
        ]
    )
    assert system == "Be brief."
    assert messages == [
        UserMessage(content=[TextContent(text="hello")], metadata={"name": "ann"}),
        AssistantMessage(
            content=[ToolCall(id="c1", name="f", arguments={"x": [1, 2.5]})],
            stop_reason="tool_use",
        ),
        ToolResultMessage(tool_call_id="c1", tool_name="f", content=[TextContent(text="")]),
        AssistantMessage(content=[TextContent(text="done")], stop_reason="stop"),
    ]


def test_nothing_and_empty_text_are_kept_apart() -> None:
    """Null gives no block and an empty string an empty block."""
    raw = [{"role": "assistant", "content": None}, {"role": "assistant", "content": ""}]
    messages = from_openai_chat(raw).messages
    assert [message.content for message in messages] == [[], [TextContent(text="")]]
    assert to_openai_chat(messages) == raw


def test_images_keep_their_url_and_media_type() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    raw = [{"role": "user", "content": parts}]
    (message,) = from_openai_chat(raw).messages
    first, second = message.content
    assert isinstance(first, ImageContent)
    assert isinstance(second, ImageContent)
    assert (first.source, first.media_type) == ("data:image/webp;base64,AAAA", "image/webp")
    assert (second.source, second.media_type) == ("https://example.com/a.png", "")
    assert to_openai_chat([message]) == raw


def test_refusals_go_into_metadata() -> None:
    part = [{"type": "text", "text": "Sorry."}, {"type": "refusal", "refusal": "No."}]
    messages = from_openai_chat(
        [
            {"role": "assistant", "content": None, "refusal": "Never."},
            {"role": "assistant", "content": part},
        ]
    ).messages
    assert [message.metadata for message in messages] == [{"refusal": "Never."}, {"refusal": "No."}]
    assert messages[1].content == [TextContent(text="Sorry.")]


def test_from_openai_chat_keeps_unknown_values_under_one_key_and_writes_them_back() -> None:
    raw: list[Any] = [
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "https://a.b", "a/b~c": 1}},
            ],
        },
        {"role": "assistant", "content": "a", "reasoning_content": "because", "audio": None},
        {"role": "assistant", "content": None, "tool_calls": [{"type": "custom", "custom": {}}]},
        {"role": "system", "content": "late"},
    ]
    messages = from_openai_chat(raw).messages
    assert [message.metadata for message in messages] == [
        {
            "name": "ann",
            "unmodeled": {
                "openai_chat": {
                    "/content/0": raw[0]["content"][0],
                    "/content/1/cache_control": {"type": "ephemeral"},
                    "/content/2/image_url/a~1b~0c": 1,
                }
            },
        },
        {"unmodeled": {"openai_chat": {"/reasoning_content": "because"}}},
        {"unmodeled": {"openai_chat": {"/tool_calls/0": {"type": "custom", "custom": {}}}}},
        {"unmodeled": {"openai_chat": {"/role": "system"}}},
    ]
    del raw[1]["audio"]
    assert to_openai_chat(messages) == raw


def test_to_openai_chat_ignores_the_order_of_kept_values() -> None:
    """A JSON column of MySQL and PostgreSQL orders its keys anew."""
    parts = [{"type": "audio" if n % 2 else "text", "text": f"{n}"} for n in range(12)]
    (message,) = from_openai_chat([{"role": "user", "content": parts}]).messages
    kept: Any = message.metadata["unmodeled"]
    kept["openai_chat"] = dict(reversed(kept["openai_chat"].items()))
    assert to_openai_chat([message]) == [{"role": "user", "content": parts}]


def test_to_openai_chat_of_a_message_that_was_changed_leaves_out_what_has_no_place() -> None:
    parts = [{"type": "text", "text": "a", "cache_control": {}}]
    (message,) = from_openai_chat([{"role": "user", "content": parts}]).messages
    assert to_openai_chat([message.model_copy(update={"content": []})]) == [
        {"role": "user", "content": None}
    ]


def test_from_openai_chat_keeps_the_other_values_of_a_conversation_in_extra() -> None:
    """The line of a fine-tuning file has tools beside its messages."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    raw = {"system": "s", "messages": [USER], "tools": tools, "parallel_tool_calls": False}
    system, messages, extra = from_openai_chat(raw)
    assert (system, len(messages)) == ("s", 1)
    assert extra == {"tools": tools, "parallel_tool_calls": False}
    with pytest.raises(ConversationError, match="tools has no field in threadlog's messages"):
        from_openai_chat(raw, unknown="refuse")


def test_from_openai_chat_keeps_the_other_values_of_a_system_message_in_extra() -> None:
    raw = [{"role": "system", "content": "a", "name": "b"}]
    system, _, extra = from_openai_chat(raw)
    assert system == "a"
    assert extra == {"unmodeled": {"openai_chat": {"/messages/0/name": "b"}}}


def test_thoughts_and_metadata_are_not_handed_to_a_model() -> None:
    message = AssistantMessage(
        content=[ThinkingContent(thinking="hm"), TextContent(text="a")], metadata={"private": 1}
    )
    assert to_openai_chat([message]) == [{"role": "assistant", "content": "a"}]


def test_from_openai_chat_reads_arguments_that_are_objects() -> None:
    """Chat templates and some servers have no text of JSON there."""
    function = {"name": "f", "arguments": {"in": "Bonn"}}
    (message,) = from_openai_chat([call(function=function)], unknown="refuse").messages
    assert message.content == [ToolCall(id="c1", name="f", arguments={"in": "Bonn"})]
    assert to_openai_chat([message]) == [call('{"in": "Bonn"}')]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("text", "messages must be a list, not str."),
        (
            [USER, {"role": "system", "content": "late"}],
            "messages[1].role is a system message after the first",
        ),
        ([{"role": "robot"}], "messages[0] has the unknown role 'robot'."),
        (["hello"], "messages[0] must be an object, not str."),
        (
            [{"role": "user", "content": [{"type": "text", "value": "a"}]}],
            "messages[0].content[0] has the type 'text', but not the values of that type.",
        ),
        ([{"role": "user", "content": [{"text": "a"}]}], "messages[0].content[0] has no type."),
        ([{"role": "user", "content": 3}], "messages[0].content must be a list, not int."),
        (
            [{"role": "user", "content": [{"type": "input_audio"}]}],
            "messages[0].content[0] has no field in threadlog's messages. Use unknown=",
        ),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {}}]}],
            "messages[0].content[0].cache_control has no field",
        ),
        ([{"role": "system", "content": "a", "name": "b"}], "messages[0].name has no field"),
        (
            [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}],
            "messages[0] is a system message that is not text, which cannot be stored.",
        ),
        ([call("{")], "messages[0].tool_calls[0].function.arguments is not JSON: "),
        ([call("[1]")], "function.arguments must be a JSON object, not list."),
        ([call('{"a": NaN}')], "function.arguments is not JSON that can be stored: NaN is"),
        ([call('{"a": 1e999}')], "a number is too large"),
        ([call('{"a": 1, "a": 2}')], "an object has the same key twice"),
        ([call(type="custom")], "messages[0].tool_calls[0] has no field"),
        ([call(function=None)], "messages[0].tool_calls[0] has no function."),
        ([call(index=True)], "messages[0].tool_calls[0].index has no field"),
        ([call(id=None)], "messages[0].tool_calls[0].id must be a string, not null."),
        ([{"role": "tool", "content": "a"}], "messages[0].tool_call_id must be a string, not null"),
        (
            [{"role": "tool", "content": "a", "tool_call_id": "x", "name": 1}],
            "messages[0].name must be a string, not int.",
        ),
        ([{"role": "assistant", "function_call": {"name": "f"}}], "has a 'function_call', which"),
        (
            [
                {
                    "role": "assistant",
                    "content": [{"type": "refusal", "refusal": "a"}],
                    "refusal": "b",
                }
            ],
            "more than one refusal",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(raw: object, reason: str) -> None:
    """Reading drops nothing silently, and names the place."""
    with pytest.raises(ConversationError) as caught:
        from_openai_chat(raw, unknown="refuse")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\xff", "X is not UTF-8."),
        ("[" * 100_000, "X is nested too deeply."),
        ('{"a": }', "X is not JSON: Expecting value at character 7."),
        ("1" * 5_000, "X is not JSON that can be stored"),
    ],
)
def test_json_that_cannot_be_kept_is_refused(text: str | bytes, reason: str) -> None:
    """Every fault of a document becomes the same kind of error."""
    with pytest.raises(ConversationError) as caught:
        parse_json(text, "X")
    assert reason in str(caught.value)


def test_a_byte_order_mark_is_no_fault() -> None:
    """Files of Windows editors can be read."""
    assert parse_json(b"\xef\xbb\xbf[1.5]", "X") == [1.5]
