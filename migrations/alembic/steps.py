"""Migrate a database from one version of the schema to another with Alembic's operations.

MySQL commits each DDL statement by itself, so a migration may be interrupted anywhere and must
be safe to run again. Every step first checks whether it is already done. An upgrade writes the
version row last; a downgrade writes it before dropping anything. threadlog therefore never
opens a database whose migration is incomplete. On PostgreSQL and SQLite a migration is one
transaction if the caller begins one.

Offline (``alembic upgrade --sql``) there is no database to inspect. The text is written for a
database that has exactly the tables of the earlier version.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import sqlalchemy as sa
from alembic.operations import Operations

from threadlog.errors import ConfigurationError, CubepiSchemaMismatch
from threadlog.migrations.history import hash_partitions
from threadlog.migrations.history.definitions import (
    POSTGRESQL,
    Definitions,
    Items,
    collate,
    columns,
)
from threadlog.migrations.history.message_log import MESSAGE_LOG

_Found: TypeAlias = Mapping[str, set[str]]
"""The column names of each of threadlog's tables that exist in the database."""

_COLLATION: Final = sa.text(
    "SELECT collname FROM pg_attribute JOIN pg_collation ON pg_collation.oid = attcollation "
    "WHERE attrelid = to_regclass(:table) AND attname = 'thread_id'"
)


def create_schema(operations: Operations, version: int, part: Definitions = MESSAGE_LOG) -> None:
    """Create a version's missing tables and indexes, then write the version row.

    The version table is created first and its row is written last. Data tables beside an
    *empty* version table come from an interrupted migration and are completed. Data tables
    *without* a version table have an unknown version and are refused. Tables of this version
    that another tool created are adopted: they stay as they are and get missing indexes.

    Args:
        operations: Alembic's operations of a migration.
        version: the version of the part.
        part: the part of the schema.

    Raises:
        ConfigurationError: the version is unknown.
        CubepiSchemaMismatch: the database has tables that are not of this version; nothing
            was changed.
    """
    _require_known_version(part, version)
    found = _existing_columns(operations, part)
    if found and part.version_table not in found:
        raise CubepiSchemaMismatch(
            expected=version,
            actual=0,
            hint=f"There are data tables ({', '.join(sorted(found))}) but no version table. "
            f"Upgrade them to version {version} with the migrations that created them, which "
            f"must also write {part.version_table}; nothing was changed.",
        )
    hint = f"Upgrade to version {version} with {part.upgraded_by}; nothing was changed."
    _require_version(operations, part, found, {version}, hint)
    _require_columns(operations, part, found, version, whole=False)
    _create_missing(operations, part, found, 0, version)
    write_version(operations, version, part)


def upgrade_schema(operations: Operations, from_version: int, to_version: int) -> None:
    """Upgrade the message log to a later version, then write the version row.

    Rows keep their values; new columns are NULL. A database that already has the later version
    gets the tables, columns and indexes that it lacks.

    Raises:
        ConfigurationError: a version is unknown, or the second is not the later one.
        CubepiSchemaMismatch: the database has neither version; nothing was changed.
    """
    part = MESSAGE_LOG  # the only one that has more than one version
    _require_known_span(part, from_version, to_version)
    found = _existing_columns(operations, part)
    _require_one_of(operations, part, found, (from_version, to_version), from_version)
    _create_missing(operations, part, found, from_version, to_version)
    write_version(operations, to_version, part)


def downgrade_schema(operations: Operations, from_version: int, to_version: int) -> None:
    """Write an earlier version row of the message log, then drop everything newer.

    Raises:
        ConfigurationError: a version is unknown, or the second is not the earlier one.
        CubepiSchemaMismatch: the database has neither version; nothing was changed.
    """
    part = MESSAGE_LOG
    _require_known_span(part, to_version, from_version)
    found = _existing_columns(operations, part)
    _require_one_of(operations, part, found, (from_version, to_version), to_version)
    write_version(operations, to_version, part)
    _drop_newer(operations, part, found, from_version, to_version)


