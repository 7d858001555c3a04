"""The list of messages in an object: a conversation, an answer of an API, or what contains one."""

from typing import Any, Final

LISTS: Final = ("messages", "conversations", "input", "output", "choices")
"""The keys of the messages in a conversation that is an object: the last two in an answer."""

# The keys of an object with the conversation: in a state of a graph, a line of a batch, an example
# of a dataset, or a run of a trace.
_WRAPPERS: Final = (
    *("values", "channel_values", "checkpoint", "request", "response", "body", "params"),
    *("inputs", "outputs", "input", "output"),
)


def paths_of_lists(raw: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the paths of the lists of messages: the object's own, or those of objects in it."""
    for key in LISTS:
        # OpenAI's Responses accept a text as the input too.
        is_text = key == "input" and isinstance(raw.get(key), str)
        if isinstance(raw.get(key), list) or (is_text and raw.keys() & {"instructions", "model"}):
            return [(key,)]
    return [
        (name, *path)
        for name in _WRAPPERS
        if isinstance(raw.get(name), dict)
        for path in paths_of_lists(raw[name])
    ]


def holder_of(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the object that has the list of messages: the object itself, or one in it."""
    paths = paths_of_lists(raw)
    for name in paths[0][:-1] if len(paths) == 1 else ():
        raw = raw[name]
    return raw


def without_batch(items: Any) -> Any:
    """Return the messages of a list of one list, as runs of models in LangSmith have."""
    match items:
        case [list() as inner]:
            return inner
    return items
