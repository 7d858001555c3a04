"""Conversations of each format, in its usual spelling, for round trips."""

import json
from typing import Any, Final

from hypothesis import strategies as st

Raw = st.SearchStrategy[Any]

# A JSON column has no NUL, which values without a field may contain.
texts: Final = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
words: Final = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
scalars: Final = (
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9, width=32) | texts
)
objects: Final = st.dictionaries(words, scalars | st.lists(scalars, max_size=2), max_size=3)
urls: Final = words.map(lambda word: f"https://example.com/{word}.png")
data: Final = st.binary(min_size=1, max_size=6).map(lambda raw: raw.hex())
kept: Final = st.dictionaries(
    words.map(lambda word: f"x/{word}"), scalars | objects.filter(bool), max_size=2
)
"""Values that threadlog has no field for."""


@st.composite
def with_kept(draw: st.DrawFn, strategy: Raw) -> Any:
    """Draw an object that has values of its own sometimes."""
    return draw(strategy) | draw(st.just({}) | kept)


def _calls(draw: st.DrawFn) -> list[tuple[str, str, Any]]:
    """Draw ids, names and arguments of tool calls."""
    found = draw(st.lists(st.tuples(words, words, objects), max_size=3, unique_by=lambda c: c[0]))
    return [(f"{draw(words)}_{call_id}", name, given) for call_id, name, given in found]


def _unpacked(parts: list[Any], kind: str = "text", **others: Any) -> Any:
    """Return a single text as a string, as the formats usually have it."""
    if len(parts) == 1 and parts[0].keys() == {"type", kind, *others}:
        plain = parts[0] == {"type": parts[0]["type"], kind: parts[0][kind], **others}
        if plain and parts[0]["type"] in ("text", "input_text", "output_text"):
            return parts[0][kind]
    return parts


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@st.composite
def openai_chat(draw: st.DrawFn) -> list[Any]:
    """Draw chat completions: a turn is a person's message, the model's, and the results."""
    part = st.one_of(
        with_kept(texts.map(lambda text: {"type": "text", "text": text})),
        with_kept(
            urls.map(lambda url: {"type": "image_url", "image_url": {"url": url, "detail": "low"}})
        ),
        words.map(lambda word: {"type": "input_audio", "input_audio": {"data": word}}),
    )
    raw: list[Any] = []
    for _ in range(draw(st.integers(0, 3))):
        content = _unpacked(draw(st.lists(part, max_size=3))) or None
        raw.append({"role": "user", "content": content} | draw(kept))
        raw.append({"role": "assistant", "content": draw(st.none() | texts)} | draw(kept))
        calls = _calls(draw)
        if calls:
            raw[-1]["tool_calls"] = [
                {
                    "id": call_id,
                    "type": "function",
                    "function": {"name": name, "arguments": _dumps(given)} | draw(kept),
                }
                | draw(kept)
                for call_id, name, given in calls
            ]
        for call_id, name, _given in calls:
            result = {"role": "tool", "tool_call_id": call_id, "name": name}
            raw.append(result | {"content": draw(texts)} | draw(kept))
    return raw


@st.composite
def openai_responses(draw: st.DrawFn) -> list[Any]:
    """Draw items as the API returns them, and some without ids."""
    part = st.one_of(
        with_kept(texts.map(lambda text: {"type": "input_text", "text": text})),
        with_kept(
            urls.map(lambda url: {"type": "input_image", "image_url": url, "detail": "high"})
        ),
        words.map(lambda word: {"type": "input_file", "file_id": word}),
    )
    summary = texts.map(lambda text: {"type": "summary_text", "text": text})
    raw: list[Any] = []
    for _ in range(draw(st.integers(0, 3))):
        content = _unpacked(draw(st.lists(part, min_size=1, max_size=3)))
        raw.append({"type": "message", "role": "user", "content": content} | draw(kept))
        calls = _calls(draw)
        for call_id, name, given in calls:
            if draw(st.booleans()):
                thought: dict[str, Any] = {"type": "reasoning", "id": draw(words)}
                thought["summary"] = draw(st.lists(summary, max_size=2))
                raw.append(thought | {"encrypted_content": draw(words)} | draw(kept))
            if draw(st.booleans()):
                raw.append({"type": "web_search_call", "id": draw(words), "status": "completed"})
            call = {"type": "function_call", "id": draw(words), "status": "completed"}
            call |= {"call_id": call_id, "name": name, "arguments": _dumps(given)}
            raw.append(call | draw(kept))
        for call_id, _name, _given in calls:
            output = _unpacked(draw(st.lists(part, min_size=1, max_size=2)))
            raw.append(
                {"type": "function_call_output", "call_id": call_id, "output": output} | draw(kept)
            )
        for _ in range(draw(st.integers(0, 2))):
            answer = {"type": "output_text", "text": draw(texts), "annotations": []}
            message = {"type": "message", "role": "assistant", "status": "completed"}
            parts = [answer | draw(kept) for _ in range(draw(st.integers(1, 2)))]
            raw.append(message | {"id": draw(words), "content": parts} | draw(kept))
    return raw