def drop_schema(operations: Operations, version: int, part: Definitions = MESSAGE_LOG) -> None:
    """Drop a version's tables and all their rows.

    The version table is dropped first, so that threadlog does not open a database some of
    whose tables are dropped.

    Raises:
        ConfigurationError: the version is unknown.
    """
    _require_known_version(part, version)
    found = _existing_columns(operations, part)
    names = [part.version_table, *reversed(part.tables(version, _dialect(operations)))]
    for table in dict.fromkeys(names):
        if _is_offline(operations) or table in found:
            operations.drop_table(table, if_exists=True)


def write_version(operations: Operations, version: int, part: Definitions = MESSAGE_LOG) -> None:
    """Write the version row, replacing any other.

    Raises:
        ConfigurationError: the version is unknown.
    """
    _require_known_version(part, version)
    # All rows. Under sql_safe_updates MySQL demands a condition that is a range of the key.
    operations.execute(f"DELETE FROM {part.version_table} WHERE version >= 0")
    operations.execute(f"INSERT INTO {part.version_table} (version) VALUES ({version:d})")


def _create_missing(
    operations: Operations, part: Definitions, found: _Found, old: int, new: int
) -> None:
    """Create the missing tables, columns and indexes of version `new` that `old` has not.

    Version 0 has no tables.
    """
    dialect = _dialect(operations)
    older = part.tables(old, dialect)
    for table, items in _with_existing_collation(operations, part, found, new).items():
        if table not in older:
            # IF NOT EXISTS alone would raise a warning in drivers if the table exists.
            if table not in found:
                options = part.options(table)
                operations.create_table(table, *items, if_not_exists=True, **options)
            if dialect == POSTGRESQL and table in part.hash_partitioned:
                _create_missing_partitions(operations, table)
            continue
        had = columns(older[table]).keys() | found.get(table, set())
        for name, column in columns(items).items():
            if name not in had:
                operations.add_column(table, column)
    for index in part.indexes(new, dialect):
        # MySQL has no CREATE INDEX IF NOT EXISTS.
        if index.since > old and index.name not in _index_names(operations, index.table):
            names = list(index.columns)
            operations.create_index(index.name, index.table, names, **index.options)


def _with_existing_collation(
    operations: Operations, part: Definitions, found: _Found, version: int
) -> dict[str, Items]:
    """Return a version's tables with the collation of the tables that already exist.

    PostgreSQL cannot compare two columns with different collations, and the agent framework's
    tables have the database's own collation.
    """
    tables = part.tables(version, _dialect(operations))
    there = [table for table in tables if "thread_id" in found.get(table, ())]
    if there and _dialect(operations) == POSTGRESQL:
        collation = operations.get_bind().scalar(_COLLATION, {"table": there[0]})
        for items in tables.values():
            collate(items, operations.get_context().dialect, collation)
    return tables


def _create_missing_partitions(operations: Operations, table: str) -> None:
    """Create the missing partitions of a table on PostgreSQL."""
    if _is_offline(operations) or hash_partitions.are_missing(operations.get_bind(), table):
        operations.execute(hash_partitions.statement(table))


def _drop_newer(
    operations: Operations, part: Definitions, found: _Found, new: int, old: int
) -> None:
    """Drop the existing tables, columns and indexes of version `new` that `old` has not."""
    offline = _is_offline(operations)
    newer = part.tables(new, _dialect(operations))
    kept = part.tables(old, _dialect(operations))
    for index in reversed(part.indexes(new, _dialect(operations))):
        gone = index.since > old and index.table in kept  # else dropped with its table
        if gone and (offline or index.name in _index_names(operations, index.table)):
            operations.drop_index(index.name, index.table)
    for table in reversed(newer):
        if table not in kept:
            if offline or table in found:
                operations.drop_table(table, if_exists=True)
            continue
        stay = columns(kept[table])
        for name in reversed(columns(newer[table])):
            if name not in stay and (offline or name in found[table]):
                operations.drop_column(table, name)


