"""Generated columns that index the application's values in messages' metadata."""

import re
from typing import Any, Final, Literal, TypeAlias, TypeVar

from sqlalchemy import Boolean, ColumnElement, Float, Integer, Numeric, String, Table
from sqlalchemy.orm import MappedColumn, mapped_column
from sqlalchemy.types import TypeEngine

from threadlog.errors import InvalidInputError
from threadlog.models.dialects.ddl import computed
from threadlog.models.dialects.types import migration_text
from threadlog.models.tables import MESSAGES, THREADS

T = TypeVar("T")

JsonColumn: TypeAlias = Literal["metadata", "extra"]
"""The name of a column of JSON objects that belong to the application."""

TABLES: Final[dict[JsonColumn, Table]] = {"metadata": MESSAGES, "extra": THREADS}
"""The table of each."""

DEFINITION: Final = "threadlog_metadata_column"
"""The key in a column's ``info`` of its path, its type and its JSON column."""

_STEP: Final = r"\.([A-Za-z_]\w*)|\.\"([\w .@/$-]+)\"|\[(\d+)\]"
_PATH: Final = re.compile(rf"\$(?:{_STEP})+")


def metadata_column(
    path: str, type_: TypeEngine[T], *, index: bool = False, of: JsonColumn = "metadata"
) -> MappedColumn[T | None]:
    """Return a column of messages or threads that the database computes from their JSON.

    Attach it to the mapped class before the first query, then run Alembic's autogenerate.
    The column is virtual, so that adding it rewrites no row; on PostgreSQL it is stored::

        Message.user_id = metadata_column("$.user_id", String(64), index=True)

    With an index both of these conditions use it on MySQL, which replaces the second by the
    first (https://dev.mysql.com/doc/refman/9.7/en/generated-column-index-optimizations.html),
    and on MariaDB from 11.8 on; elsewhere only the first does::

        Message.user_id == "u"
        Message.metadata_["user_id"].as_string() == "u"

    Every message's metadata must fit the type from then on. An append fails on text in place
    of a number, and on MySQL and MariaDB also on text that is too long; PostgreSQL's text has no
    length. The column is NULL if the value is missing or null.

    Args:
        path: a JSON path of keys and indexes: ``$.user_id``, ``$.order.lines[0]``, or with
            quotes ``$."user id"`` for keys that are not identifiers.
        type_: ``String(n)``, ``Integer()``, ``BigInteger()``, ``Float()``, ``Numeric(p, s)``
            or ``Boolean()``. Text is compared byte by byte.
        index: whether to index the column too.
        of: ``metadata`` for a column of `Message`, ``extra`` for one of `Thread`.

    Returns:
        The column, to be assigned to an attribute of `Message`, or of `Thread`, that has the
        column's name.

    Raises:
        InvalidInputError: the path or the type is not one of these.
    """
    if of not in TABLES:
        raise InvalidInputError(f"of is {of!r}. Use 'metadata' or 'extra'.")
    value = _typed(TABLES[of].c[of][_parse(path)], type_)
    stored = migration_text(type_) if isinstance(type_, String) else type_
    info = {DEFINITION: (path, type_, of)}
    return mapped_column(stored, computed(value), nullable=True, index=index, info=info)


def _parse(path: str) -> tuple[str | int, ...]:
    """Return the steps of a path, so that no part of it gets into SQL unescaped."""
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise InvalidInputError(
            f"{path!r} is not a path of keys and indexes such as $.user_id, $.a.b[0] or "
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
