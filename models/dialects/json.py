"""JSON columns: exact storage of documents, and searching in them."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from sqlalchemy import (
    JSON,
    ColumnElement,
    Dialect,
    LargeBinary,
    Null,
    Select,
    String,
    Text,
    TypeDecorator,
    and_,
    case,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import TypeEngine

from threadlog.models.dialects.json_mariadb import has_member, member_equals
from threadlog.models.dialects.names import dialect_name
from threadlog.models.dialects.template import Template

# Python writes floats from 1e+16 on with an exponent and without a decimal point.
_EXPONENT: Final = "e+"

# SQLite's integers end below this.
_BEYOND_INTEGER: Final = 2**63
_BEYOND_UNSIGNED: Final = 2**64

# Two paths that lead nowhere, as json_extract of SQLite writes them.
_NO_PATH: Final = "[null,null]"


class ExactJson(TypeDecorator[Any]):
    """A JSON document whose floats are stored exactly: JSONB on PostgreSQL.

    JSONB reads ``1e+23`` as an integer and returns its 24 digits, which are not the float's.
    It loses the sign of ``-0.0``. MariaDB, where JSON is text, finds a member only if its name
    is written as in the path, which has no escapes.
    """

    impl = JSON
    cache_ok = True

    def __init__(self, *, none_as_null: bool = False) -> None:
        """Create the type.

        Args:
            none_as_null: whether None is stored as NULL, and not as JSON's null.
        """
        super().__init__(none_as_null=none_as_null)
        self.none_as_null = none_as_null
        self.should_evaluate_none = not none_as_null

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's type."""
        kind = postgresql.JSONB if dialect.name == "postgresql" else JSON
        return dialect.type_descriptor(kind(none_as_null=self.none_as_null))

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Return the type of a value inside the document, as JSON does."""
        coerced: TypeEngine[Any] = self.impl_instance.coerce_compared_value(op, value)
        return coerced

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        """Return the function that writes a document."""
        if dialect.name == "postgresql":
            return partial(self._write, _with_positional_floats)
        if dialect_name(dialect) == "mariadb":
            return partial(self._write, partial(json.dumps, ensure_ascii=False))
        return super().bind_processor(dialect)

    def _write(self, encode: Callable[[Any], str], value: Any) -> str | None:
        if value is JSON.NULL:
            return "null"
        if isinstance(value, Null) or (value is None and self.none_as_null):
            return None
        return encode(value)


def _with_positional_floats(value: Any) -> str:
    text = json.dumps(value)
    return _positional(value) if _EXPONENT in text else text


def _positional(value: Any) -> str:
    """Return JSON in which every float has a decimal point."""
    match value:
        case dict():
            items = (f"{json.dumps(key)}: {_positional(item)}" for key, item in value.items())
            return f"{{{', '.join(items)}}}"
        case list() | tuple():
            return f"[{', '.join(map(_positional, value))}]"
        case float():
            text = json.dumps(value)
            return f"{value:.1f}" if _EXPONENT in text else text
        case _:
            return json.dumps(value)


class empty_object(ColumnElement[Any]):  # noqa: N801 - reads as a SQL expression
    """A server default: the empty JSON object."""

    inherit_cache = True


@compiles(empty_object)
def _empty_object(element: empty_object, compiler: SQLCompiler, **kw: Any) -> str:
    return "'{}'::jsonb" if compiler.dialect.name == "postgresql" else "(JSON_OBJECT())"


class as_text(Template, postgresql="CAST({0} AS TEXT)", other="{0}"):  # noqa: N801 - reads as a SQL function
    """The text of a JSON document, or of a UUID, as the server writes it.

    A row with invalid JSON must be reported by its key, not fail in the driver.
    """

    type = Text()


def exact_json(value: Any, dialect: str) -> Any:
    """Return the value to insert into a JSON column so that a bare number keeps its digits.

    SQLite converts the text of a number to a number, which may change a float's last digit
    and an int beyond 64 bits. It stores bytes unchanged:
    https://sqlite.org/datatype3.html, section 3.1.

    Args:
        value: the JSON value.
        dialect: the name of the session's dialect.
    """
    if dialect == "sqlite" and isinstance(value, int | float) and not isinstance(value, bool):
        return type_coerce(json.dumps(value).encode(), LargeBinary)
    return value


class _JsonItems(
    Template,
    # The collation of the keys: with another one their index would not be used.
    mysql=(
        "JSON_TABLE({0}, '$[*]' COLUMNS"
        " (value VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PATH '$'))"
    ),
    postgresql="jsonb_array_elements_text({0})",
    other="json_each({0})",
):
    """The items of a JSON array of hexadecimal digits, as rows."""

    name = "json_items"


def json_items(array: ColumnElement[Any], name: str) -> TableValuedAlias:
    """Return the items of an array of hexadecimal digits as a table with the column ``value``.

    Args:
        array: a JSON column.
        name: the table's alias in the statement.
    """
    return _JsonItems(array).table_valued("value", name=name, joins_implicitly=True)


def json_member_is(document: ColumnElement[Any], key: str, value: Any, dialect: str) -> Any:
    """Return the condition that a member equals a JSON value; None also matches no member.

    Args:
        document: a JSON column that holds an object.
        key: the member's name, whatever characters it has.
        value: any JSON value.
        dialect: the name of the session's dialect.
    """
    is_missing, equals = _member_conditions(document, key, value, dialect)
    return equals if value is not None else or_(is_missing, equals)


def json_member_equals(document: ColumnElement[Any], key: str, value: Any, dialect: str) -> Any:
    """Return the same condition, by which None matches null alone and no missing member."""
    return _member_conditions(document, key, value, dialect)[1]


def _member_conditions(
    document: ColumnElement[Any], key: str, value: Any, dialect: str
) -> tuple[Any, Any]:
    """Return the conditions that there is no member of this name, and that it equals a value."""
    if dialect == "mariadb":
        return not_(has_member(document, key)), member_equals(document, key, value)
    if dialect == "mysql":
        # A quoted name in a path may have the escapes of a JSON string.
        member = func.json_extract(document, literal(f"$.{json.dumps(key)}", String()))
        given = func.json_extract(literal(json.dumps(value), String()), literal("$", String()))
        return member.is_(None), member == given
    if dialect == "postgresql":
        found = document.op("->")(literal(key, String()))
        return found.is_(None), found == literal(value, ExactJson())
    text = type_coerce(document, String)
    return not_(_has_member(text, key)), _has_member(text, key, value)


_ANY = object()


def _has_member(document: ColumnElement[Any], key: str, value: Any = _ANY) -> Any:
    """Look into a document of SQLite's for a member with this key, and value if one is given."""
    item = func.json_each(document).table_valued("key", "value", "type", "atom", "fullkey").alias()
    found = [item.c.key == key]
    if value is not _ANY:
        found.append(_is_value(document, item, key, value))
    return exists(select(literal(1)).select_from(item).where(*found))


