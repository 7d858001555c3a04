"""Column types."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    TIMESTAMP,
    DateTime,
    Dialect,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    cast,
    null,
)
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from threadlog.models.dialects.names import MYSQL


def identifier() -> String:
    """Give the type of an identifier column: 255 characters, compared byte by byte."""
    return exact_text(String(255))


def exact_text(type_: String) -> String:
    """Give a text type of the same length that compares byte by byte.

    MySQL's default collations take ``R1`` and ``r1`` for one key; ``utf8mb4_bin`` does
    not. SQLite compares bytes as it is. On PostgreSQL text has no length, as everywhere in
    the framework's tables; see `BytewiseText`.
    """
    return _exact(type_, BytewiseText())


def host_text(type_: String) -> String:
    """Give the same for a column that only a host's migration creates, in SQLAlchemy's words."""
    return _exact(type_, BytewiseText.plain)


def _exact(type_: String, on_postgresql: postgresql.TEXT) -> String:
    kind = mysql.VARCHAR(type_.length, collation="utf8mb4_bin")
    return type_.with_variant(kind, *MYSQL).with_variant(on_postgresql, "postgresql")


def short_text() -> String:
    """Give the type of a short word of a few that there are, such as a role: 32 characters."""
    return String(32).with_variant(postgresql.TEXT(), "postgresql")


def timestamp() -> TIMESTAMP:
    """Give the type of a point in time; with a time zone where the database has that."""
    return TIMESTAMP().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


class BytewiseText(postgresql.TEXT):
    """Text that PostgreSQL sorts byte by byte.

    The collation is the column's alone, not that of what it is compared with: against a column
    of another collation, as the framework's own tables have, it would keep the server from
    using the index.
    """

    plain = postgresql.TEXT(collation="C")
    """What creates the same column in SQLAlchemy's own words, for migrations."""


@compiles(BytewiseText, "postgresql")
def _bytewise_text(type_: BytewiseText, compiler: Any, **kw: Any) -> str:
    return 'TEXT COLLATE "C"'


def large_binary() -> LargeBinary:
    """Give the type of a message's packed bytes, which holds up to 4 GiB on MySQL."""
    return LargeBinary().with_variant(mysql.LONGBLOB(), *MYSQL)


ANY_TEXT: Final = {"threadlog.any_text": True}
"""The ``info`` of a column with text of other programs, which is no name and has any characters."""


def long_text() -> Text:
    """Give the type of text of any length that is compared byte by byte."""
    kind = mysql.LONGTEXT(collation="utf8mb4_bin")
    return Text().with_variant(kind, *MYSQL).with_variant(BytewiseText(), "postgresql")


def digest(length: int) -> String:
    """Give the type of a hash in hexadecimal digits, such as it is found by in a key.

    Digits rather than bytes: every server compares them with what stands in JSON.
    """
    kind = mysql.CHAR(length, charset="ascii", collation="ascii_bin")
    return String(length).with_variant(kind, *MYSQL).with_variant(BytewiseText(), "postgresql")


class UuidText(TypeDecorator[UUID]):
    """A UUID as its 36 characters, as other tools write and people read it.

    On PostgreSQL, which has a type for it, of that type.
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
        """Write the 36 characters."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> UUID | None:
        """Read them."""
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
        """Write a time; one without a zone is refused."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("The time has no time zone. Use datetime.now(UTC).")
        utc = value.astimezone(UTC)
        if dialect.name == "sqlite":
            return utc.isoformat(timespec="microseconds")
        return utc.replace(tzinfo=None) if dialect.name in MYSQL else utc

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read a time."""
        if value is None:
            return None
        timestamp = datetime.fromisoformat(value) if isinstance(value, str) else value
        return (
            timestamp.replace(tzinfo=UTC) if timestamp.tzinfo is None else timestamp.astimezone(UTC)
        )


class typed_null(FunctionElement[Any]):  # noqa: N801 - reads as a SQL expression
    """NULL, of a type: in a UNION of three PostgreSQL takes one without for text."""

    inherit_cache = True

    def __init__(self, type_: TypeEngine[Any]) -> None:
        """Take the type of what other parts of the UNION have in its place."""
        super().__init__()
        self.type = type_


@compiles(typed_null)
def _no_value(element: typed_null, compiler: SQLCompiler, **kw: Any) -> str:
    return "NULL"


@compiles(typed_null, "postgresql")
def _no_value_postgresql(element: typed_null, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(cast(null(), element.type), **kw)
