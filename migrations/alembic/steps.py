"""Migrate a database from one version of the schema to another with Alembic's operations.

MySQL commits each DDL statement by itself, so a migration may be interrupted anywhere and must
be safe to run again. Every step first checks whether it is already done. An upgrade writes the
version row last; a downgrade writes it before dropping anything. threadlog therefore never
opens a database whose migration is incomplete. On PostgreSQL and SQLite a migration is one
transaction if the caller begins one.

Offline (``alembic upgrade --sql``) there is no database to inspect. The text is written for a
database that has exactly the tables of the earlier version.
"""

from typing import Final

import sqlalchemy as sa
from alembic.operations import Operations

from threadlog.errors import (
    ConfigurationError,
    CubepiSchemaError,
    CubepiSchemaMismatch,
    CubepiSchemaUninitialized,
)
from threadlog.migrations.history import hash_partitions
from threadlog.migrations.history.definitions import (
    POSTGRESQL,
    Definitions,
    Items,
    collate,
    columns,
)
from threadlog.migrations.history.message_log import MESSAGE_LOG
from threadlog.migrations.history.schema_names import in_schema, schema_of

# An application may have tables of these names, which are in no namespace of threadlog's.
_OWN_TABLES: Final = (
    "If they are your own, create the other parts only, by --part or their directives. If not: "
)

_COLLATION: Final = sa.text(
    "SELECT collname FROM pg_attribute JOIN pg_collation ON pg_collation.oid = attcollation "
    "WHERE attrelid = to_regclass(:table) AND attname = 'thread_id'"
)


def create_schema(operations: Operations, version: int, part: Definitions = MESSAGE_LOG) -> None:
    """Create a version's missing tables and indexes, then write the version row.

    The version table is created first and its row is written last. Data tables beside an
    *empty* version table come from an interrupted migration and are completed. Data tables
    *without* a version table have an unknown version and are refused, unless another part had
    them before. Tables of this version that another tool created are adopted: they stay as they
    are and get missing indexes.

    Args:
        operations: Alembic's operations of a migration.
        version: the version of the part.
        part: the part of the schema.

    Raises:
        ConfigurationError: the version is unknown.
        CubepiSchemaMismatch: the database has tables that are not of this version; nothing
            was changed.
        CubepiSchemaUninitialized: the database lacks the part that the tables refer to;
            nothing was changed.
    """
    _require_known_version(part, version)
    migration = _Migration(operations, part)
    migration.require_referred_table()
    found = migration.found
    if found and part.version_table not in found and not migration.may_be_adopted(version):
        own = _OWN_TABLES if part.adopted_from else ""
        raise CubepiSchemaMismatch(
            expected=version,
            actual=0,
            hint=f"There are data tables ({', '.join(sorted(found))}) but no version table. {own}"
            f"Upgrade them to version {version} with the migrations that created them, which "
            f"must also write {part.version_table}; nothing was changed.",
        )
    hint = f"Upgrade to version {version} with {part.upgraded_by}; nothing was changed."
    migration.require_version({version}, hint)
    migration.require_columns(version, whole=False)
    migration.create_missing(0, version)
    write_version(operations, version, part)


def upgrade_schema(operations: Operations, from_version: int, to_version: int) -> None:
    """Upgrade the message log to a later version, then write the version row.

    Rows keep their values; new columns are NULL. A database that already has the later version
    gets the tables, columns and indexes that it lacks.

    Raises:
        ConfigurationError: a version is unknown, or the second is not the later one.
        CubepiSchemaMismatch: the database has neither version; nothing was changed.
    """
    _require_known_span(from_version, to_version)
    migration = _Migration(operations, MESSAGE_LOG)
    migration.require_one_of(from_version, to_version)
    migration.create_missing(from_version, to_version)
    write_version(operations, to_version)


def downgrade_schema(operations: Operations, from_version: int, to_version: int) -> None:
    """Write an earlier version row of the message log, then drop everything newer.

    Raises:
        ConfigurationError: a version is unknown, or the second is not the earlier one.
        CubepiSchemaMismatch: the database has neither version; nothing was changed.
    """
    _require_known_span(to_version, from_version)
    migration = _Migration(operations, MESSAGE_LOG)
    migration.require_one_of(from_version, to_version)
    write_version(operations, to_version)
    migration.drop_newer(from_version, to_version)


def drop_schema(operations: Operations, version: int, part: Definitions = MESSAGE_LOG) -> None:
    """Drop a version's tables and all their rows.

    The version table is dropped first, so that threadlog does not open a database some of
    whose tables are dropped.

    Raises:
        ConfigurationError: the version is unknown.
        CubepiSchemaError: tables of another part refer to these; nothing was changed.
    """
    _require_known_version(part, version)
    migration = _Migration(operations, part)
    migration.require_no_referring_table()
    migration.drop_virtual_tables()
    for table in dict.fromkeys([part.version_table, *reversed(migration.tables(version))]):
        migration.drop_table(table)


