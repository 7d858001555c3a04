"""Queries to PostgreSQL's catalog about threadlog's tables."""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from sqlalchemy import Column, inspect, text

from threadlog.models import PARTITION_COUNT, HitlAnswer, Message, Run, SchemaPart, Thread
from threadlog.models.dialects.ddl import METADATA_INDEX, foreign_key, metadata_index, partition
from threadlog.repositories.base import Executor, Repository

_OF_THREAD: Final = tuple(model.__tablename__ for model in (Message, Run, HitlAnswer))

_COLLATED: Final = re.compile(r" COLLATE .*")

# Only text columns have one. With a nondeterministic collation different texts may be equal.
_COLLATIONS: Final = text(
    "SELECT CAST(attname AS TEXT), CAST(collname AS TEXT), collisdeterministic,"
    " COALESCE(attnum = ANY (partattrs), false) "
    "FROM pg_attribute JOIN pg_collation ON pg_collation.oid = attcollation"
    " LEFT JOIN pg_partitioned_table ON partrelid = attrelid "
    "WHERE attrelid = to_regclass(:table) AND NOT attisdropped"
)
_KEY: Final = text(
    "SELECT pg_get_partkeydef(partrelid) FROM pg_partitioned_table "
    "WHERE partrelid = to_regclass(:table)"
)
_BOUNDS: Final = text(
    "SELECT pg_get_expr(relpartbound, child.oid) FROM pg_inherits "
    "JOIN pg_class child ON child.oid = inhrelid WHERE inhparent = to_regclass(:table)"
)


class Collation(NamedTuple):
    """A column's collation on PostgreSQL."""

    name: str
    """Name of the collation; ``default`` for the database's own."""

    deterministic: bool

    fixed: bool
    """Whether the collation cannot be changed, as the table is partitioned by the column."""


class ForeignKey(NamedTuple):
    """A foreign key of one column."""

    column: str
    table: str
    referred: str
    on_delete: str | None

    def __str__(self) -> str:
        """Return the key in SQL syntax."""
        cascade = f" ON DELETE {self.on_delete}" if self.on_delete else ""
        return f"({self.column}) REFERENCES {self.table} ({self.referred}){cascade}"


class PostgresCatalogue(Repository):
    """Queries to PostgreSQL's catalog, bound to one session.

    Methods that end in ``_statement`` execute nothing: they return SQL for a person to run.
    """

    def __init__(self, uow: Executor) -> None:
        super().__init__(uow)
        self._inspector = inspect(uow.connection)

    def types(self, part: SchemaPart) -> Iterator[tuple[str, str, str, str]]:
        """Yield table, column and types of each column whose type differs from the model."""
        dialect = self.uow.connection.dialect
        for table in self._tables(part):
            columns = part.metadata.tables[table].columns
            for found in self._inspector.get_columns(table):
                if found["name"] in columns:
                    wanted = _COLLATED.sub("", columns[found["name"]].type.compile(dialect))
                    actual = _COLLATED.sub("", found["type"].compile(dialect))
                    if actual != wanted:
                        yield table, found["name"], actual, wanted

    def primary_keys(self, part: SchemaPart) -> Iterator[tuple[str, str, str]]:
        """Yield the tables whose primary key differs from the model."""
        for table in self._tables(part):
            found = self._inspector.get_pk_constraint(table)["constrained_columns"]
            wanted = [column.name for column in part.metadata.tables[table].primary_key]
            if found != wanted:
                yield table, ", ".join(found) or "none", ", ".join(wanted)

    def missing_foreign_keys(self, part: SchemaPart) -> Iterator[tuple[str, ForeignKey]]:
        """Yield the missing foreign keys with their tables."""
        for table in self._tables(part):
            there = {
                ForeignKey(
                    ", ".join(key["constrained_columns"]),
                    key["referred_table"],
                    ", ".join(key["referred_columns"]),
                    key.get("options", {}).get("ondelete"),
                )
                for key in self._inspector.get_foreign_keys(table)
            }
            yield from ((table, key) for key in _keys(part, table) if key not in there)

    def foreign_key_statement(self, table: str, key: ForeignKey) -> str:
        """Return the statement that adds a foreign key to a table."""
        if key.column == "thread_id" and table in _OF_THREAD:
            return foreign_key(table)
        return f"ALTER TABLE {table} ADD FOREIGN KEY {key}"

    def has_metadata_index(self) -> bool:
        """Return True if the index of messages' metadata exists."""
        indexes = self._inspector.get_indexes(Message.__tablename__)
        return METADATA_INDEX in {index["name"] for index in indexes}

    def metadata_index_statement(self) -> str:
        """Return the statement that creates the index of messages' metadata."""
        return metadata_index(Message.__tablename__)

    def partition_key(self, table: str) -> str | None:
        """Return what a table is partitioned by, such as ``HASH (thread_id)``; None if by nothing.

        Without the quotes that identifiers have under quote_all_identifiers.
        """
        found: str | None = self.uow.execute(_KEY, {"table": table}).scalar()
        return found and found.replace('"', "")

    def partitions(self, table: str) -> set[int | None]:
        """Return the remainders of a table's partitions, with None for any not among the 64."""
        bounds = self.uow.execute(_BOUNDS, {"table": table}).scalars()
        return {_remainder(bound) for bound in bounds}

    def partition_statement(self, table: str, places: Iterable[int]) -> str:
        """Return the statements that create some of a table's partitions."""
        return "; ".join(partition(table, place) for place in places)

    def collations(self, part: SchemaPart) -> dict[tuple[str, str], Collation]:
        """Return the collation of each (table, column) that the models sort byte by byte."""
        return {
            (table, column): Collation(name, deterministic, fixed)
            for table in self._tables(part)
            for column, name, deterministic, fixed in self.uow.execute(
                _COLLATIONS, {"table": table}
            )
            if self._is_bytewise(part.metadata.tables[table].columns.get(column))
        }

    def collation_statement(self, table: str, columns: Iterable[str], collation: str) -> str:
        """Return the statement that changes the collation of text columns."""
        changes = [f'ALTER {column} TYPE TEXT COLLATE "{collation}"' for column in columns]
        return f"ALTER TABLE {table} {', '.join(changes)}"

    def _is_bytewise(self, column: Column[object] | None) -> bool:
        dialect = self.uow.connection.dialect
        return column is not None and _COLLATED.search(column.type.compile(dialect)) is not None

    def _tables(self, part: SchemaPart) -> list[str]:
        """Return the names of a part's existing tables."""
        return sorted(part.tables.intersection(self._inspector.get_table_names()))


def _keys(part: SchemaPart, table: str) -> Iterator[ForeignKey]:
    """Yield the foreign keys that a table must have."""
    for key in part.metadata.tables[table].foreign_keys:
        yield ForeignKey(key.parent.name, key.column.table.name, key.column.name, key.ondelete)
    if table in _OF_THREAD:
        yield ForeignKey("thread_id", Thread.__tablename__, "thread_id", "CASCADE")


def _remainder(bound: str) -> int | None:
    """Return the remainder in ``FOR VALUES WITH (modulus 64, remainder 5)``."""
    found = re.fullmatch(rf".*\(modulus {PARTITION_COUNT}, remainder (\d+)\)", bound)
    return int(found[1]) if found else None
