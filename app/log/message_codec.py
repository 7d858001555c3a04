"""Between messages and rows: MessagePack payloads and what stands in columns beside them."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, Generic

import msgpack
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError
from typing_extensions import TypeVar

from threadlog.encoding.gc_pause import gc_paused
from threadlog.encoding.validation import check_id, check_json_object, holds_surrogate
from threadlog.errors import (
    CheckpointCorruptionError,
    InvalidIdError,
    InvalidJsonError,
    InvalidMessageError,
)
from threadlog.messages import AssistantMessage, Message, ToolResultMessage, UserMessage
from threadlog.models import Message as StoredRow
from threadlog.repositories.log.message import MessageRow, NewMessage

MessageT = TypeVar("MessageT", bound=BaseModel, default=Message)

# What encoding raises, and our words for it: theirs would quote the message. The order
# matters, a UnicodeError is a ValueError as well.
_FAULTS: Final[dict[type[Exception], str]] = {
    PydanticSerializationError: "has a field that is missing or not of its declared type",
    UnicodeError: "holds half of a surrogate pair, which is not valid Unicode",
    OverflowError: "holds an int beyond 64 bits",
    ValueError: "is nested too deep",
    RecursionError: "is nested too deep",
    TypeError: "holds a value that MessagePack lacks",
}

# What Pydantic writes, silently, for half of a surrogate pair in a dict's key.
_REPLACEMENT: Final = "\ufffd".encode()


class MessageCodec(Generic[MessageT]):
    """Encodes and decodes the messages of one family of three Pydantic classes.

    The classes must have the fields ``metadata`` and ``run_id``; a framework's own classes
    do as well as those of `threadlog.messages`.
    """

    def __init__(
        self,
        user: type[MessageT],
        assistant: type[MessageT],
        tool: type[MessageT],
    ) -> None:
        """Take the three classes by the role that their rows have in the database."""
        self._by_role: dict[str, type[MessageT]] = {
            "user": user,
            "assistant": assistant,
            "tool": tool,
        }

    def encode(self, messages: Sequence[MessageT]) -> list[NewMessage]:
        """Turn messages into rows.

        Raises:
            InvalidMessageError: one of them cannot be stored.
        """
        return [self._encode_one(index, message) for index, message in enumerate(messages)]

    def decode(
        self, thread_id: str, seq: int, role: str, metadata: str | dict[str, Any], payload: bytes
    ) -> MessageT:
        """Turn the columns of a row, `metadata` as JSON text or parsed, into its message.

        The column `role` chooses the class, and the column `metadata` replaces the copy in
        the payload: a host may have edited it with SQL.

        Raises:
            CheckpointCorruptionError: the row cannot be read.
        """
        try:
            data = msgpack.unpackb(payload, raw=False)
            data["metadata"] = _json_object(metadata)
            # What model_validate() calls; without it a tenth of the time is saved.
            message: MessageT = self._by_role[role].__pydantic_validator__.validate_python(data)
        except Exception as error:
            raise CheckpointCorruptionError(
                table=StoredRow.__tablename__,
                thread_id=thread_id,
                seq=seq,
                reason=self._reason(role, error),
            ) from error
        return message

    def decode_all(self, thread_id: str, rows: Iterable[MessageRow]) -> list[MessageT]:
        """Turn the rows of a thread into its messages; see `decode`."""
        with gc_paused():
            return [self.decode(thread_id, *row) for row in rows]

    def from_row(self, row: StoredRow) -> MessageT:
        """Turn a row that a host queried with the ORM into its message; see `decode`."""
        return self.decode(row.thread_id, row.seq, row.role, row.metadata_, row.payload)

    def _encode_one(self, index: int, message: MessageT) -> NewMessage:
        role = self._role(index, message)
        try:
            # warnings: a value of the wrong type, set after validation, would be written
            # and then fail to load.
            content = message.model_dump(mode="json", warnings="error")
            self._check_whole(role, content)
            check_json_object(content["metadata"], "metadata")
            if content["run_id"] is not None:
                check_id(content["run_id"], "run_id")
            payload: bytes = msgpack.packb(content, use_bin_type=True)
            if _REPLACEMENT in payload and holds_surrogate(message.model_dump()):
                raise UnicodeError
        except (InvalidIdError, InvalidJsonError) as error:
            raise InvalidMessageError(
                index=index, reason=f"cannot be stored: {str(error).rstrip('.')}"
            ) from error
        except tuple(_FAULTS) as error:
            reason = next(text for kind, text in _FAULTS.items() if isinstance(error, kind))
            raise InvalidMessageError(index=index, reason=reason) from error
        return NewMessage(role, content["metadata"], payload, content["run_id"])

    def _check_whole(self, role: str, content: dict[str, Any]) -> None:
        """Refuse what was a message once and would not load as one.

        Raises:
            PydanticSerializationError: a field was deleted, or the role changed.
        """
        fields = self._by_role[role].model_fields
        if content.get("role") != fields["role"].default:
            raise PydanticSerializationError("role")
        if not all(name in content for name, field in fields.items() if field.is_required()):
            raise PydanticSerializationError("required")

    def _role(self, index: int, message: object) -> str:
        for role, cls in self._by_role.items():
            if isinstance(message, cls):
                return role
        known = ", ".join(f"{cls.__module__}.{cls.__name__}" for cls in self._by_role.values())
        kind = type(message)
        shown = kind.__qualname__
        if kind.__module__ != "builtins":
            shown = f"{kind.__module__}.{shown}"
        raise InvalidMessageError(
            index=index,
            reason=f"is a {shown}, not one of {known}",
        )

    def _reason(self, role: str, error: Exception) -> str:
        if role not in self._by_role:
            return f"unknown role {role!r}"
        # Never the error's own text: Pydantic's quotes the content of the message.
        return f"{type(error).__name__} while reading payload or metadata"


def _json_object(given: str | dict[str, Any]) -> dict[str, Any]:
    if given == "{}":  # nearly every row
        return {}
    value = json.loads(given) if isinstance(given, str) else given
    if not isinstance(value, dict):
        raise TypeError("metadata is not a JSON object")
    return value


MESSAGE_CODEC: Final = MessageCodec[Message](UserMessage, AssistantMessage, ToolResultMessage)
"""The codec of threadlog's own messages."""
