"""A conversation of each format comes back equal, through the messages' payload too."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats import raw as strategies
from tests.support.matrix import rounds
from threadlog import MESSAGE_CODEC
from threadlog.errors import ConversationError
from threadlog.formats import (
    from_anthropic,
    from_langchain,
    from_openai_chat,
    from_openai_responses,
    from_sharegpt,
    read_conversation,
    to_anthropic,
    to_langchain,
    to_openai_chat,
    to_openai_responses,
    to_sharegpt,
)
from threadlog.formats.any_format import detect_format
from threadlog.messages import Message

DATA: Final = Path(__file__).parents[1] / "support" / "data"
REAL: Final = DATA.parents[3] / "shared" / "data" / "airline_conversations.jsonl"
CHATS: Final = REAL if REAL.exists() else DATA / "sample.jsonl"

FORMATS: Final[dict[str, tuple[Callable[..., Any], Callable[..., Any]]]] = {
    "openai_chat": (from_openai_chat, to_openai_chat),
    "openai_responses": (from_openai_responses, to_openai_responses),
    "anthropic": (from_anthropic, to_anthropic),
    "sharegpt": (from_sharegpt, to_sharegpt),
    "langchain": (from_langchain, to_langchain),
}


def stored(messages: list[Message]) -> list[Message]:
    """Return messages as they are loaded: a JSON column may have changed the order of keys."""
    return [
        MESSAGE_CODEC.decode("t", 1, row.role, reordered(row.metadata), row.payload)
        for row in MESSAGE_CODEC.encode(messages)
    ]


def reordered(value: Any) -> Any:
    """Return a value with the keys of its objects in reverse."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


def empty(value: Any) -> None:
    """Empty nested lists and dicts in place."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            empty(item)
        value.clear()


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
@settings(max_examples=rounds(25), deadline=None)
def test_conversation_of_a_format_comes_back_equal(name: str, data: st.DataObject) -> None:
    raw = data.draw(getattr(strategies, name)())
    before = json.dumps(raw)
    read, write = FORMATS[name]
    messages = stored(read(raw).messages)
    assert write(messages) == raw
    assert json.dumps(raw) == before
    # What is written may be changed, and does not change the messages.
    copies = [message.model_copy(deep=True) for message in messages]
    empty(write(messages))
    assert messages == copies


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
@settings(max_examples=rounds(15), deadline=None)
def test_conversation_of_a_format_is_told_from_the_others(name: str, data: st.DataObject) -> None:
    """A conversation that says nothing of its format is the same in those that it may have."""
    raw = data.draw(getattr(strategies, name)())
    found = detect_format(raw)
    if raw and found != name:
        assert found == "openai_chat"
        assert name == "anthropic"
        assert all(
            isinstance(item["content"], str)
            or {part["type"] for part in item["content"]} == {"text"}
            for item in raw
        )


def test_read_conversation_refuses_an_instruction_with_an_input() -> None:
    """Alpaca's form is no conversation, though it has an input as a request of Responses has."""
    with pytest.raises(ConversationError, match="input must be a list, not str"):
        read_conversation({"instruction": "Add.", "input": "1 and 2", "output": "3"})


@pytest.mark.parametrize("name", FORMATS)
def test_real_conversations_go_through_every_format_and_back(name: str) -> None:
    _, write = FORMATS[name]
    chats = [json.loads(line)["messages"] for line in CHATS.read_text("utf-8").splitlines()]
    for chat in filter(is_plain, chats):
        system, messages, _ = from_openai_chat(chat)
        written = write(messages) if name == "anthropic" else write(messages, system=system)
        again = read_conversation(json.loads(json.dumps(written)), unknown="refuse")
        assert again.system == (None if name == "anthropic" else system)
        assert comparable(again.messages, name) == comparable(messages, name)
        assert write(again.messages) == write(messages)


def is_plain(chat: list[Any]) -> bool:
    """Return True if each format can hold a conversation: no images, people's names, refusals."""
    return not any(
        isinstance(each.get("content"), list)
        or "refusal" in each
        or (each["role"] == "user" and "name" in each)
        for each in chat
    )


def comparable(messages: list[Message], name: str) -> list[Any]:
    """Return what a format holds of messages: ShareGPT has no ids, and a call is its own turn."""
    if name != "sharegpt":
        return [
            message.model_dump() | ({} if message.content else {"content": None})
            for message in messages
        ]
    return [block.model_dump(exclude={"id"}) for message in messages for block in message.content]
