"""Rows with a marker in every column that can hold it, and the search for it in a database."""

import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import msgpack
from sqlalchemy import Column, Connection, LargeBinary, String, Table, insert, inspect, select, text

from threadlog.models import ALL_PARTS
from threadlog.models.dialects.json import ExactJson
from threadlog.models.dialects.time import Timestamp
from threadlog.models.dialects.types import UtcTime, UuidText
from threadlog.models.tables import ITEMS, THREADS

Rows = dict[str, list[str]]
"""The rows of each table, as text."""

TABLES = [
    table
    for part in ALL_PARTS
    for table in part.metadata.sorted_tables
    if table is not part.version_table
]
NAMESPACES = UUID("00000000-0000-0000-0000-00000000feed")


def fill(connection: Connection, thread_id: UUID, mark: str) -> None:
    """Insert a row of a thread into each table of all parts, with a marker wherever it fits."""
    for table in TABLES:
        connection.execute(insert(table), row_of(table, thread_id, mark))


def row_of(table: Table, thread_id: UUID, mark: str) -> dict[str, Any]:
    """Return a row of a table, with a marker wherever it fits."""
    row = {
        column.name: value
        for column in table.columns
        if (value := _value(column, thread_id, mark)) is not None
    }
    if table is ITEMS:
        namespace = f"users.{mark}."
        row |= {"namespace": namespace, "namespace_start": namespace.encode()}
    return row


def _value(column: Column[Any], thread_id: UUID, mark: str) -> Any:  # noqa: PLR0911 - by type
    if column.name == "thread_id":
        return thread_id if isinstance(column.type, UuidText) else str(thread_id)
    if column is THREADS.c.parent_thread_id or column.name == "id":
        return None
    match column.type:
        case UuidText():
            return uuid5(NAMESPACES, mark)
        case ExactJson():
            return {"text": mark}
        case LargeBinary():
            return msgpack.packb({"text": mark})
        case String():
            return mark
        case UtcTime() | Timestamp():
            return None if column.nullable or column.server_default else datetime.now(UTC)
        case _:
            return 1


def columns_for_text() -> set[tuple[str, str]]:
    """Return the columns that `fill` puts a marker into."""
    return {
        (table.name, column.name)
        for table in TABLES
        for column in table.columns
        if isinstance(column.type, String | LargeBinary | ExactJson)
        and column.name not in {"thread_id", "parent_thread_id"}
    }


def find(connection: Connection, *needles: str | bytes) -> set[tuple[str, str]]:
    """Return the columns, of all tables of a database, that contain one of some values."""
    forms = [form for needle in needles for form in _forms(needle)]
    return {
        (table, column)
        for table in _table_names(connection)
        for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()
        for column, value in row.items()
        if any(form in _as_bytes(value) for form in forms)
    }


def _table_names(connection: Connection) -> list[str]:
    """Return the names of all tables, those in which SQLite keeps its index of words too."""
    if connection.dialect.name != "sqlite":
        return inspect(connection).get_table_names()
    names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'"))
    return list(names.scalars())


def _forms(needle: str | bytes) -> Iterator[bytes]:
    """Yield the bytes of a value, and the middle of its Base64 at each place in a group."""
    plain = needle.encode() if isinstance(needle, str) else needle
    yield plain
    for before in range(3):
        yield b64encode(b"\0" * before + plain)[4:-4]


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False).encode()
    return str(value).encode()


def rows(connection: Connection) -> Rows:
    """Return all rows of the tables of the models."""
    return {
        table.name: sorted(map(repr, connection.execute(select(table)).all())) for table in TABLES
    }
