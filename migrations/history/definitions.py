"""The tables, columns and indexes of each version of a part of the schema, frozen.

Each part is defined in a module of this package. A version that is defined there never changes,
even if the models do: applications have run migrations of that version. A change of the schema
is a new version.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

MYSQL: Final = ("mysql", "mariadb")
"""The dialects that use MySQL's types."""

POSTGRESQL: Final = "postgresql"
"""The dialect that uses PostgreSQL's types."""

Items: TypeAlias = Sequence[sa.Column[Any] | sa.Constraint]
"""Columns and constraints of a table, not yet attached to one."""


@dataclass(frozen=True, slots=True)
class Index:
    """An index of a table."""

    name: str
    table: str
    columns: tuple[str | sa.TextClause, ...]
    since: int
    """The first version that has it."""

    dialect: str | None = None
    """The one dialect that has it; None for all."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Options for ``op.create_index``."""

    with_table: bool = False
    """True if the table is created with it; by itself it is created only if it was dropped."""


@dataclass(frozen=True, slots=True)
class Definitions:
    """All versions of a part of the schema."""

    versions: range
    """The versions that are defined."""

    version_table: str
    """The table whose one row has the version of the database."""

    newest: Callable[[str], dict[str, Items]]
    """A function from a dialect to the newest version's tables, in the order of creation."""

    all_indexes: tuple[Index, ...]
    """The indexes of the newest version, in the order of creation."""

    upgraded_by: str
    """The way to upgrade tables of an older version, for error texts."""

    adopted_from: str | None = None
    """The version table of the part that had these tables before; None if there was none."""

    since: Mapping[str, int] = field(default_factory=dict)
    """The first version that has a ``table`` or a ``table.column``, where it is not 1."""

    all_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The options of the tables whose options differ from `OPTIONS`."""

    hash_partitioned: tuple[str, ...] = ()
    """The tables that are partitioned on PostgreSQL, see `hash_partitions`."""

    refers_to: str = ""
    """The table of another part that the tables refer to, which must exist."""

    referred_by: tuple[str, ...] = ()
    """The tables of other parts that refer to this one, which must be dropped before."""

    sqlite_tables: tuple[str, ...] = ()
    """The virtual tables of the newest version on SQLite, which are dropped before the others."""

    sqlite_statements: tuple[str, ...] = ()
    """The statements that create these on SQLite, and fill them; each may be run again."""

    def tables(self, version: int, dialect: str) -> dict[str, Items]:
        """Return a version's tables with columns and constraints, in the order of creation.

        Args:
            version: one of `versions`; 0 has no tables.
            dialect: SQLAlchemy's name of the database, such as ``mysql``.
        """
        if not version:
            return {}
        return {
            table: [item for item in items if self._has(version, f"{table}.{item.name}")]
            for table, items in self.newest(dialect).items()
            if self._has(version, table)
        }

    def indexes(self, version: int, dialect: str) -> list[Index]:
        """Return a version's indexes, in the order of creation."""
        return [
            index
            for index in self.all_indexes
            if index.since <= version and index.dialect in {None, dialect}
        ]

    def options(self, table: str) -> dict[str, Any]:
        """Return a table's options for ``op.create_table``: its engine and partitioning."""
        return dict(self.all_options.get(table, OPTIONS))

    def _has(self, version: int, name: str) -> bool:
        return self.since.get(name, 1) <= version


OPTIONS: Mapping[str, Any] = {"mysql_engine": "InnoDB", "mariadb_engine": "InnoDB"}
"""The options of a table without options of its own."""


def columns(items: Items) -> dict[str, sa.Column[Any]]:
    """Return the columns of a table by name, in order."""
    return {item.name: item for item in items if isinstance(item, sa.Column)}


def collate(items: Items, dialect: sa.Dialect, collation: str | None) -> None:
    """Replace the collation of text columns that have one on a dialect.

    Args:
        items: the columns and constraints of a table; changed in place.
        dialect: PostgreSQL's dialect.
        collation: the name of the collation; ``default`` for the database's own.
    """
    name = None if collation == "default" else collation
    for column in columns(items).values():
        if getattr(column.type.dialect_impl(dialect), "collation", None):
            column.type = postgresql.TEXT(collation=name)


def version_column() -> sa.Column[Any]:
    """Return the only column of a version table."""
    # On SQLite, as in the models, a row that is there already is no error.
    return sa.Column(
        "version",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        sqlite_on_conflict_primary_key="IGNORE",
    )


def identifier() -> sa.String:
    """Return the type of an identifier, which is compared byte by byte on every database."""
    return exact_text(255)


def exact_text(length: int) -> sa.String:
    """Return a text type that is compared byte by byte, of any length on PostgreSQL."""
    kind = mysql.VARCHAR(length, collation="utf8mb4_bin")
    return sa.String(length).with_variant(kind, *MYSQL).with_variant(bytewise(), POSTGRESQL)


def bytewise() -> postgresql.TEXT:
    """Return PostgreSQL's text type that is sorted byte by byte."""
    return postgresql.TEXT(collation="C")


def large_binary() -> sa.LargeBinary:
    """Return the type of bytes of any length."""
    return sa.LargeBinary().with_variant(mysql.LONGBLOB(), *MYSQL)


def document() -> sa.JSON:
    """Return the type of a JSON document."""
    return sa.JSON().with_variant(postgresql.JSONB(), POSTGRESQL)


def digest(length: int) -> sa.String:
    """Return the type of a hash in hexadecimal digits."""
    kind = mysql.CHAR(length, charset="ascii", collation="ascii_bin")
    return sa.String(length).with_variant(kind, *MYSQL).with_variant(bytewise(), POSTGRESQL)


def long_text() -> sa.Text:
    """Return the type of text of any length that is compared byte by byte."""
    kind = mysql.LONGTEXT(collation="utf8mb4_bin")
    return sa.Text().with_variant(kind, *MYSQL).with_variant(bytewise(), POSTGRESQL)


def timestamp_column(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    """Return a column of times in UTC with microseconds; text on SQLite."""
    kind = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), *MYSQL)
    return sa.Column(name, kind.with_variant(sa.String(32), "sqlite"), nullable=nullable)