def write_version(operations: Operations, version: int, part: Definitions = MESSAGE_LOG) -> None:
    """Write the version row, replacing any other.

    Raises:
        ConfigurationError: the version is unknown.
    """
    _require_known_version(part, version)
    # All rows. Under sql_safe_updates MySQL demands a condition that is a range of the key.
    table = name_in_schema(operations, part.version_table)
    operations.execute(f"DELETE FROM {table} WHERE version >= 0")
    operations.execute(f"INSERT INTO {table} (version) VALUES ({version:d})")


class _Migration:
    """The steps of a migration of one part of the schema, each only where it is not done yet."""

    def __init__(self, operations: Operations, part: Definitions) -> None:
        self._operations = operations
        self._part = part
        self._dialect = operations.get_context().dialect
        self._offline = operations.get_context().as_sql
        self._schema = schema_of_tables(operations)
        self._existing = set() if self._offline else self._existing_tables()
        self.found = {} if self._offline else self._existing_columns()
        """The column names of each of the part's tables that exist; offline there are none."""

    def may_be_adopted(self, version: int) -> bool:
        """Return True if another part, which is there, may have created the existing tables."""
        other, wanted = self._part.adopted_from, self.tables(version)
        return (
            other is not None
            and other in self._existing
            and all(columns(wanted[table]).keys() <= had for table, had in self.found.items())
        )

    def tables(self, version: int) -> dict[str, Items]:
        """Return a version's tables; version 0 has none."""
        return self._part.tables(version, self._dialect.name)

    def create_missing(self, old: int, new: int) -> None:
        """Create the missing tables, columns and indexes of version `new` that `old` has not."""
        older = self.tables(old)
        for table, items in self._with_existing_collation(new).items():
            if table not in older:
                # IF NOT EXISTS alone would raise a warning in drivers if the table exists.
                if table not in self.found:
                    options = self._part.options(table)
                    self._operations.create_table(table, *items, if_not_exists=True, **options)
                if self._dialect.name == POSTGRESQL and table in self._part.hash_partitioned:
                    self._create_missing_partitions(table)
                continue
            had = columns(older[table]).keys() | self.found.get(table, set())
            for name, column in columns(items).items():
                if name not in had:
                    self._operations.add_column(table, column, schema=self._schema)
        self._create_missing_indexes(old, new)
        if self._dialect.name == "sqlite":
            for statement in self._part.sqlite_statements:
                self._operations.execute(statement)

    def _create_missing_indexes(self, old: int, new: int) -> None:
        for index in self._part.indexes(new, self._dialect.name):
            if index.with_table and self._offline:
                continue
            # MySQL has no CREATE INDEX IF NOT EXISTS.
            if index.since > old and index.name not in self._index_names(index.table):
                names = list(index.columns)
                self._operations.create_index(index.name, index.table, names, **index.options)

    def _with_existing_collation(self, version: int) -> dict[str, Items]:
        """Return a version's tables with the collation of the tables that already exist.

        PostgreSQL cannot compare two columns with different collations, and the agent
        framework's tables have the database's own collation.
        """
        tables = self.tables(version)
        there = [self._part.refers_to] if self._part.refers_to in self._existing else []
        there += [table for table in tables if "thread_id" in self.found.get(table, ())]
        if there and self._dialect.name == POSTGRESQL:
            name = name_in_schema(self._operations, there[0])
            collation = self._operations.get_bind().scalar(_COLLATION, {"table": name})
            for items in tables.values() if collation else ():  # a UUID has none
                collate(items, self._dialect, collation)
        return tables

    def _create_missing_partitions(self, table: str) -> None:
        """Create the missing partitions of a table on PostgreSQL."""
        if self._offline or hash_partitions.are_missing(self._operations.get_bind(), table):
            name = name_in_schema(self._operations, table)
            self._operations.execute(hash_partitions.statement(name))

    def drop_newer(self, new: int, old: int) -> None:
        """Drop the existing tables, columns and indexes of version `new` that `old` has not."""
        newer, kept = self.tables(new), self.tables(old)
        for index in reversed(self._part.indexes(new, self._dialect.name)):
            gone = index.since > old and index.table in kept  # else dropped with its table
            if gone and (self._offline or index.name in self._index_names(index.table)):
                self._operations.drop_index(index.name, index.table)
        for table in reversed(newer):
            if table not in kept:
                self.drop_table(table)
                continue
            stay = columns(kept[table])
            for name in reversed(columns(newer[table])):
                if name not in stay and (self._offline or name in self.found[table]):
                    self._operations.drop_column(table, name, schema=self._schema)

    def drop_virtual_tables(self) -> None:
        """Drop SQLite's virtual tables, if they exist."""
        for table in self._part.sqlite_tables if self._dialect.name == "sqlite" else ():
            self._operations.drop_table(table, if_exists=True)

    def drop_table(self, table: str) -> None:
        """Drop a table if it exists."""
        if self._offline or table in self.found:
            self._operations.drop_table(table, if_exists=True)

    def require_referred_table(self) -> None:
        """Raise `CubepiSchemaUninitialized` if there is no table for the part to refer to."""
        needed = self._part.refers_to
        if needed and not self._offline and needed not in self._existing:
            raise CubepiSchemaUninitialized(
                f"The tables to create refer to {needed}, which the database lacks. "
                "Create the message log first: threadlog migrate URL --part messages, or "
                "op.create_threadlog_schema() in a migration; nothing was changed."
            )

    def require_no_referring_table(self) -> None:
        """Raise `CubepiSchemaError` if tables of another part refer to this one.

        MySQL would refuse in the middle, and SQLite would leave them without threads.
        """
        if others := self._existing.intersection(self._part.referred_by):
            search = others == {"threadlog_search"}
            what, name = ("the search index", "search") if search else ("thread control", "control")
            raise CubepiSchemaError(
                f"The tables {', '.join(sorted(others))} refer to the message log. Drop {what} "
                f"first: op.drop_threadlog_{name}_schema() in a migration, or "
                f'threadlog.migrating.downgrade(url, part="{name}"); nothing was changed.'
            )

    def require_one_of(self, from_version: int, to_version: int) -> None:
        """Raise `CubepiSchemaMismatch` unless the database has a version, or is between the two.

        The version row may be missing, as between the two statements that write it. All columns
        of the earlier version must exist.
        """
        hint = (
            f"The migration goes from version {from_version} to {to_version}; nothing was changed."
        )
        self.require_version({from_version, to_version}, hint)
        self.require_columns(min(from_version, to_version), whole=True)

    def require_version(self, allowed: set[int], hint: str) -> None:
        """Raise `CubepiSchemaMismatch` if the version table has a version that is not allowed."""
        if "version" not in self.found.get(self._part.version_table, ()):
            return
        table = name_in_schema(self._operations, self._part.version_table)
        query = sa.text(f"SELECT version FROM {table}")
        if others := set(self._operations.get_bind().scalars(query)) - allowed:
            actual = max(others)
            if actual > max(self._part.versions):
                hint = (
                    "The database is newer than this release: upgrade threadlog; nothing was "
                    "changed."
                )
            raise CubepiSchemaMismatch(expected=min(allowed), actual=actual, hint=hint)

    def require_columns(self, version: int, *, whole: bool) -> None:
        """Raise `CubepiSchemaMismatch` if existing tables lack columns of the version.

        If `whole`, a missing table is refused too.
        """
        if self._offline:
            return
        for table, items in self.tables(version).items():
            if table not in self.found and not whole:
                continue
            lacking = columns(items).keys() - self.found.get(table, set())
            if lacking:
                reason = f"{table} lacks {', '.join(sorted(lacking))}"
                raise CubepiSchemaMismatch(
                    expected=version,
                    actual=0,
                    hint=f"{reason if table in self.found else f'There is no {table}'}, so it is "
                    f"not of version {version} whatever the version table says; nothing was "
                    "changed.",
                )

    def _existing_tables(self) -> set[str]:
        return set(sa.inspect(self._operations.get_bind()).get_table_names(self._schema))

    def _existing_columns(self) -> dict[str, set[str]]:
        inspector = sa.inspect(self._operations.get_bind())
        ours = self.tables(self._part.versions[-1]).keys()
        return {
            table: {str(column["name"]) for column in inspector.get_columns(table, self._schema)}
            for table in ours & self._existing
        }

    def _index_names(self, table: str) -> set[str]:
        """Return the names of a table's indexes; offline there are none."""
        if self._offline:
            return set()
        inspector = sa.inspect(self._operations.get_bind())
        return {str(index["name"]) for index in inspector.get_indexes(table, self._schema)}