def _require_known_version(part: Definitions, version: int) -> None:
    """Raise `ConfigurationError` if a version is not defined."""
    first, last = part.versions[0], part.versions[-1]
    known = f"versions {first} to {last}" if first < last else f"version {first}"
    if version not in part.versions:
        raise ConfigurationError(
            f"This release of threadlog has the schema {known}, not {version!r}. Use a version "
            "that it has, or upgrade threadlog."
        )


def _require_known_span(part: Definitions, earlier: int, later: int) -> None:
    """Raise `ConfigurationError` if a version is not defined or the order is wrong."""
    _require_known_version(part, earlier)
    _require_known_version(part, later)
    if earlier >= later:
        raise ConfigurationError(
            f"Schema version {later} is not later than {earlier}. An upgrade goes from an earlier "
            "schema version to a later one, a downgrade from a later one to an earlier one."
        )


def _require_one_of(
    operations: Operations, part: Definitions, found: _Found, versions: tuple[int, int], base: int
) -> None:
    """Raise `CubepiSchemaMismatch` unless the database has one of two versions, or is between.

    Args:
        operations: Alembic's operations of the migration.
        part: the part of the schema.
        found: the tables and columns that exist.
        versions: the allowed values of the version row; the row may be missing, as between the
            two statements that write it.
        base: the earlier of the two, all of whose columns must exist.
    """
    hint = f"The migration goes from version {versions[0]} to {versions[1]}; nothing was changed."
    if part.version_table in found:
        _require_version(operations, part, found, set(versions), hint)
    _require_columns(operations, part, found, base, whole=True)


def _require_version(
    operations: Operations, part: Definitions, found: _Found, allowed: set[int], hint: str
) -> None:
    """Raise `CubepiSchemaMismatch` if the version table has a version that is not allowed."""
    if "version" not in found.get(part.version_table, ()):
        return
    query = sa.text(f"SELECT version FROM {part.version_table}")
    if others := set(operations.get_bind().scalars(query)) - allowed:
        raise CubepiSchemaMismatch(expected=min(allowed), actual=max(others), hint=hint)


def _require_columns(
    operations: Operations, part: Definitions, found: _Found, version: int, *, whole: bool
) -> None:
    """Raise `CubepiSchemaMismatch` if existing tables lack columns of the version.

    If `whole`, a missing table is refused too.
    """
    if _is_offline(operations):
        return
    for table, items in part.tables(version, _dialect(operations)).items():
        if table not in found and not whole:
            continue
        lacking = columns(items).keys() - found.get(table, set())
        if lacking:
            reason = f"{table} lacks {', '.join(sorted(lacking))}"
            raise CubepiSchemaMismatch(
                expected=version,
                actual=0,
                hint=f"{reason if table in found else f'There is no {table}'}, so it is not of "
                f"version {version} whatever the version table says; nothing was changed.",
            )


def _existing_columns(operations: Operations, part: Definitions) -> _Found:
    """Return the existing tables and columns of a part; offline there are none."""
    if _is_offline(operations):
        return {}
    inspector = sa.inspect(operations.get_bind())
    ours = part.tables(part.versions[-1], _dialect(operations)).keys()
    return {
        table: {str(column["name"]) for column in inspector.get_columns(table)}
        for table in ours & set(inspector.get_table_names())
    }


def _index_names(operations: Operations, table: str) -> set[str]:
    """Return the names of a table's indexes; offline there are none."""
    if _is_offline(operations):
        return set()
    return {str(index["name"]) for index in sa.inspect(operations.get_bind()).get_indexes(table)}


def _is_offline(operations: Operations) -> bool:
    """Return True if statements are written as text, without a database to inspect."""
    return operations.get_context().as_sql


def _dialect(operations: Operations) -> str:
    """Return SQLAlchemy's name of the database's dialect."""
    return operations.get_context().dialect.name