@st.composite
def anthropic(draw: st.DrawFn) -> list[Any]:
    """Draw messages, with results of tools and a person's text in one, or in several."""
    image = st.one_of(
        data.map(lambda raw: {"type": "base64", "media_type": "image/png", "data": raw}),
        urls.map(lambda url: {"type": "url", "url": url}),
    ).map(lambda source: {"type": "image", "source": source})
    text = texts.map(lambda text: {"type": "text", "text": text})
    document = words.map(
        lambda word: {"type": "document", "source": {"type": "text", "data": word}}
    )
    part = st.one_of(with_kept(text), with_kept(image), document)
    thought = st.tuples(texts, words).map(
        lambda both: {"type": "thinking", "thinking": both[0], "signature": both[1]}
    )
    redacted = words.map(lambda word: {"type": "redacted_thinking", "data": word})
    raw: list[Any] = []
    results: list[Any] = []
    for _ in range(draw(st.integers(0, 4))):
        content = [*results, *draw(st.lists(part, max_size=2))]
        if draw(st.booleans()):
            content = draw(st.permutations(content))
        cut = draw(st.integers(0, len(content)))
        raw += [
            {"role": "user", "content": _unpacked(some)} | draw(kept)
            for some in (content[:cut], content[cut:])
            if some
        ]
        calls = [
            {"type": "tool_use", "id": call_id, "name": name, "input": given} | draw(kept)
            for call_id, name, given in _calls(draw)
        ]
        blocks = draw(st.lists(st.one_of(with_kept(text), thought, redacted), max_size=3)) + calls
        if blocks:
            raw.append({"role": "assistant", "content": _unpacked(blocks)} | draw(kept))
        results = []
        for call in calls:
            result = {"type": "tool_result", "tool_use_id": call["id"]}
            if draw(st.booleans()):
                result["content"] = _unpacked(draw(st.lists(part, min_size=1, max_size=2)))
            if draw(st.booleans()):
                result["is_error"] = True
            results.append(result | draw(kept))
    return raw


@st.composite
def sharegpt(draw: st.DrawFn) -> list[Any]:
    """Draw turns, with the names of the roles that files have."""
    raw: list[Any] = []
    for _ in range(draw(st.integers(0, 3))):
        user = draw(st.sampled_from(["human", "user"]))
        raw.append({"from": user, "value": draw(texts)} | draw(kept))
        calls = [{"name": name, "arguments": given} for _, name, given in _calls(draw)]
        if calls:
            value = _dumps(calls if len(calls) > 1 else calls[0])
            raw.append({"from": "function_call", "value": value} | draw(kept))
        for _call in calls:
            role = draw(st.sampled_from(["observation", "tool"]))
            raw.append({"from": role, "value": draw(texts)} | draw(kept))
        model = draw(st.sampled_from(["gpt", "assistant"]))
        raw.append({"from": model, "value": draw(texts)} | draw(kept))
    return raw


@st.composite
def langchain(draw: st.DrawFn) -> list[Any]:
    """Draw messages in the form of `messages_to_dict`."""
    part = st.one_of(
        with_kept(texts.map(lambda text: {"type": "text", "text": text})),
        with_kept(urls.map(lambda url: {"type": "image_url", "image_url": {"url": url}})),
        words.map(lambda word: {"type": "file", "file_id": word}),
    )
    thought = st.tuples(texts, words).map(
        lambda both: {"type": "thinking", "thinking": both[0], "signature": both[1]}
    )
    counts = st.integers(0, 10_000)
    raw: list[Any] = []

    def add(role: str, content: Any, **others: Any) -> None:
        given = {"type": role, "content": _unpacked(content) or "", **others}
        common = {
            "additional_kwargs": draw(objects),
            "response_metadata": draw(objects),
            "name": draw(st.none() | words),
            "id": draw(st.none() | words),
        }
        raw.append({"type": role, "data": common | given | draw(kept)})

    for _ in range(draw(st.integers(0, 3))):
        add("human", draw(st.lists(part, min_size=1, max_size=3)))
        calls = _calls(draw)
        content = draw(st.lists(st.one_of(part, thought), max_size=3))
        content = [item for item in content if item != {"type": "text", "text": ""}]
        used = {"input_tokens": draw(counts), "output_tokens": draw(counts)}
        used["total_tokens"] = used["input_tokens"] + used["output_tokens"]
        add(
            "ai",
            content,
            tool_calls=[
                {"name": name, "args": given, "id": call_id, "type": "tool_call"}
                for call_id, name, given in calls
            ],
            invalid_tool_calls=[],
            usage_metadata=draw(
                st.none()
                | st.just(used)
                | st.just(used | {"output_token_details": {"reasoning": 1}})
            ),
        )
        for call_id, name, _given in calls:
            add(
                "tool",
                draw(st.lists(part, min_size=1, max_size=2)),
                tool_call_id=call_id,
                name=draw(st.sampled_from([name, None])),
                artifact=draw(st.none() | objects),
                status=draw(st.sampled_from(["success", "error"])),
            )
    return raw
