"""The list of messages in an object: a conversation, an answer of an API, or what contains one."""

from typing import Any, Final

_ANSWERS: Final = ("output", "choices")

LISTS: Final = ("messages", "conversations", "input", *_ANSWERS)
"""The keys of the messages in a conversation that is an object: the last two in an answer."""

# The keys of an object with the conversation: in a state of a graph, a line of a batch, an example
# of a dataset, or a run of a trace.
_WRAPPERS: Final = (
    *("values", "channel_values", "checkpoint", "request", "response", "body", "params", "result"),
    *("inputs", "outputs", "input", "output"),
)


def paths_of_lists(raw: dict[str, Any], depth: int = 3) -> list[tuple[str, ...]]:
    """Return the paths of the lists of messages: the object's own, or those of objects in it.

    An answer of Anthropic's API is a message, and takes the place of a list.

    Args:
        raw: the object.
        depth: how many objects may be around the one that has the list.
    """
    if is_answer_of_anthropic(raw):
        return [()]
    for key in LISTS:
        # OpenAI's Responses accept a text as the input too.
        is_text = key == "input" and isinstance(raw.get(key), str)
        if isinstance(raw.get(key), list) or (is_text and raw.keys() & {"instructions", "model"}):
            answers = [(name,) for name in _ANSWERS if name != key and _has_objects(raw.get(name))]
            return [(key,), *answers]
    # A result of a batch of Anthropic's has the answer in its message.
    names = ("message",) if raw.get("type") == "succeeded" else _WRAPPERS
    return [
        (name, *path)
        for name in names
        if depth and isinstance(raw.get(name), dict)
        for path in paths_of_lists(raw[name], depth - 1)
    ]


def _has_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def is_answer_of_anthropic(raw: Any) -> bool:
    """Return True for an answer of Anthropic's API."""
    return isinstance(raw, dict) and raw.get("type") == "message" and "stop_reason" in raw


def holder_of(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the object that has the list of messages: the object itself, or one in it."""
    paths = paths_of_lists(raw)
    for name in paths[0] if len(paths) == 1 else ():
        raw = raw[name] if isinstance(raw[name], dict) else raw
    return raw


def without_batch(items: Any) -> Any:
    """Return the messages of a list of one list, as runs of models in LangSmith have."""
    match items:
        case [list() as inner]:
            return inner
    return items
