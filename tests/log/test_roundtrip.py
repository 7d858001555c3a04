"""Any message that can be written comes back equal."""

import asyncio
import itertools
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.matrix import rounds
from threadlog import Checkpointer
from threadlog.messages import (
    AssistantMessage,
    ImageContent,
    Message,
    TextContent,
    ThinkingContent,
    ToolCall,
    ToolResultMessage,
    Usage,
    UserMessage,
)

EXAMPLES: Final = rounds(60)

pytestmark = pytest.mark.every_way

text = st.text(st.characters(codec="utf-8"), max_size=40)
run_ids = text.filter(lambda s: s != "" and not s.endswith(" ") and "\0" not in s)
numbers = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | numbers


def values(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Return a strategy of JSON values whose texts, keys too, are of a strategy."""
    return st.recursive(
        scalars | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )


json_values = values(text)
json_objects = st.dictionaries(text, json_values, max_size=5)
# JSON columns have no NUL, which is refused; payloads have.
column_text = st.text(st.characters(codec="utf-8", min_codepoint=1), max_size=40)
column_objects = st.dictionaries(column_text, values(column_text), max_size=5)

texts = st.builds(TextContent, text=text)
images = st.builds(ImageContent, source=text, media_type=text)
thoughts = st.builds(ThinkingContent, thinking=text)
calls = st.builds(ToolCall, id=text, name=text, arguments=json_objects)
common: dict[str, Any] = {
    "id": text,
    "timestamp": st.none() | numbers,
    "metadata": column_objects,
    "run_id": st.none() | run_ids,
}
contents = st.lists(texts | images, max_size=4)
messages: st.SearchStrategy[Message] = (
    st.builds(UserMessage, content=contents, **common)
    | st.builds(
        AssistantMessage,
        content=st.lists(texts | images | thoughts | calls, max_size=5),
        usage=st.none() | st.builds(Usage, input_tokens=st.integers(0, 2**63)),
        error_message=st.none() | text,
        retry_after=st.none() | numbers,
        **common,
    )
    | st.builds(
        ToolResultMessage,
        tool_call_id=text,
        tool_name=text,
        content=contents,
        details=json_values,
        is_error=st.booleans(),
        **common,
    )
)


def test_generated_messages_come_back_equal(database_url: str) -> None:
    numbered = itertools.count()
    with asyncio.Runner() as runner:
        checkpointer = runner.run(Checkpointer(database_url).__aenter__())

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(batch=st.lists(messages, min_size=1, max_size=6), extra=column_objects)
        def check(batch: list[Message], extra: dict[str, Any]) -> None:
            thread_id = f"t{next(numbered)}"
            runner.run(checkpointer.append(thread_id, batch))
            runner.run(checkpointer.save_extra(thread_id, extra))
            data = runner.run(checkpointer.load(thread_id))
            assert data is not None
            assert data.messages == batch
            assert data.extra == extra

        try:
            check()
        finally:
            runner.run(checkpointer.__aexit__(None, None, None))
    assert next(numbered) >= EXAMPLES
