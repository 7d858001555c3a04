"""Shared parts of the converters: a conversation, and the values that threadlog lacks fields for.

A value that has no field in `threadlog.messages` is kept in the message's metadata, below
``unmodeled`` and the name of the format, by its JSON Pointer (RFC 6901) in the message's form:
``{"unmodeled": {"anthropic": {"/content/0/cache_control": {…}}}}``. The converter to the same
format writes it back; the converters to the other formats ignore it.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from threadlog.encoding.validation import check_one_of
from threadlog.errors import ConversationError
from threadlog.formats.answers import open_choice, store_answer, take_answer
from threadlog.formats.finding import (
    LISTS,
    is_answer_of_anthropic,
    paths_of_lists,
    without_batch,
)
from threadlog.formats.json_text import parse_json
from threadlog.messages import (
    AssistantContent,
    Content,
    ImageContent,
    JsonObject,
    Message,
    TextContent,
    ToolCall,
    UserMessage,
)

FormatName: TypeAlias = Literal[
    "openai_chat", "openai_responses", "anthropic", "sharegpt", "langchain"
]
Unknown: TypeAlias = Literal["keep", "refuse"]
"""The treatment of values that threadlog's messages have no field for."""

UNMODELED: Final = "unmodeled"
"""The key in a message's metadata, and in a thread's extra."""

LATE_SYSTEM: Final = "is a system message after the first message"
"""The reason to refuse one: threadlog has no other role for it than the user's."""

SYSTEM_ROLES: Final = ("system", "developer")

_Path: TypeAlias = tuple[str | int, ...]


class Transcript(NamedTuple):
    """A conversation in threadlog's form."""

    system: str | None
    """The text of the system message: the application's, not a part of the conversation."""

    messages: list[Message]

    extra: JsonObject
    """The conversation's other values, such as ``tools``, by their names."""


class Entry:
    """One message of a conversation while it is read."""

    def __init__(self, place: str, raw: object, unknown: Unknown) -> None:
        """Create from the message's place in error texts, such as ``messages[3]``."""
        self._place = place
        self._unknown = unknown
        self.kept: JsonObject = {}
        self.prefix: _Path = ()
        """The place of the entry in what one of threadlog's messages is written as."""
        if not isinstance(raw, dict):
            raise self.fault((), f"must be an object, not {kind(raw)}")
        self.raw: dict[str, Any] = raw

    def keep(
        self, path: _Path, value: Any, reason: str = "has no field in threadlog's messages"
    ) -> None:
        """Keep a value that has no field in threadlog's messages.

        Raises:
            ConversationError: such values are refused.
        """
        if self._unknown == "refuse":
            raise ConversationError(
                f'{self.place_of(path)} {reason}. Use unknown="keep" (--unknown keep) to keep '
                "such values in the metadata."
            )
        self.note(path, value)

    def keep_part(self, part: object, path: _Path, *fields: str) -> None:
        """Keep a part of a content that has a type which threadlog has no block for.

        Raises:
            ConversationError: the part has no type, or is of a type that is a field of it, as a
                text is, and that is not read because it lacks the field.
        """
        name = self.as_object(part, path).get("type")
        if not isinstance(name, str):
            raise self.fault(path, "has no type")
        if name in fields:
            raise self.fault(path, f"has the type {name!r}, but not the values of that type")
        self.keep(path, part)

    def keep_others(self, raw: Mapping[Any, Any], known: set[str], path: _Path = ()) -> None:
        """Keep the values of an object except those that are known, null or an empty list."""
        for key, value in raw.items():
            if key not in known and value is not None and value != []:
                self.keep((*path, key), value)

    def note(self, path: _Path, value: Any) -> None:
        """Keep a mark of the format, such as a signature, which is never refused."""
        self.kept[_pointer((*self.prefix, *path))] = value

    def place_of(self, path: _Path) -> str:
        """Return the place of a value for error texts."""
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        return self._place + "".join(steps)

    def fault(self, path: _Path, reason: str) -> ConversationError:
        """Return the error for a value at a path."""
        return ConversationError(f"{self.place_of(path)} {reason}.")

    def as_string(self, value: object, path: _Path) -> str:
        """Return a value that must be a string."""
        if not isinstance(value, str):
            raise self.fault(path, f"must be a string, not {kind(value)}")
        return value

    def as_list(self, value: object, path: _Path) -> Sequence[Any]:
        """Return a value that must be a list; null is an empty one."""
        if value is not None and not isinstance(value, list):
            raise self.fault(path, f"must be a list, not {kind(value)}")
        return value or []

    def as_object(self, value: object, path: _Path) -> dict[str, Any]:
        """Return a value that must be an object."""
        if not isinstance(value, dict):
            raise self.fault(path, f"must be an object, not {kind(value)}")
        return value

    def as_count(self, value: object, path: _Path) -> int:
        """Return a number of tokens; null is zero."""
        if value is not None and type(value) is not int:
            raise self.fault(path, f"must be an int, not {kind(value)}")
        return value or 0

    def parts(self, value: object, path: _Path) -> Sequence[Any]:
        """Return the parts of a content; a string is one text part."""
        return (
            [{"type": "text", "text": value}]
            if isinstance(value, str)
            else self.as_list(value, path)
        )

    def check_content(self, raw: Mapping[str, Any], *others: str) -> None:
        """Check that a message has a content, or another field that may be all it has.

        Raises:
            ConversationError: it has none, as where a format has the text under another key.
        """
        if "content" not in raw and not any(name in raw for name in others):
            raise self.fault(
                (),
                "has no 'content'. Rename the key of its text, or convert it to one of the formats",
            )

    def unknown_role(self, role: object) -> ConversationError:
        """Return the error for a message whose role the format does not have."""
        if role is None:
            return self.fault(
                (), "has no role. Set its format (--format), or convert it to one of the formats"
            )
        return self.fault((), f"has the unknown role {role!r}")

    def arguments(self, value: object, path: _Path) -> JsonObject:
        """Return the arguments of a tool call, an object or its JSON text."""
        text = value
        if isinstance(value, str):
            # Providers write the arguments of a call without parameters as "".
            value = parse_json(value, self.place_of(path)) if value.strip() else {}
        if isinstance(value, str):  # some files have the text of a text
            value = parse_json(value, self.place_of(path))
            self.keep(path, text, "is the JSON of a text")
        if not isinstance(value, dict):
            raise self.fault(path, f"must be a JSON object, not {kind(value)}")
        return value


