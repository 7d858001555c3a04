"""Convert messages to rows, with a MessagePack payload and other columns, and back."""

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Final, Generic

from msgpack import packb, unpackb
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError
from typing_extensions import TypeVar

from threadlog.encoding.validation import check_id, check_json_object, holds_surrogate
from threadlog.encryption import Place, refuse_encrypted
from threadlog.errors import (
    CheckpointCorruptionError,
    InvalidIdError,
    InvalidJsonError,
    InvalidMessageError,
)
from threadlog.messages import AssistantMessage, Message, ToolResultMessage, UserMessage
from threadlog.models import Message as StoredRow
from threadlog.repositories.log.message import NewMessage

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


# Messages for which pausing the garbage collector is worth the while.
_MANY: Final = 200


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
        self._roles = {cls: role for role, cls in self._by_role.items()}
        self._required = {
            role: {name for name, field in cls.model_fields.items() if field.is_required()}
            for role, cls in self._by_role.items()
        }

    def encode(self, messages: Sequence[MessageT]) -> list[NewMessage]:
        """Encode messages as rows.

        Raises:
            InvalidMessageError: a message cannot be stored.
        """
        rows = []
        for index, message in enumerate(messages):
            rows.append(self._encode_one(index, message))
        return rows

    def decode(
        self,
        thread_id: str,
        seq: int,
        role: str,
        metadata: str | dict[str, Any] | None,
        payload: bytes,
    ) -> MessageT:
        """Decode the columns of a row, `metadata` as JSON text or parsed, to its message.

        The column `role` chooses the class, and the column `metadata` replaces the copy in
        the payload: the application may have edited it with SQL. With None the copy counts, as of
        a row whose metadata was encrypted.

        Raises:
            CheckpointCorruptionError: the row cannot be decoded.
            EncryptedRowError: the payload is encrypted.
        """
        (message,) = self.decode_all(thread_id, [(seq, role, metadata, payload)])
        return message

    def decode_all(self, thread_id: str, rows: Sequence[Sequence[Any]]) -> list[MessageT]:
        """Convert the rows of a thread to its messages; see `decode`.

        Args:
            thread_id: the thread.
            rows: each with seq, role, metadata and payload first.
        """
        messages: list[MessageT] = []
        # No call of ours for each row: most of the time of a long thread is spent here.
        by_role, add = self._by_role, messages.append
        row: Sequence[Any] = ()
        with gc_paused() if len(rows) > _MANY else nullcontext():
            try:
                for row in rows:
                    data = unpackb(row[3])
                    metadata = row[2]
                    if metadata == "{}":  # nearly every row has none
                        data["metadata"] = {}
                    elif metadata is not None:
                        data["metadata"] = _json_object(metadata)
                    # What model_validate() calls; without it a tenth of the time is saved.
                    add(by_role[row[1]].__pydantic_validator__.validate_python(data))
            except Exception as error:
                refuse_encrypted(row[3], Place("payload", thread_id, row[0]))
                raise CheckpointCorruptionError(
                    table=StoredRow.__tablename__,
                    thread_id=thread_id,
                    seq=row[0],
                    reason=self._reason(row[1], error),
                ) from error
        return messages

    def from_row(self, row: StoredRow) -> MessageT:
        """Decode a row that the application queried with the ORM; see `decode`."""
        return self.decode(row.thread_id, row.seq, row.role, row.metadata_, row.payload)

    def _encode_one(self, index: int, message: MessageT) -> NewMessage:
        role = self._roles.get(type(message)) or self._role(index, message)
        try:
            # Without warnings="error" a value of the wrong type, set after validation, would
            # be written and then fail to load.
            content = message.model_dump(mode="json", warnings="error")
            # Was it a message once that would not load as one? A field may have been deleted.
            if content.get("role") != self._by_role[role].model_fields["role"].default:
                raise PydanticSerializationError("role")
            if not self._required[role] <= content.keys():
                raise PydanticSerializationError("required")
            check_json_object(content["metadata"], "metadata")
            if content["run_id"] is not None:
                check_id(content["run_id"], "run_id")
            payload: bytes = packb(content, use_bin_type=True)
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


@contextmanager
def gc_paused() -> Iterator[None]:
    """Disable the collector in the block, which must be short and must not wait.

    Collections that find no garbage take more than half of the time of decoding thousands of
    messages. A collector that is disabled already stays disabled.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _json_object(given: str | dict[str, Any]) -> dict[str, Any]:
    value = json.loads(given) if isinstance(given, str) else given
    if not isinstance(value, dict):
        raise TypeError("metadata is not a JSON object")
    return value


MESSAGE_CODEC: Final = MessageCodec[Message](UserMessage, AssistantMessage, ToolResultMessage)
"""The codec of threadlog's own messages."""
