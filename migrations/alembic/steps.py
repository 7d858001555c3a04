"""Takes a database from one version of the schema to another, by Alembic's operations.

MySQL commits each DDL statement by itself, so a run may break off anywhere and must be able
to begin again: every step looks first whether it is done, and the version row is written
when all else is there, or, on the way down, before anything goes. Nobody opens what is half
done. On PostgreSQL and SQLite a migration is one transaction, if whoever runs it begins one.

Offline (``alembic upgrade --sql``) there is nothing to look at: the text is that of a run
in which everything is as the versions say.
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
"""The columns of those of our tables that the database has."""

_COLLATION: Final = sa.text(
    "SELECT collname FROM pg_attribute JOIN pg_collation ON pg_collation.oid = attcollation "
    "WHERE attrelid = to_regclass(:table) AND attname = 'thread_id'"
)


def create_schema(operations: Operations, version: int, part: Definitions = MESSAGE_LOG) -> None:
    """Create what is missing of a version's tables, then write the version row.

    The version table is made first and its row written last: data tables beside an *empty*
    version table are a run's that broke off, and are completed. Data tables *without* a
    version table are not ours to judge, and are refused. Tables of this version that another
    tool made are adopted: they stay as they are and are given the indexes that they lack.

    Args:
        operations: Alembic's, of a migration.
        version: the version of the part.
        part: the part of the schema.

    Raises:
        ConfigurationError: the version is unknown.
        CubepiSchemaMismatch: the database holds tables that are not of this version; nothing
            was changed.
    """
    _require_known_version(part, version)
    found = _look(operations, part)
    if found and part.version_table not in found:
        raise CubepiSchemaMismatch(
            expected=version,
            actual=0,
            hint=f"There are data tables ({', '.join(sorted(found))}) but no version table. "
            f"Upgrade them to version {version} with the migrations that made them and let those "
            f"write {part.version_table}; nothing was changed.",
        )
    hint = f"Upgrade to version {version} with {part.upgraded_by}; nothing was changed."
    _refuse_versions(operations, part, found, {version}, hint)
    _refuse_lacking(operations, part, found, version, whole=False)
    _add(operations, part, found, 0, version)
    write_version(operations, version, part)


def upgrade_schema(operations: Operations, from_version: int, to_version: int) -> None:
    """Add to the message log of one version what a later one has, then write the version row.

    Rows keep their values; new columns are NULL. A database that has the later version
    already is completed where something is missing.

    Raises:
        ConfigurationError: a version is unknown, or the second is not the later one.
        CubepiSchemaMismatch: the database has neither version; nothing was changed.
    """
    part = MESSAGE_LOG  # the only one that has more than one version
    _know_span(part, from_version, to_version)
    found = _look(operations, part)
    _refuse_unlike(operations, part, found, (from_version, to_version), from_version)
    _add(operations, part, found, from_version, to_version)
    write_version(operations, to_version, part)


def downgrade_schema(operations: Operations, from_version: int, to_version: int) -> None:
    """Write an earlier version of the message log, then drop what it does not have.

    Raises:
        ConfigurationError: a version is unknown, or the second is not the earlier one.
        CubepiSchemaMismatch: the database has neither version; nothing was changed.
    """
    part = MESSAGE_LOG
    _know_span(part, to_version, from_version)
    found = _look(operations, part)
    _refuse_unlike(operations, part, found, (from_version, to_version), to_version)
    write_version(operations, to_version, part)
    _remove(operations, part, found, from_version, to_version)


def drop_schema(operations: Operations, version: int, part: Definitions = MESSAGE_LOG) -> None:
    """Drop a version's tables with all that they hold.

    The version table goes first, so that nobody opens what is half dropped.

    Raises:
        ConfigurationError: the version is unknown.
    """
    _require_known_version(part, version)
    found = _look(operations, part)
    names = [part.version_table, *reversed(part.tables(version, _dialect(operations)))]
    for table in dict.fromkeys(names):
        if _is_offline(operations) or table in found:
            operations.drop_table(table, if_exists=True)


def write_version(operations: Operations, version: int, part: Definitions = MESSAGE_LOG) -> None:
    """Make the version table say a version, whatever it said.

    Raises:
        ConfigurationError: the version is unknown.
    """
    _require_known_version(part, version)
    operations.execute(f"DELETE FROM {part.version_table}")
    operations.execute(f"INSERT INTO {part.version_table} (version) VALUES ({version:d})")


def _add(operations: Operations, part: Definitions, found: _Found, old: int, new: int) -> None:
    """Add what one version has and an older one, or 0, has not, so far as it is missing."""
    dialect = _dialect(operations)
    older = part.tables(old, dialect)
    for table, items in _as_found(operations, part, found, new).items():
        if table not in older:
            # IF NOT EXISTS would do, but where the table exists drivers show its warning.
            if table not in found:
                options = part.options(table)
                operations.create_table(table, *items, if_not_exists=True, **options)
            if dialect == POSTGRESQL and table in part.hash_partitioned:
                _add_partitions(operations, table)
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


def _as_found(
    operations: Operations, part: Definitions, found: _Found, version: int
) -> dict[str, Items]:
    """Give a version's tables, their text collated as that of tables which are there already.

    PostgreSQL compares no two columns that are collated unlike, and the framework's tables
    have the database's own collation.
    """
    tables = part.tables(version, _dialect(operations))
    there = [table for table in tables if "thread_id" in found.get(table, ())]
    if there and _dialect(operations) == POSTGRESQL:
        collation = operations.get_bind().scalar(_COLLATION, {"table": there[0]})
        for items in tables.values():
            collate(items, operations.get_context().dialect, collation)
    return tables


def _add_partitions(operations: Operations, table: str) -> None:
    """Create what a table of PostgreSQL lacks of its partitions."""
    if _is_offline(operations) or hash_partitions.are_missing(operations.get_bind(), table):
        operations.execute(hash_partitions.statement(table))


def _remove(operations: Operations, part: Definitions, found: _Found, new: int, old: int) -> None:
    """Drop what one version has and an older one has not, so far as it is there."""
    offline = _is_offline(operations)
    newer = part.tables(new, _dialect(operations))
    kept = part.tables(old, _dialect(operations))
    for index in reversed(part.indexes(new, _dialect(operations))):
        gone = index.since > old and index.table in kept  # else it goes with its table
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
    """Refuse a version that is not defined."""
    first, last = part.versions[0], part.versions[-1]
    known = f"versions {first} to {last}" if first < last else f"version {first}"
    if version not in part.versions:
        raise ConfigurationError(
            f"This release of threadlog knows the schema {known}, not {version!r}."
        )


def _know_span(part: Definitions, earlier: int, later: int) -> None:
    """Refuse versions that are not defined or in the wrong order."""
    _require_known_version(part, earlier)
    _require_known_version(part, later)
    if earlier >= later:
        raise ConfigurationError(
            "An upgrade goes from an earlier schema version to a later one, a downgrade from a "
            f"later one to an earlier one; the versions given are {later} and {earlier}."
        )


def _refuse_unlike(
    operations: Operations, part: Definitions, found: _Found, versions: tuple[int, int], base: int
) -> None:
    """Go on only with a database of one of two versions, or between them.

    Args:
        operations: where to look.
        part: the part of the schema.
        found: what was found there.
        versions: what the version row may say; it may be missing, as between the two
            statements that write it.
        base: the earlier of the two, all of whose columns must be there.
    """
    hint = f"The migration goes from version {versions[0]} to {versions[1]}; nothing was changed."
    if part.version_table in found:
        _refuse_versions(operations, part, found, set(versions), hint)
    _refuse_lacking(operations, part, found, base, whole=True)


def _refuse_versions(
    operations: Operations, part: Definitions, found: _Found, allowed: set[int], hint: str
) -> None:
    """Go on only if the version table says no version but those."""
    if "version" not in found.get(part.version_table, ()):
        return
    query = sa.text(f"SELECT version FROM {part.version_table}")
    if others := set(operations.get_bind().scalars(query)) - allowed:
        raise CubepiSchemaMismatch(expected=min(allowed), actual=max(others), hint=hint)


def _refuse_lacking(
    operations: Operations, part: Definitions, found: _Found, version: int, *, whole: bool
) -> None:
    """Go on only if the tables that are there have the version's columns; none, if `whole`."""
    if _is_offline(operations):
        return
    for table, items in part.tables(version, _dialect(operations)).items():
        if table not in found and not whole:
            continue
        lacking = columns(items).keys() - found.get(table, set())
        if lacking:
            what = f"{table} lacks {', '.join(sorted(lacking))}"
            raise CubepiSchemaMismatch(
                expected=version,
                actual=0,
                hint=f"{what if table in found else f'There is no {table}'}, so it is not of "
                f"version {version} whatever the version table says; nothing was changed.",
            )


def _look(operations: Operations, part: Definitions) -> _Found:
    """Give the tables and columns of a part that the database has; offline it has none."""
    if _is_offline(operations):
        return {}
    inspector = sa.inspect(operations.get_bind())
    ours = part.tables(part.versions[-1], _dialect(operations)).keys()
    return {
        table: {str(column["name"]) for column in inspector.get_columns(table)}
        for table in ours & set(inspector.get_table_names())
    }


def _index_names(operations: Operations, table: str) -> set[str]:
    """Name the indexes that a table has now; offline it has none."""
    if _is_offline(operations):
        return set()
    return {str(index["name"]) for index in sa.inspect(operations.get_bind()).get_indexes(table)}


def _is_offline(operations: Operations) -> bool:
    """Say whether statements are written as text, with no database to look at."""
    return operations.get_context().as_sql


def _dialect(operations: Operations) -> str:
    """Name the kind of database."""
    return operations.get_context().dialect.name