class Draft:
    """A conversation while it is read."""

    def __init__(self, raw: object, format_name: FormatName, unknown: Unknown) -> None:
        """Create from a list of messages, or an object that has the list and other values."""
        check_one_of(unknown, "unknown", ("keep", "refuse"))
        self.format: FormatName = format_name
        self.system: str | None = None
        self.messages: list[Message] = []
        self.tools: dict[str, str] = {}
        """The names of called tools, by the ids of the calls."""
        self._unknown = unknown
        self._extra: JsonObject = {}
        self._answer: dict[str, Any] = {}
        self._answers_extra = self._extra
        self._path: tuple[str, ...] = ("messages",)
        self._items: Any = self._open(raw) if isinstance(raw, dict) else raw
        if not isinstance(self._items, list):
            raise ConversationError(f"{self._place} must be a list, not {kind(self._items)}.")

    @property
    def _place(self) -> str:
        return ".".join(self._path) or "messages"

    def entries(self) -> Iterator[tuple[int, Entry]]:
        """Yield the messages to read."""
        for index, item in enumerate(self._items):
            yield index, Entry(f"{self._place}[{index}]", item, self._unknown)

    def metadata(self, *entries: Entry) -> JsonObject:
        """Return the metadata with the values that were kept of a message."""
        kept = {key: value for entry in entries for key, value in entry.kept.items()}
        return {UNMODELED: {self.format: kept}} if kept else {}

    def add_system(self, index: int, entry: Entry, content: object, path: _Path) -> None:
        """Add a system message: the first one is the conversation's.

        A later one becomes a user's message, since threadlog has no other role for it.
        """
        parts = entry.parts(content, path)
        texts = _texts(parts)
        if parts and not (texts or index):
            raise entry.fault((), "is a system message that is not text, which cannot be stored")
        if not _is_plain(parts):
            entry.keep(path, content)
        if index:
            blocks: list[Content] = [TextContent(text=text) for text in texts]
            self.messages.append(UserMessage(content=blocks, metadata=self.metadata(entry)))
            return
        self._set_system("".join(texts), f"{self._place}[0]")
        for pointer, value in entry.kept.items():
            self._keep_in_extra(f"{_pointer((*self._path, 0))}{pointer}", value)

    def tool_name(self, entry: Entry, call_id: str, name: object) -> str:
        """Return the name of a tool result's tool, if not given that of the call.

        It is empty if no earlier message has the call: a request that continues an answer which
        the API stored has the result only.
        """
        return entry.as_string(self.tools.get(call_id, "") if name is None else name, ("name",))

    def finish(self) -> Transcript:
        """Return the conversation."""
        self._answers_extra |= self._refused(store_answer(self._answer, self.messages))
        return Transcript(self.system, self.messages, self._extra)

    def _open(self, raw: dict[str, Any]) -> Any:
        """Return the messages of an object, and keep its other values."""
        paths = paths_of_lists(raw) or [(key,) for key in LISTS if key in raw][:1]
        if not paths:
            raise ConversationError(
                f"The conversation has no list of messages: none of {', '.join(LISTS)}. Write its "
                "messages as a list, or as the value of messages in an object."
            )
        if len(paths) > 1:
            found = " and in ".join(".".join(path) for path in paths)
            raise ConversationError(
                f"The conversation has messages in {found}. Write only the list that has all of "
                "them."
            )
        self._path = paths[0]
        items = self._keep_values(raw, self._path, self._extra)
        if isinstance(items, str) and self.format == "openai_responses":
            return [{"role": "user", "content": items}]
        return without_batch(items)

    def _keep_values(self, raw: dict[str, Any], path: tuple[str, ...], extra: JsonObject) -> Any:
        """Keep the values of an object beside what is at a path, and return the messages there."""
        if not path:
            return [raw]
        key, *inside = path
        others = {name: value for name, value in raw.items() if name != key and value is not None}
        if inside or is_answer_of_anthropic(raw[key]):
            extra |= self._refused(others)
            kept: JsonObject = {}
            items = self._keep_values(raw[key], tuple(inside), kept)
            extra |= {key: kept} if kept or self._answer else {}
            return items
        system = "instructions" if self.format == "openai_responses" else "system"
        if self._set_top_system(system, others.get(system)):
            del others[system]
        items = raw[key]
        if key == "choices":
            items, self._answer = open_choice(items, others)
        elif others.get("object") == "response":
            self._answer = take_answer(others)
        self._answers_extra = extra
        extra |= self._refused(others)
        return items

    def _set_top_system(self, name: str, value: object) -> bool:
        """Set the system message from a value beside the messages; return False if not text."""
        if value is None:
            return False
        parts = value if isinstance(value, list) else [{"text": value}]
        texts = _texts(parts)
        if parts and not texts:
            if isinstance(value, list):
                return False
            raise ConversationError(f"{name} is not text, which cannot be stored.")
        self._set_system("".join(texts), name)
        if not _is_plain(parts):
            self._refused({name: [*parts]})
            self._keep_in_extra(f"/{name}", value)
        return True

    def _set_system(self, text: str, place: str) -> None:
        if self.system not in (None, text):
            raise ConversationError(f"{place} differs from the conversation's system message.")
        self.system = text

    def _keep_in_extra(self, pointer: str, value: Any) -> None:
        kept: Any = self._extra.setdefault(UNMODELED, {self.format: {}})
        kept[self.format][pointer] = value

    def _refused(self, values: JsonObject) -> JsonObject:
        """Return values that have no field in threadlog's messages, to be kept.

        Raises:
            ConversationError: such values are refused.
        """
        if values and self._unknown == "refuse":
            raise ConversationError(
                f'{next(iter(values))} has no field in threadlog\'s messages. Use unknown="keep" '
                "(--unknown keep) to keep such values in the thread's extra."
            )
        return values


