"""JSON columns: what goes in as it is, and what is looked up in them."""

import json
from typing import Any

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    Select,
    String,
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
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import TableValuedAlias

from threadlog.models.dialects.json_on_mariadb import has_member, member_equals
from threadlog.models.dialects.names import MYSQL


def exact_json(value: Any, dialect: str) -> Any:
    """Give what to insert into a JSON column so that a number alone keeps its digits.

    SQLite makes a number of its own of the text of one, which may change a float's last
    digit and an int beyond 64 bits; bytes it leaves as they are:
    https://sqlite.org/datatype3.html, section 3.1.

    Args:
        value: the JSON value.
        dialect: the name of the session's dialect.
    """
    if dialect == "sqlite" and isinstance(value, int | float) and not isinstance(value, bool):
        return type_coerce(json.dumps(value).encode(), LargeBinary)
    return value


class _json_items(FunctionElement[Any]):  # noqa: N801 - reads as a SQL function
    """The items of a JSON array of hexadecimal digits, as rows."""

    name = "json_items"
    inherit_cache = True


@compiles(_json_items, *MYSQL)
def _json_items_mysql(element: _json_items, compiler: SQLCompiler, **kw: Any) -> str:
    # Of the collation that the keys have, whose index would not be used otherwise.
    item = "value VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PATH '$'"
    return f"JSON_TABLE({compiler.process(element.clauses, **kw)}, '$[*]' COLUMNS ({item}))"


@compiles(_json_items, "sqlite")
def _json_items_sqlite(element: _json_items, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **kw)})"


def json_items(array: ColumnElement[Any], name: str) -> TableValuedAlias:
    """Give the items of an array of hexadecimal digits as a table with the column ``value``.

    Args:
        array: a JSON column.
        name: what the table is called in the statement.
    """
    return _json_items(array).table_valued("value", name=name, joins_implicitly=True)


def json_member_is(document: ColumnElement[Any], key: str, value: Any, dialect: str) -> Any:
    """Say whether an object's member is equal to a JSON value, all of it; None is missing too.

    Args:
        document: a JSON column that holds an object.
        key: the member's name, whatever characters it has.
        value: any JSON value.
        dialect: the name of the session's dialect.
    """
    if dialect == "mariadb":
        same = member_equals(document, key, value)
        return same if value is not None else or_(not_(has_member(document, key)), same)
    if dialect == "mysql":
        # In quotes a path takes the escapes of a JSON string.
        member = func.json_extract(document, literal(f"$.{json.dumps(key)}", String()))
        given = func.json_extract(literal(json.dumps(value), String()), literal("$", String()))
        same = member == given
        if value is not None:
            return same
        return or_(member.is_(None), same)
    text = type_coerce(document, String)
    if value is not None:
        return _has_member(text, key, value)
    return or_(not_(_has_member(text, key)), _has_member(text, key, None))


_ANY = object()


def _has_member(document: ColumnElement[Any], key: str, value: Any = _ANY) -> Any:
    """Look into a document of SQLite's for a member with this key, and value if one is given."""
    item = func.json_each(document).table_valued("key", "value", "type", "atom").alias()
    found = [item.c.key == key]
    if value is not _ANY:
        found.append(_is_value(item, value))
    return exists(select(literal(1)).select_from(item).where(*found))


def _is_value(item: Any, value: Any) -> Any:
    """Compare an item of ``json_each`` with a value: sqlite.org/json1.html, section 4.25."""
    match value:
        case None:
            return item.c.type == "null"
        case bool():
            return item.c.type == ("true" if value else "false")
        case str():
            return and_(item.c.type == "text", item.c.atom == value)
        case int() | float():
            return and_(item.c.type.in_(("integer", "real")), item.c.atom == value)
        case _:
            kind = "object" if isinstance(value, dict) else "array"
    # Both as the list of what is in them, at whatever depth, and each holds nothing but the
    # other's: of one form for every value, as deeply nested SQL is refused.
    mine, given = _parts(type_coerce(item.c.value, String)), _parts(literal(json.dumps(value)))
    return and_(item.c.type == kind, ~mine.except_(given).exists(), ~given.except_(mine).exists())


def _parts(document: ColumnElement[Any]) -> Select[Any]:
    """List all that is in a document: where, the last key, of what kind, and a plain value."""
    part = func.json_tree(document).table_valued("fullkey", "key", "type", "atom").alias()
    kind = case((part.c.type.in_(("integer", "real")), "number"), else_=part.c.type)
    return select(part.c.fullkey, part.c.key, kind, part.c.atom)
