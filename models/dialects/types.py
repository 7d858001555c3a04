"""Column types, and comparing identifiers byte by byte."""

from binascii import b2a_base64
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    DateTime,
    Dialect,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    and_,
    cast,
    func,
    null,
)
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from threadlog.models.dialects.names import MYSQL
from threadlog.models.dialects.template import Template


def identifier() -> String:
    """Return the type of an identifier column: 255 characters, compared byte by byte."""
    return exact_text(String(255))


def exact_text(type_: String) -> String:
    """Return a text type of the same length that compares byte by byte.

    MySQL's default collations treat ``R1`` and ``r1`` as one key; ``utf8mb4_bin`` does
    not. SQLite compares bytes by default. On PostgreSQL text has no length, as everywhere in
    the framework's tables; see `BytewiseText`.
    """
    return _exact(type_, BytewiseText())


def migration_text(type_: String) -> String:
    """Return the same for a column of an application's migration, in SQLAlchemy's own types."""
    return _exact(type_, BytewiseText.plain)


def _exact(type_: String, on_postgresql: postgresql.TEXT) -> String:
    kind = mysql.VARCHAR(type_.length, collation="utf8mb4_bin")
    return type_.with_variant(kind, *MYSQL).with_variant(on_postgresql, "postgresql")


def short_text() -> String:
    """Return the type of a word from a small fixed set, such as a role: 32 characters."""
    return String(32).with_variant(postgresql.TEXT(), "postgresql")


class BytewiseText(postgresql.TEXT):
    """Text that PostgreSQL sorts byte by byte.

    Only the column has the collation, not the values that it is compared with: in a comparison
    with a column of another collation, as the framework's own tables have, the server would not
    use the index.
    """

    plain = postgresql.TEXT(collation="C")
    """The same column in SQLAlchemy's own types, for migrations."""


@compiles(BytewiseText, "postgresql")
def _bytewise_text(type_: BytewiseText, compiler: Any, **kw: Any) -> str:
    return 'TEXT COLLATE "C"'


def large_binary() -> LargeBinary:
    """Return the type of a message's packed bytes: up to 4 GiB on MySQL."""
    return LargeBinary().with_variant(SentAsText(), *MYSQL)


def nullable_binary() -> LargeBinary:
    """Return the type of bytes as `large_binary` stores them, or NULL."""
    return LargeBinary().with_variant(_NullableSentAsText(), *MYSQL)


class SentAsText(mysql.LONGBLOB):
    """A LONGBLOB whose values are sent in base64.

    A server fails to list the statements that run or wait if one has bytes that are not text.
    """

    plain = mysql.LONGBLOB()
    """The same column in SQLAlchemy's own types, for migrations."""

    def bind_processor(self, dialect: Dialect) -> Any:
        """Return the encoder; PyMySQL would write each of its bytes as two digits."""
        return b2a_base64 if dialect.is_async else _base64_text

    def bind_expression(self, bindvalue: BindParameter[Any]) -> ColumnElement[bytes]:
        """Return the value that the server decodes."""
        return func.from_base64(bindvalue)


class _NullableSentAsText(SentAsText):
    """The same for a column with NULL; a check of each value would slow down the others."""

    def bind_processor(self, dialect: Dialect) -> Any:
        """Return the encoder, which leaves None as it is."""
        encode = super().bind_processor(dialect)
        return lambda value: None if value is None else encode(value)


def _base64_text(value: bytes) -> str:
    return b2a_base64(value, newline=False).decode()


ANY_TEXT: Final = {"threadlog.any_text": True}
"""The ``info`` of a column with text of other programs, which is no name and has any characters."""


def long_text() -> Text:
    """Return the type of text of any length that is compared byte by byte."""
    kind = mysql.LONGTEXT(collation="utf8mb4_bin")
    return Text().with_variant(kind, *MYSQL).with_variant(BytewiseText(), "postgresql")


def searchable_text() -> Text:
    """Return the type of text of any length for full text search, which ignores case."""
    kind = mysql.LONGTEXT(collation="utf8mb4_unicode_ci")
    return Text().with_variant(kind, *MYSQL).with_variant(BytewiseText(), "postgresql")


def digest(length: int) -> String:
    """Return the type of a hash in a key, written in hexadecimal digits.

    Digits rather than bytes: every server can compare digits with text in JSON.
    """
    kind = mysql.CHAR(length, charset="ascii", collation="ascii_bin")
    return String(length).with_variant(kind, *MYSQL).with_variant(BytewiseText(), "postgresql")


class UuidText(TypeDecorator[UUID]):
    """A UUID as its 36 characters, readable for people and other tools.

    On PostgreSQL the column has the type UUID.
    """

    impl = String(36)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the type of the database."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID(as_uuid=False))
        if dialect.name in MYSQL:
            return dialect.type_descriptor(mysql.CHAR(36, charset="ascii", collation="ascii_bin"))
        return dialect.type_descriptor(String(36))

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> str | None:
        """Return the 36 characters."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> UUID | None:
        """Return the UUID."""
        return None if value is None else UUID(value)


class UtcTime(TypeDecorator[datetime]):
    """A point in time to the microsecond, in UTC; aware in Python.

    DATETIME(6) on MySQL, whose TIMESTAMP ends in 2038 and depends on the session's time zone;
    text in ISO 8601 on SQLite, which sorts as the times do; TIMESTAMPTZ on PostgreSQL.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the type of the database."""
        if dialect.name in MYSQL:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(32))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return the time in the database's format; raise for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("The time has no time zone. Use datetime.now(UTC).")
        utc = value.astimezone(UTC)
        if dialect.name == "sqlite":
            return utc.isoformat(timespec="microseconds")
        return utc.replace(tzinfo=None) if dialect.name in MYSQL else utc

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return the time, aware in UTC."""
        if value is None:
            return None
        timestamp = datetime.fromisoformat(value) if isinstance(value, str) else value
        return (
            timestamp.replace(tzinfo=UTC) if timestamp.tzinfo is None else timestamp.astimezone(UTC)
        )


class SecondsAgo(UtcTime):
    """A time, or a number of seconds before now, as this process knows it: for SQLite."""

    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Return the time; None for None."""
        if isinstance(value, int | float):
            value = datetime.now(UTC) - timedelta(seconds=value)
        return super().process_bind_param(value, dialect)


class typed_null(FunctionElement[Any]):  # noqa: N801 - reads as a SQL expression
    """NULL with a type: in a UNION of three SELECTs PostgreSQL treats an untyped NULL as text."""

    inherit_cache = True

    def __init__(self, type_: TypeEngine[Any]) -> None:
        """Create a NULL of the type that other parts of the UNION have in the same column."""
        super().__init__()
        self.type = type_


@compiles(typed_null)
def _typed_null(element: typed_null, compiler: SQLCompiler, **kw: Any) -> str:
    if compiler.dialect.name == "postgresql":
        return compiler.process(cast(null(), element.type), **kw)
    return "NULL"


class as_bytes(  # noqa: N801 - reads as a SQL function
    Template,
    # Converted to one character set: the table or an application's connection may have another.
    mysql="CAST(CONVERT({0} USING utf8mb4) AS BINARY)",
    other="{0}",
):
    """A text that is compared byte by byte, regardless of its column's collation.

    MySQL's utf8mb4_bin ignores trailing spaces, and tables that other tools created may have
    identifiers with collations that also ignore case and accents.
    """


def id_equals(column: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that identifiers are equal byte by byte; uses the column's index."""
    return and_(column == other, as_bytes(column) == as_bytes(other))
