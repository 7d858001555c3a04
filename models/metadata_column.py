"""Generated columns that index what a host keeps in messages' metadata."""

import re
from typing import Any, Final, TypeVar

from sqlalchemy import Boolean, ColumnElement, Float, Integer, Numeric, String, Table
from sqlalchemy.orm import MappedColumn, mapped_column
from sqlalchemy.types import TypeEngine

from threadlog.errors import InvalidInputError
from threadlog.models.dialects import computed, host_text
from threadlog.models.message import Message

T = TypeVar("T")

_MESSAGES: Final[Table] = Message.metadata.tables[Message.__tablename__]

_STEP: Final = r"\.([A-Za-z_]\w*)|\.\"([\w .@/$-]+)\"|\[(\d+)\]"
_PATH: Final = re.compile(rf"\$(?:{_STEP})+")


def metadata_column(
    path: str, type_: TypeEngine[T], *, index: bool = False
) -> MappedColumn[T | None]:
    """Make a column of messages that the database computes from their metadata.

    Attach it to the mapped class before the first query, then let Alembic's autogenerate
    find it; it is virtual, so that adding it rewrites no row, but on PostgreSQL, where it is
    stored::

        Message.user_id = metadata_column("$.user_id", String(64), index=True)

    With an index both of these are found by it on MySQL, which takes the second for the
    first (https://dev.mysql.com/doc/refman/9.7/en/generated-column-index-optimizations.html),
    and on MariaDB from 11.8 on; elsewhere the first alone is::

        Message.user_id == "u"
        Message.metadata_["user_id"].as_string() == "u"

    Every message's metadata must fit the type from then on: on MySQL and MariaDB a longer text,
    or text where a number is expected, makes its append fail; on PostgreSQL, whose text has no
    length, the latter. Where the value is missing or null the column is NULL.

    Args:
        path: a JSON path of keys and places: ``$.user_id``, ``$.order.lines[0]``, or with
            quotes ``$."user id"`` for keys that are no identifiers.
        type_: ``String(n)``, ``Integer()``, ``BigInteger()``, ``Float()``, ``Numeric(p, s)``
            or ``Boolean()``. Text is compared byte by byte.
        index: whether to index the column too.

    Returns:
        What is assigned to an attribute of `Message`, whose name becomes the column's.

    Raises:
        InvalidInputError: the path is none of these, or the type cannot be used.
    """
    value = _typed(_MESSAGES.c.metadata[_parse(path)], type_)
    stored = host_text(type_) if isinstance(type_, String) else type_
    return mapped_column(stored, computed(value), nullable=True, index=index)


def _parse(path: str) -> tuple[str | int, ...]:
    """Take a path apart, so that nothing of it is pasted into SQL as it is."""
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise InvalidInputError(
            f"{path!r} is not a path of keys and places such as $.user_id, $.a.b[0] or "
            '$."user id". Quoted keys may have letters, digits, spaces and _ . @ / $ -.'
        )
    steps = re.findall(_STEP, path)
    return tuple(int(place) if place else key or quoted for key, quoted, place in steps)


def _typed(value: Any, type_: TypeEngine[Any]) -> ColumnElement[Any]:
    typed: ColumnElement[Any]
    match type_:
        case Boolean():
            typed = value.as_boolean()
        case Integer():
            typed = value.as_integer()
            # PostgreSQL's INTEGER has 32 bits.
            typed.type = type_
        case Float():
            typed = value.as_float()
        case Numeric(precision=int(), scale=int()):
            typed = value.as_numeric(type_.precision, type_.scale)
        case String(length=int()):
            typed = value.as_string()
        case _:
            raise InvalidInputError(
                f"{type_!r} cannot be the type of a metadata column. Use String(n), Integer(), "
                "BigInteger(), Float(), Numeric(p, s) or Boolean()."
            )
    return typed