def _is_value(document: ColumnElement[Any], item: Any, key: str, value: Any) -> Any:
    """Compare an item of ``json_each`` with a value: sqlite.org/json1.html, section 4.25."""
    match value:
        case None:
            return item.c.type == "null"
        case bool():
            return item.c.type == ("true" if value else "false")
        case str():
            return and_(item.c.type == "text", item.c.atom == value)
        case int() | float() if abs(value) >= _BEYOND_INTEGER:
            return and_(item.c.type.in_(("integer", "real")), _is_large(document, item, key, value))
        case int() | float():
            return and_(item.c.type.in_(("integer", "real")), item.c.atom == value)
        case _:
            kind = "object" if isinstance(value, dict) else "array"
    # Both as flat lists of all their parts, and neither list has a part that the other lacks.
    # The SQL has one form for every value: deeply nested SQL is refused.
    mine, given = _parts(type_coerce(item.c.value, String)), _parts(literal(json.dumps(value)))
    return and_(item.c.type == kind, ~mine.except_(given).exists(), ~given.except_(mine).exists())


def _parts(document: ColumnElement[Any]) -> Select[Any]:
    """Select all parts of a document: path, last key, kind and scalar value."""
    part = func.json_tree(document).table_valued("fullkey", "key", "type", "atom").alias()
    kind = case((part.c.type.in_(("integer", "real")), "number"), else_=part.c.type)
    return select(part.c.fullkey, part.c.key, kind, _exact(document, part))


def _is_large(document: ColumnElement[Any], item: Any, key: str, value: float) -> Any:
    """Compare an item with a number beyond SQLite's integers."""
    if value != int(value) or not 0 < value < _BEYOND_UNSIGNED:
        return item.c.atom == value
    number, digits = int(value), _digits(document, item)
    # SQLite finds no path to a key with a quotation mark: then it is looked for as written.
    written = and_(
        item.c.atom == float(number), func.instr(document, f"{json.dumps(key)}: {number}") > 0
    )
    same = case((digits == _NO_PATH, written), else_=digits == f"[{number},{number}]")
    found = and_(item.c.type == "integer", same)
    if float(number) != number:
        return found
    return or_(found, and_(item.c.type == "real", item.c.atom == float(number)))


def _exact(document: ColumnElement[Any], item: Any) -> ColumnElement[Any]:
    """Return an item's plain value; of an integer beyond SQLite's, its digits.

    The functions of SQLite make a float of it: https://sqlite.org/json1.html. It is not equal
    to a float then, wherever that is in a document.
    """
    digits = _digits(document, item)
    is_inexact = and_(
        *(item.c.type == "integer", func.typeof(item.c.atom) == "real", digits != _NO_PATH),
    )
    return case((is_inexact, digits), else_=item.c.atom)


def _digits(document: ColumnElement[Any], item: Any) -> ColumnElement[Any]:
    """Return an item as written: of several paths json_extract makes an array, with its digits."""
    return func.json_extract(document, item.c.fullkey, item.c.fullkey, type_=String())