def schema_of_tables(operations: Operations) -> str | None:
    """Return the schema of the tables; None for the session's default one, and offline."""
    return None if operations.get_context().as_sql else schema_of(operations.get_bind())


def name_in_schema(operations: Operations, table: str) -> str:
    """Return the name of a table for a statement of text; offline without a schema."""
    offline = operations.get_context().as_sql
    return table if offline else in_schema(operations.get_bind(), table)


def _require_known_version(part: Definitions, version: int) -> None:
    """Raise `ConfigurationError` if a version is not defined."""
    first, last = part.versions[0], part.versions[-1]
    known = f"versions {first} to {last}" if first < last else f"version {first}"
    if version not in part.versions:
        raise ConfigurationError(
            f"This release of threadlog has the schema {known}, not {version!r}. Use a version "
            "that it has, or upgrade threadlog."
        )


def _require_known_span(earlier: int, later: int) -> None:
    """Raise `ConfigurationError` if a version is not defined or the order is wrong."""
    # The message log is the only part that has more than one version.
    _require_known_version(MESSAGE_LOG, earlier)
    _require_known_version(MESSAGE_LOG, later)
    if earlier >= later:
        raise ConfigurationError(
            f"Schema version {later} is not later than {earlier}. An upgrade goes from an earlier "
            "schema version to a later one, a downgrade from a later one to an earlier one."
        )