def restore(written: Any, metadata: Mapping[str, Any], format_name: FormatName) -> None:
    """Write the kept values of a message back into its form, in place.

    A value whose place is missing, because the message was changed since, is left out.
    """
    kept = metadata.get(UNMODELED)
    values = kept.get(format_name) if isinstance(kept, dict) else None
    if not isinstance(values, dict):
        return
    # In the order of the places, which a JSON column does not keep: an insertion moves the rest.
    for pointer in sorted(filter(_is_pointer, values), key=_order):
        *parents, last = _tokens(pointer)
        target = written
        try:
            for token in parents:
                target = target[int(token)] if isinstance(target, list) else target[token]
            if isinstance(target, list):
                target.insert(int(last), deepcopy(values[pointer]))
            else:
                target[last] = deepcopy(values[pointer])
        except (LookupError, TypeError, ValueError):
            continue


def mark_of(metadata: Mapping[str, Any], format_name: FormatName, name: str) -> Any:
    """Return a kept value that is no part of the message's form, or None."""
    kept = metadata.get(UNMODELED)
    values = kept.get(format_name) if isinstance(kept, dict) else None
    return values.get(name) if isinstance(values, dict) else None


def _texts(parts: Sequence[Any]) -> list[str]:
    """Return the texts of the parts that are texts."""
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return [text for text in texts if isinstance(text, str)]


def _is_plain(parts: Sequence[Any]) -> bool:
    """Return True if all parts are texts without other values."""
    return len(_texts(parts)) == len(parts) and all(
        part.keys() <= {"type", "text"} for part in parts
    )


def text_of(content: Sequence[Content | AssistantContent]) -> str:
    """Return the text of a content, without its other blocks."""
    return "".join(block.text for block in content if isinstance(block, TextContent))


def calls_of(content: Sequence[Content | AssistantContent]) -> list[ToolCall]:
    """Return the tool calls of a content."""
    return [block for block in content if isinstance(block, ToolCall)]


def image_of(url: str, **options: Any) -> ImageContent:
    """Return an image from its URL, which may contain its data."""
    media_type = url.removeprefix("data:").partition(",")[0].partition(";")[0]
    return ImageContent.model_validate(
        {"source": url, "media_type": media_type if url.startswith("data:") else "", **options}
    )


def url_of(image: ImageContent) -> str:
    """Return the URL of an image, with its data if the source is data."""
    if ":" in image.source:  # base64 has no colon
        return image.source
    return f"data:{image.media_type};base64,{image.source}"


def kind(value: object) -> str:
    """Return the type of a JSON value, for error texts."""
    return "null" if value is None else type(value).__name__


def _pointer(path: _Path) -> str:
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in path)


def _is_pointer(key: str) -> bool:
    return key.startswith("/")


def _tokens(pointer: str) -> list[str]:
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def _order(pointer: str) -> list[tuple[bool, int, str]]:
    return [
        (not token.isdecimal(), int(token) if token.isdecimal() else 0, token)
        for token in _tokens(pointer)
    ]
