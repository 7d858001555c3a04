"""Alembic's environment, run by Alembic for each command of `threadlog.schema.migrate`.

The caller sets ``config.attributes``:

- ``part``: the `SchemaPart` whose revisions are run.
- ``command``: ``upgrade`` or ``downgrade``.
- ``connection``, online: a `sqlalchemy.Connection` in a transaction that the caller commits.
- ``url``, offline: a `sqlalchemy.URL`, of which only the dialect is used.
- ``chosen``, for an online upgrade: True if the part was asked for by name. If False, a part
  that an application may want to create in its own migrations is skipped.

An online upgrade sets ``config.attributes["outcome"]`` to the value of a
`threadlog.schema.migrate.Outcome`.
"""

from typing import Final

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Column, Connection, Inspector, MetaData, String, Table, inspect, text

from threadlog.errors import CubepiSchemaError, CubepiSchemaMismatch
from threadlog.migrations.history import hash_partitions
from threadlog.migrations.history.control import CONTROL
from threadlog.migrations.history.definitions import POSTGRESQL
from threadlog.migrations.history.graph_state import GRAPH_STATE
from threadlog.migrations.history.memory_store import MEMORY_STORE
from threadlog.migrations.history.message_log import MESSAGE_LOG
from threadlog.migrations.history.schema_names import in_schema, schema_of
from threadlog.migrations.history.search import SEARCH
from threadlog.migrations.history.server_metadata import SERVER_METADATA
from threadlog.models import SchemaPart

_APPLICATION_REVISION_TABLE: Final = "alembic_version"
_DEFINITIONS: Final = {
    "messages": MESSAGE_LOG,
    "graph": GRAPH_STATE,
    "store": MEMORY_STORE,
    "control": CONTROL,
    "metadata": SERVER_METADATA,
    "search": SEARCH,
}


def _upgrade(part: SchemaPart, connection: Connection, tables: set[str]) -> str:
    """Run the upgrade unless the application manages the part; return the outcome.

    A complete part that the application's own migrations manage gets no revision table: the
    application's next autogenerate would propose to drop that table. No other part is created
    in such an application's database unless it was asked for.
    """
    if _is_application_managed(part, connection, tables):
        return "external"
    if not context.config.attributes["chosen"] and _is_left_to_application(part, tables):
        return "skipped"
    complete = _is_complete(part, connection, tables)
    if not complete and part.revision_table in tables:
        _unstamp(part, connection, tables)
    _run_revisions(part, connection, tables)
    if complete:
        return "unchanged"
    return "created" if tables.isdisjoint(part.tables) else "completed"


def _is_application_managed(part: SchemaPart, connection: Connection, tables: set[str]) -> bool:
    """Return True if a part is complete and the application's own migrations created it."""
    return (
        _APPLICATION_REVISION_TABLE in tables
        and part.revision_table not in tables
        and _is_complete(part, connection, tables)
    )


def _is_left_to_application(part: SchemaPart, tables: set[str]) -> bool:
    """Return True if no table of a part exists and the application has a history of its own."""
    ours = {*part.tables, part.revision_table}
    return _APPLICATION_REVISION_TABLE in tables and tables.isdisjoint(ours)


def _is_complete(part: SchemaPart, connection: Connection, tables: set[str]) -> bool:
    """Return True if no table, column, index, partition or version row is missing."""
    inspector, schema = inspect(connection), schema_of(connection)
    name = in_schema(connection, part.version_table.name)
    versions = text(f"SELECT version FROM {name}")
    return (
        tables >= part.tables
        and all(_has_columns(inspector, schema, table) for table in part.metadata.tables.values())
        and _has_layout(part, connection, inspector)
        and list(connection.scalars(versions)) == [part.version]
    )


def _has_columns(inspector: Inspector, schema: str | None, table: Table) -> bool:
    """Return True if an existing table has the columns and indexes of the models."""
    columns = {column["name"] for column in inspector.get_columns(table.name, schema)}
    indexes = _index_names(inspector, schema, table.name)
    return columns >= set(table.columns.keys()) and indexes >= {i.name for i in table.indexes}


