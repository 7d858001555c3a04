"""What a part of the schema has in each of its versions: tables, columns and indexes, frozen.

The parts are `message_log` and `graph_state`, beside this file. A version that is written there
never changes, whatever becomes of the models: migrations that hosts have run were made from it.
A newer version is added.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

MYSQL: Final = ("mysql", "mariadb")
"""The dialects for which there are MySQL's types."""

POSTGRESQL: Final = "postgresql"
"""The dialect for which there are PostgreSQL's types."""

Items: TypeAlias = Sequence[sa.Column[Any] | sa.Constraint]
"""Columns and constraints of a table, not yet attached to one."""


@dataclass(frozen=True, slots=True)
class Index:
    """An index of a table."""

    name: str
    table: str
    columns: tuple[str, ...]
    since: int
    """The first version that has it."""

    dialect: str | None = None
    """The one dialect that has it; None for all."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Options for ``op.create_index``."""


@dataclass(frozen=True, slots=True)
class Definitions:
    """All versions of a part of the schema."""

    versions: range
    """The versions that are defined."""

    version_table: str
    """The table of one row that says which version the database has."""

    newest: Callable[[str], dict[str, Items]]
    """Gives the tables of the newest version on a dialect, in the order of creation."""

    since: Mapping[str, int]
    """The first version that has a ``table`` or a ``table.column``, where it is not 1."""

    all_indexes: tuple[Index, ...]
    """The indexes of the newest version, in the order of creation."""

    all_options: Mapping[str, Mapping[str, Any]]
    """The options of tables that have others than `OPTIONS`."""

    hash_partitioned: tuple[str, ...]
    """The tables whose rows PostgreSQL keeps in partitions, see `hash_partitions`."""

    upgraded_by: str
    """What takes tables of an older version to a newer one, for people."""

    def tables(self, version: int, dialect: str) -> dict[str, Items]:
        """Give a version's tables with columns and constraints, in the order of creation.

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
        """Give a version's indexes, in the order of creation."""
        return [
            index
            for index in self.all_indexes
            if index.since <= version and index.dialect in {None, dialect}
        ]

    def options(self, table: str) -> dict[str, Any]:
        """Give a table's options, for ``op.create_table``: its engine and how it is partitioned."""
        return dict(self.all_options.get(table, OPTIONS))

    def _has(self, version: int, name: str) -> bool:
        return self.since.get(name, 1) <= version


OPTIONS: Mapping[str, Any] = {"mysql_engine": "InnoDB", "mariadb_engine": "InnoDB"}
"""The options of a table that has no others."""


def columns(items: Items) -> dict[str, sa.Column[Any]]:
    """Give the columns of a table by name, in their order."""
    return {item.name: item for item in items if isinstance(item, sa.Column)}


def collate(items: Items, dialect: sa.Dialect, collation: str | None) -> None:
    """Give columns of text that name a collation on a dialect another one.

    Args:
        items: of a table; they are changed.
        dialect: PostgreSQL's.
        collation: its name; ``default`` for the database's own.
    """
    name = None if collation == "default" else collation
    for column in columns(items).values():
        if getattr(column.type.dialect_impl(dialect), "collation", None):
            column.type = postgresql.TEXT(collation=name)


def version_column() -> sa.Column[Any]:
    """Give the one column of a version table."""
    # On SQLite, as in the models, a row that is there already is no error.
    return sa.Column(
        "version",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        sqlite_on_conflict_primary_key="IGNORE",
    )


def identifier() -> sa.String:
    """Give the type of an identifier: compared byte by byte on every database."""
    return exact_text(255)


def exact_text(length: int) -> sa.String:
    """Give a type of text that is compared byte by byte, of any length on PostgreSQL."""
    kind = mysql.VARCHAR(length, collation="utf8mb4_bin")
    return sa.String(length).with_variant(kind, *MYSQL).with_variant(bytewise(), POSTGRESQL)


def bytewise() -> postgresql.TEXT:
    """Give PostgreSQL's type of text that is sorted byte by byte."""
    return postgresql.TEXT(collation="C")


def large_binary() -> sa.LargeBinary:
    """Give the type of bytes of any length."""
    return sa.LargeBinary().with_variant(mysql.LONGBLOB(), *MYSQL)


def document() -> sa.JSON:
    """Give the type of a JSON document."""
    return sa.JSON().with_variant(postgresql.JSONB(), POSTGRESQL)
