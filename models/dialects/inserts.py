"""INSERT statements that meet a row which is there already."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Insert, Table
from sqlalchemy.dialects import mysql, sqlite


@cache
def insert_if_absent(table: Table, dialect: str) -> Insert:
    """Build an INSERT that locks, but leaves alone, a row which has this primary key already.

    Unlike MySQL's INSERT IGNORE it hides no other error.

    Args:
        table: the table; its first primary key column stands in for "change nothing".
        dialect: the name of the session's dialect.
    """
    if dialect == "mysql":
        key = next(iter(table.primary_key))
        return mysql.insert(table).on_duplicate_key_update({key.name: key})
    return sqlite.insert(table).on_conflict_do_nothing()


def insert_or_replace(table: Table, dialect: str, row: Mapping[str, Any]) -> Insert:
    """Build an INSERT that overwrites a row which has this primary key already.

    The key is overwritten too: where a collation takes two keys for one, the later stands.

    Args:
        table: the table.
        dialect: the name of the session's dialect.
        row: values, or SQL expressions, by column.
    """
    if dialect == "mysql":
        new = mysql.insert(table).values(row)
        return new.on_duplicate_key_update({name: new.inserted[name] for name in row})
    given = sqlite.insert(table).values(row)
    key = [column.name for column in table.primary_key]
    return given.on_conflict_do_update(key, set_={name: given.excluded[name] for name in row})