def _has_layout(part: SchemaPart, connection: Connection, inspector: Inspector) -> bool:
    """Return True if existing tables have the indexes and partitions that no model declares."""
    definitions = _DEFINITIONS[part.name]
    dialect = connection.dialect.name
    if dialect == "sqlite" and not {*definitions.sqlite_tables} <= {*inspector.get_table_names()}:
        return False
    indexes = [index for index in definitions.indexes(part.version, dialect) if index.dialect]
    schema = schema_of(connection)
    if any(index.name not in _index_names(inspector, schema, index.table) for index in indexes):
        return False
    return dialect != POSTGRESQL or not any(
        hash_partitions.are_missing(connection, table) for table in definitions.hash_partitioned
    )


def _index_names(inspector: Inspector, schema: str | None, table: str) -> set[str | None]:
    return {index["name"] for index in inspector.get_indexes(table, schema)}


def _unstamp(part: SchemaPart, connection: Connection, tables: set[str]) -> None:
    """Delete the newest revision from the revision table, so that Alembic runs it again.

    Some of the tables, columns or indexes that the revision created were dropped. A revision
    of a newer release is not deleted: that release may have removed them on purpose.

    Raises:
        CubepiSchemaMismatch: the version table was dropped, but not all data tables were.
    """
    deleted = connection.execute(
        text(f"DELETE FROM {in_schema(connection, part.revision_table)} WHERE version_num = :head"),
        {"head": context.get_head_revision()},
    )
    data_tables, version_table = tables & part.tables, part.version_table.name
    if deleted.rowcount and data_tables and version_table not in tables:
        raise CubepiSchemaMismatch(
            expected=part.version,
            actual=0,
            hint=(
                "threadlog migrated this database, but only these tables are left: "
                f"{', '.join(sorted(data_tables))}, as after an interrupted downgrade. If they "
                f"contain all of the data, run the statements on {version_table} that "
                f"`threadlog migrate URL --part {part.name} --sql` prints, then migrate again. "
                "Otherwise restore a "
                "backup, or drop these tables. Nothing was changed."
            ),
        )


def _run_revisions(part: SchemaPart, connection: Connection, tables: set[str]) -> None:
    """Run the revisions; drop a revision table created here if a revision raises."""
    context.configure(
        connection=connection,
        target_metadata=part.metadata,
        version_table=part.revision_table,
        version_table_schema=schema_of(connection),
    )
    try:
        with context.begin_transaction():
            _revision_table(part).create(connection, checkfirst=True)
            context.run_migrations()
    except (CubepiSchemaError, CommandError):
        if part.revision_table not in tables:  # created before the revision ran
            connection.execute(text(f"DROP TABLE {in_schema(connection, part.revision_table)}"))
        raise


def _revision_table(part: SchemaPart) -> Table:
    """Return Alembic's revision table without a name for its primary key.

    MariaDB ignores that name with a warning, which drivers pass on.
    """
    key = Column("version_num", String(32), primary_key=True)
    return Table(part.revision_table, MetaData(), key)


def _run() -> None:
    """Run online or offline, as Alembic's command requires.

    Raises:
        CubepiSchemaError: the database contains tables that must not be changed; nothing was
            changed.
    """
    attributes = context.config.attributes
    part = attributes["part"]
    if context.is_offline_mode():  # the statements are written as SQL text
        context.configure(
            dialect_name=attributes["url"].get_backend_name(),
            version_table=part.revision_table,
            literal_binds=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        return
    connection = attributes["connection"]
    tables = set(inspect(connection).get_table_names(schema_of(connection)))
    if attributes["command"] == "upgrade":
        attributes["outcome"] = _upgrade(part, connection, tables)
    elif part.revision_table in tables:
        _run_revisions(part, connection, tables)


_run()
