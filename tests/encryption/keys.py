"""An application that has keys, and looks into its database behind threadlog's back."""

import os
from base64 import b64encode
from typing import Any

from sqlalchemy import Connection, Table, select, update

from tests.support.databases import on_connection
from threadlog.encryption import Encryption
from threadlog.models import CONTROL, MESSAGES


class Keys:
    """Keys by id, of which each owner has the current one."""

    def __init__(self) -> None:
        self.by_id: dict[str, bytes] = {}
        self.generation = 1
        """The number in the ids of current keys."""

        self.asked: list[str] = []
        """The ids for which a key was asked."""

    def key_id(self, owner: str | None) -> str:
        """Return the id of the current key of an owner; the key is created if need be."""
        key_id = f"{owner or 'nobody'}-{self.generation}"
        self.by_id.setdefault(key_id, os.urandom(32))
        return key_id

    def key(self, key_id: str) -> bytes | None:
        """Return a key; None if it was forgotten."""
        self.asked.append(key_id)
        return self.by_id.get(key_id)

    def encryption(self, **options: Any) -> Encryption:
        """Create an encryption with these keys, which keeps none yet."""
        return Encryption(key_id=self.key_id, key=self.key, **options)


async def change(url: str, table: Table, values: dict[str, Any], **key: Any) -> None:
    """Change rows as somebody with access to the database could."""
    statement = update(table).where(*(table.c[name] == value for name, value in key.items()))

    def run(connection: Connection) -> None:
        assert connection.execute(statement.values(values)).rowcount > 0

    await on_connection(url, run)


async def stored(url: str, table: Table, column: str, **key: Any) -> list[Any]:
    """Return the values of a column in the rows of a key, in the order of the primary key."""
    statement = select(table.c[column]).where(*(table.c[name] == v for name, v in key.items()))
    ordered = statement.order_by(*table.primary_key)
    found: list[Any] = await on_connection(url, lambda c: list(c.execute(ordered).scalars()))
    return found


async def everything(url: str) -> bytes:
    """Return every value of every column of every table of the message log, as bytes."""

    def read(connection: Connection) -> list[Any]:
        tables = [*MESSAGES.metadata.sorted_tables, *CONTROL.metadata.sorted_tables]
        return [row for table in tables for row in connection.execute(select(table))]

    values = [value for row in await on_connection(url, read) for value in row]
    return b"\n".join(v if isinstance(v, bytes) else str(v).encode() for v in values)


def in_base64(text: str) -> list[bytes]:
    """Return what bytes with a text in them have in base64, wherever it begins."""
    found = []
    for shift in range(3):
        coded = b64encode(bytes(shift) + text.encode())
        begin = -(-8 * shift // 6)
        end = (shift + len(text.encode())) * 8 // 6
        found.append(coded[begin:end])
    return found
