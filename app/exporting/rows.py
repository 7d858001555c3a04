"""Convert rows of the tables to the JSON objects of an export, and back."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import msgpack
from sqlalchemy import Column, Double, Integer, LargeBinary, Table
from sqlalchemy.types import TypeEngine

from threadlog.errors import ConversationError
from threadlog.formats.json_text import parse_json
from threadlog.models import tables
from threadlog.models.dialects.transfer import RawJson, RawTime, transfer_table
from threadlog.models.dialects.types import UtcTime, UuidText
from threadlog.models.store_item import NAMESPACE_START
from threadlog.repositories.transfer import RawRow

T = TypeVar("T")

TABLES: Final[Mapping[str, Table]] = {
    "thread": tables.THREADS,
    "message": tables.MESSAGES,
    "run": tables.RUNS,
    "answer": tables.ANSWERS,
    "owner": tables.OWNERS,
    "append_key": tables.APPEND_KEYS,
    "truncation": tables.TRUNCATIONS,
    "checkpoint_blob": tables.BLOBS,
    "checkpoint_write": tables.WRITES,
    "checkpoint": tables.CHECKPOINTS,
    "app_thread": tables.APP_THREADS,
    "app_run": tables.APP_RUNS,
    "memory": tables.ITEMS,
}
"""The tables by the ``type`` of their lines."""

_TYPES: Final = {table: name for name, table in TABLES.items()}

# Ends the name of a field whose value could not be written as the JSON that it is, or as bytes.
_TEXT: Final = "_text"
_BASE64: Final = "_base64"

_MESSAGE: Final = "message"

# By name of a column, where a field of each line has that name.
_FIELDS: Final = {"type": "format"}
_COMPUTED: Final = tables.ITEMS.c.namespace_start

# Integers that every database can store.
_INTEGERS: Final = range(-(2**63), 2**63)


def to_object(table: Table, row: RawRow) -> dict[str, Any]:
    """Return a row as a JSON object, from which `to_row` makes the same row.

    Args:
        table: the row's table.
        row: its values by column.
    """
    found: dict[str, Any] = {"type": _TYPES[table]}
    for column in transfer_table(table).columns:
        value = row[column.name]
        if column.name == "payload":
            found |= _message(value)
        elif column.name != _COMPUTED.name:
            found |= _field(table.c[column.name], column.type, value)
    return found


def _field(column: Column[Any], type_: TypeEngine[Any], value: Any) -> dict[str, Any]:
    name = _FIELDS.get(column.name, column.name)
    match value:
        case str() if isinstance(type_, RawJson):
            try:
                parsed = parse_json(value, name)
            except ConversationError:
                return {name + _TEXT: value}
            # Where the column may be NULL, null means that.
            is_ambiguous = parsed is None and column.nullable
            return {name + _TEXT: value} if is_ambiguous else {name: parsed}
        case bytes():
            return {name + _BASE64: b64encode(value).decode()}
        case datetime():
            return {name: value.isoformat()}
        case UUID():
            return {name: str(value)}
        case _:
            return {name: value}


def _message(payload: bytes) -> dict[str, Any]:
    """Return a message as JSON, and as bytes if the JSON does not lead to the same bytes."""
    message, is_exact = _unpacked(payload)
    found: dict[str, Any] = {_MESSAGE: message}
    return found if is_exact else {**found, f"payload{_BASE64}": b64encode(payload).decode()}


def _unpacked(payload: bytes) -> tuple[dict[str, Any] | None, bool]:
    """Return the message of bytes, and whether it leads to the same bytes; None if not JSON."""
    try:
        message = msgpack.unpackb(payload, raw=False)
        json.dumps(message, allow_nan=False)
        is_exact = _packed(message) == payload
    except Exception:  # noqa: BLE001 - whatever another program stored is exported as bytes
        return None, False
    return (message, is_exact) if isinstance(message, dict) else (None, False)


def to_row(line: Mapping[str, Any]) -> tuple[Table, RawRow]:
    """Return the table and the row of a JSON object that `to_object` made.

    Times of the message log stay text, so that they keep the precision that they have.

    Raises:
        ConversationError: the object is not such a row.
    """
    fields = dict(line)
    name = fields.pop("type")
    table = TABLES.get(name) if isinstance(name, str) else None
    if table is None:
        raise ConversationError(
            f"The line's type {name!r} is unknown. Import it with the release of threadlog that "
            "wrote it, or a later one."
        )
    row: RawRow = {}
    for column in transfer_table(table).columns:
        if column.name == "payload":
            row[column.name] = _payload(fields)
        elif column.name != _COMPUTED.name:
            row[column.name] = _value(table.c[column.name], column.type, fields)
    if fields:
        raise ConversationError(f"The line has the unknown field {next(iter(fields))!r}.")
    if table is tables.ITEMS:
        row[_COMPUTED.name] = row["namespace"].encode()[:NAMESPACE_START]
    return table, row


def _value(column: Column[Any], type_: TypeEngine[Any], fields: dict[str, Any]) -> Any:
    """Return the value of a column, and remove its field."""
    name = _FIELDS.get(column.name, column.name)
    if isinstance(type_, RawJson) and name + _TEXT in fields:
        return _checked(fields.pop(name + _TEXT), name + _TEXT, str, str)
    if isinstance(type_, LargeBinary) and name + _BASE64 in fields:
        return _bytes(fields.pop(name + _BASE64), name + _BASE64)
    if name not in fields:
        raise ConversationError(f"The line has no field {name!r}.")
    value = fields.pop(name)
    if value is None and column.nullable:
        return None
    if isinstance(type_, RawJson):
        return json.dumps(value)
    kind, convert = next(kind for class_, kind in _KINDS if isinstance(type_, class_))
    return _checked(value, name, kind, convert)


def _payload(fields: dict[str, Any]) -> bytes:
    message = fields.pop(_MESSAGE, None)
    encoded = fields.pop(f"payload{_BASE64}", None)
    if encoded is not None:
        return _bytes(encoded, f"payload{_BASE64}")
    return _checked(message, _MESSAGE, dict, _packed)


def _packed(message: dict[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(message, use_bin_type=True)
    return packed


def _bytes(value: object, name: str) -> bytes:
    return _checked(value, name, str, lambda text: b64decode(text, validate=True))


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("no time zone")
    return time


def _integer(value: int) -> int:
    if isinstance(value, bool) or value not in _INTEGERS:
        raise ValueError("not an integer")
    return value


_KINDS: Final[Sequence[tuple[type, tuple[Any, Callable[[Any], Any]]]]] = (
    (RawTime, (str, str)),
    (UtcTime, (str, _time)),
    (UuidText, (str, UUID)),
    (Integer, (int, _integer)),
    (Double, ((int, float), float)),
    (LargeBinary, ((), bytes)),  # only as base64
    (TypeEngine, (str, str)),
)
"""By type of a column: the JSON values that it is written as, and the function that reads them."""


def _checked(
    value: object, name: str, kind: type | tuple[type, ...], convert: Callable[[Any], T]
) -> T:
    """Return a value after its conversion.

    Raises:
        ConversationError: it is of another kind, or cannot be converted.
    """
    if isinstance(value, kind):
        try:
            return convert(value)
        except (ValueError, OverflowError, RecursionError):
            pass
    raise ConversationError(f"The line's field {name!r} is not valid.")
