"""Convert rows of threads and runs to documents of MongoDB and back.

The fields are those of skeino's MongoMetadataStore, which can read the documents. MongoDB's times
have milliseconds and its integers 63 bits: the microseconds are beside them in ``micros``, and a
larger integer is a Decimal128.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from bson import BSON, Decimal128

from threadlog.errors import CheckpointCorruptionError, TooLargeError
from threadlog.persistence.mongodb_client import DOCUMENT_BYTES, Document
from threadlog.persistence.threads import parse_uuid
from threadlog.persistence.types import RunRow, ThreadRow

THREADS: Final = "app_threads"
RUNS: Final = "app_runs"

IN_FLIGHT: Final = {"$in": ["pending", "running"]}

_MICROS: Final = "micros"
_LARGEST: Final = 2**63 - 1
_OTHER_FIELDS_BYTES: Final = 16_384
_MICROS_OF_MILLI: Final = 1_000


def thread_document(row: ThreadRow) -> Document:
    """Return the document of a thread."""
    key = str(row["thread_id"])
    return {"_id": key, **fields({**row, "thread_id": key})}


def run_document(row: RunRow) -> Document:
    """Return the document of a run."""
    key = str(row["run_id"])
    return {"_id": key, **fields({**row, "run_id": key, "thread_id": str(row["thread_id"])})}


def fields(values: Mapping[str, Any]) -> Document:
    """Return the fields of a document for columns of a row."""
    found: Document = {}
    micros: dict[str, int] = {}
    for name, value in values.items():
        if isinstance(value, datetime):
            rest = value.microsecond % _MICROS_OF_MILLI
            found[name], micros[name] = value - timedelta(microseconds=rest), rest
        else:
            found[name] = _encoded(value)
    return {**found, _MICROS: micros} if micros else found


def changes(values: Mapping[str, Any]) -> Document:
    """Return the ``$set`` of an update, for columns of a row."""
    found = fields(values)
    micros = found.pop(_MICROS, {})
    return found | {f"{_MICROS}.{name}": rest for name, rest in micros.items()}


def before(name: str, time: datetime) -> Document:
    """Return the condition that a time lies before another one, to the microsecond."""
    rest = time.microsecond % _MICROS_OF_MILLI
    at = time - timedelta(microseconds=rest)
    same = {name: at, f"{_MICROS}.{name}": {"$lt": rest}}
    return {"$or": [{name: {"$lt": at}}, same]}


def sort_by(name: str, *, descending: bool) -> list[tuple[str, int]]:
    """Return the order by a column, then by id."""
    keys = ["_id"] if name == "thread_id" else [name, f"{_MICROS}.{name}", "_id"]
    return [(key, -1 if descending else 1) for key in keys]


def check_document_size(what: str, *values: dict[str, Any]) -> None:
    """Raise TooLargeError if values do not fit into a document of MongoDB."""
    size = sum(len(BSON.encode(_encoded(value))) for value in values) + _OTHER_FIELDS_BYTES
    if size > DOCUMENT_BYTES:
        raise TooLargeError(what=what, size=size, limit=DOCUMENT_BYTES)


def thread_row(document: Document) -> ThreadRow:
    """Decode a thread.

    Raises:
        CheckpointCorruptionError: a field has no value of its column.
    """
    reader = _Reader(THREADS, str(document["_id"]), document)
    return ThreadRow(
        thread_id=parse_uuid(THREADS, reader.thread_id, "thread_id", reader.text("_id")),
        created_at=reader.time("created_at"),
        updated_at=reader.time("updated_at"),
        state_updated_at=reader.time_or_none("state_updated_at"),
        metadata=reader.json("metadata"),
        config=reader.json("config"),
        status=reader.text("status"),
        ttl=None if document.get("ttl") is None else reader.json("ttl"),
    )


def run_row(document: Document) -> RunRow:
    """Decode a run.

    Raises:
        CheckpointCorruptionError: a field has no value of its column.
    """
    reader = _Reader(RUNS, str(document.get("thread_id")), document)
    error = document.get("error")
    return RunRow(
        run_id=parse_uuid(RUNS, reader.thread_id, "run_id", reader.text("_id")),
        thread_id=parse_uuid(RUNS, reader.thread_id, "thread_id", reader.text("thread_id")),
        assistant_id=reader.text("assistant_id"),
        created_at=reader.time("created_at"),
        updated_at=reader.time("updated_at"),
        status=reader.text("status"),
        metadata=reader.json("metadata"),
        kwargs=reader.json("kwargs"),
        multitask_strategy=reader.text("multitask_strategy"),
        error=None if error is None else reader.text("error"),
    )


def ttl_object(document: Document) -> dict[str, Any]:
    """Decode the time to live of a thread that has one."""
    return _Reader(THREADS, str(document["_id"]), document).json("ttl")


def json_member_is(key: str, value: object) -> list[Document]:
    """Return expressions that are all true if a member of the metadata equals a JSON value.

    None equals a missing member.
    """
    member = _member("$metadata", key)
    if value is None:
        return [{"$eq": [{"$ifNull": [member, None]}, None]}]
    return list(_is_equal(member, value))


def _is_equal(path: Any, value: object) -> Iterator[Document]:
    """Yield expressions that are all true if what is at a path equals a value.

    MongoDB compares objects with the order of their members, so those with several are compared
    member by member. No expression may fail on a value of another type, since the server may
    evaluate all of them.
    """
    if value is None:  # and not missing
        yield {"$eq": [{"$type": path}, "null"]}
    elif not _has_order(value):
        yield {"$eq": [path, {"$literal": _encoded(value)}]}
    elif isinstance(value, dict):
        is_object = {"$eq": [{"$type": {"$ifNull": [path, None]}}, "object"]}
        count = {"$cond": [is_object, {"$size": {"$objectToArray": path}}, -1]}
        yield {"$eq": [count, len(value)]}
        for key, inner in value.items():
            yield from _is_equal(_member(path, key), inner)
    elif isinstance(value, list | tuple):
        yield {"$eq": [{"$cond": [{"$isArray": [path]}, {"$size": path}, -1]}, len(value)]}
        for place, inner in enumerate(value):
            item = {"$arrayElemAt": ["$$array", place]}
            safe = {"$cond": [{"$isArray": ["$$array"]}, item, None]}
            yield from _is_equal({"$let": {"vars": {"array": path}, "in": safe}}, inner)


def _has_order(value: object) -> bool:
    """Return True if a value contains an object with several members."""
    if isinstance(value, dict):
        return len(value) > 1 or any(map(_has_order, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_order, value))


def _member(path: Any, key: str) -> Document:
    return {"$getField": {"field": {"$literal": key}, "input": path}}


def _encoded(value: Any) -> Any:
    if isinstance(value, int) and value > _LARGEST:
        return Decimal128(str(value))
    if isinstance(value, dict):
        return {key: _encoded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(inner) for inner in value]
    return value


def _decoded(value: Any) -> Any:
    """Return the JSON value of a field.

    Raises:
        ValueError: it is of a type that JSON lacks.
    """
    if value is None or isinstance(value, str | bool | float):
        return value
    if isinstance(value, int):
        return int(value)  # an Int64 is an int with another name
    if isinstance(value, dict):
        return {key: _decoded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_decoded(inner) for inner in value]
    if isinstance(value, Decimal128) and (number := value.to_decimal()) == int(number):
        return int(number)
    raise ValueError(f"contains a value of type {type(value).__name__}, which JSON lacks")


class _Reader:
    """Reads the fields of one document, strictly."""

    def __init__(self, collection: str, thread_id: str, document: Document) -> None:
        self.thread_id = thread_id
        self._collection = collection
        self._document = document

    def text(self, name: str) -> str:
        value = self._document.get(name)
        if not isinstance(value, str):
            raise self._corrupt(f"{name} is not a string")
        return value

    def time(self, name: str) -> datetime:
        found = self.time_or_none(name)
        if found is None:
            raise self._corrupt(f"{name} is not a time")
        return found

    def time_or_none(self, name: str) -> datetime | None:
        value = self._document.get(name)
        if value is None:
            return None
        if not isinstance(value, datetime):
            raise self._corrupt(f"{name} is not a time")
        micros = self._document.get(_MICROS) or {}
        rest = micros.get(name, 0) % _MICROS_OF_MILLI
        return value.astimezone(UTC) + timedelta(microseconds=rest)

    def json(self, name: str) -> dict[str, Any]:
        value = self._document.get(name, {})
        if not isinstance(value, dict):
            raise self._corrupt(f"{name} is not an object")
        try:
            found = {key: _decoded(inner) for key, inner in value.items()}
        except ValueError as error:
            raise self._corrupt(f"{name} {error}") from error
        return found

    def _corrupt(self, reason: str) -> CheckpointCorruptionError:
        return CheckpointCorruptionError(
            table=self._collection, thread_id=self.thread_id, reason=reason
        )


def uuid_of(document: Document) -> UUID:
    """Return the id of a thread's document."""
    return parse_uuid(THREADS, str(document["_id"]), "thread_id", str(document["_id"]))
