"""Convert messages to rows, with a MessagePack payload and other columns, and back."""

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

# Error texts for exceptions of the encoders, whose own texts would quote the message. Ordered:
# a UnicodeError is also a ValueError.
_FAULTS: Final[dict[type[Exception], str]] = {
    PydanticSerializationError: "has a field that is missing or not of its declared type",
    UnicodeError: "contains half of a surrogate pair, which is not valid Unicode",
    OverflowError: "contains an int beyond 64 bits",
    ValueError: "is nested too deeply",
    RecursionError: "is nested too deeply",
    TypeError: "contains a value that MessagePack lacks",
}

# Pydantic silently writes this for half of a surrogate pair in a dict's key.
_REPLACEMENT: Final = "\ufffd".encode()


class MessageCodec(Generic[MessageT]):
    """Encodes and decodes the messages of three Pydantic classes.

    The classes must have the fields ``metadata`` and ``run_id``, as those of
    `threadlog.messages` and of the frameworks have.
    """

    def __init__(
        self,
        user: type[MessageT],
        assistant: type[MessageT],
        tool: type[MessageT],
    ) -> None:
        """Create from the classes of the roles ``user``, ``assistant`` and ``tool``."""
        self._by_role: dict[str, type[MessageT]] = {
            "user": user,
            "assistant": assistant,
            "tool": tool,
        }

    def encode(self, messages: Sequence[MessageT]) -> list[NewMessage]:
        """Encode messages as rows.

        Raises:
            InvalidMessageError: a message cannot be stored.
        """
        return [self._encode_one(index, message) for index, message in enumerate(messages)]

    def decode(
        self, thread_id: str, seq: int, role: str, metadata: str | dict[str, Any], payload: bytes
    ) -> MessageT:
        """Decode the columns of a row, `metadata` as JSON text or parsed, to its message.

        The column `role` chooses the class, and the column `metadata` replaces the copy in
        the payload: the application may have edited it with SQL.

        Raises:
            CheckpointCorruptionError: the row cannot be decoded.
        """
        try:
            data = msgpack.unpackb(payload, raw=False)
            data["metadata"] = _json_object(metadata)
            # Faster by a tenth than model_validate(), which calls this.
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
        """Decode the rows of a thread; see `decode`."""
        with gc_paused():
            return [self.decode(thread_id, *row) for row in rows]

    def from_row(self, row: StoredRow) -> MessageT:
        """Decode a row that the application queried with the ORM; see `decode`."""
        return self.decode(row.thread_id, row.seq, row.role, row.metadata_, row.payload)

    def _encode_one(self, index: int, message: MessageT) -> NewMessage:
        role = self._role(index, message)
        try:
            # Without warnings="error" a value of the wrong type, set after validation, would
            # be written and then fail to load.
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
        """Check that the encoded message can be decoded.

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
