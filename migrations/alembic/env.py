"""Alembic's environment, run by Alembic for each command of `threadlog.schema.migrate`.

``config.attributes["part"]`` is the `SchemaPart` that the revisions are of.

Online, the caller gives a `sqlalchemy.Connection` as ``config.attributes["connection"]``, in a
transaction that is the caller's to commit. Offline, the caller gives a `sqlalchemy.URL` as
``config.attributes["url"]``, of which only the dialect is used.

``config.attributes["command"]`` is ``upgrade`` or ``downgrade``. An online upgrade leaves in
``config.attributes["outcome"]`` what it did; see `threadlog.schema.migrate.Outcome`. One that
leaves alone what a host may want in migrations of its own has ``config.attributes["chosen"]``
false: nobody asked for the part by name.
"""

from typing import Final

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Column, Connection, Inspector, MetaData, String, Table, inspect, text

from threadlog.errors import CubepiSchemaError, CubepiSchemaMismatch
from threadlog.migrations.history import hash_partitions
from threadlog.migrations.history.definitions import POSTGRESQL, Definitions
from threadlog.migrations.history.graph_state import GRAPH_STATE
from threadlog.migrations.history.message_log import MESSAGE_LOG
from threadlog.models import PARTS, PartName, SchemaPart

_HOSTS_TABLE: Final = "alembic_version"

_DEFINITIONS: Final[dict[PartName, Definitions]] = {
    "messages": MESSAGE_LOG,
    "graph": GRAPH_STATE,
}


def _run_offline(part: SchemaPart, dialect: str) -> None:
    """Write the statements as text."""
    context.configure(dialect_name=dialect, version_table=part.revision_table, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def _run_online(part: SchemaPart, connection: Connection) -> None:
    """Do the command on a connection; a database that is refused is left as it was.

    Raises:
        CubepiSchemaError: the database holds what is not to be touched.
    """
    tables = set(inspect(connection).get_table_names())
    if context.config.attributes["command"] == "upgrade":
        context.config.attributes["outcome"] = _upgrade(part, connection, tables)
    elif part.revision_table in tables:
        _run_revisions(part, connection, tables)


def _upgrade(part: SchemaPart, connection: Connection, tables: set[str]) -> str:
    """Upgrade what is not complete, and say what was done.

    What is complete and the host's gets no bookkeeping: the host's next autogenerate would
    see a table that it has to drop. Nor is such a host given another part unasked.
    """
    if _is_hosts(part, connection, tables):
        return "external"
    if not context.config.attributes["chosen"] and _has_a_host(part, connection, tables):
        return "skipped"
    complete = _is_complete(part, connection, tables)
    if not complete and part.revision_table in tables:
        _unstamp(part, connection, tables)
    _run_revisions(part, connection, tables)
    if complete:
        return "unchanged"
    return "created" if tables.isdisjoint(part.tables) else "completed"


def _is_hosts(part: SchemaPart, connection: Connection, tables: set[str]) -> bool:
    """Say whether a part is complete, and made by the host's own migrations."""
    return (
        _HOSTS_TABLE in tables
        and part.revision_table not in tables
        and _is_complete(part, connection, tables)
    )


def _has_a_host(part: SchemaPart, connection: Connection, tables: set[str]) -> bool:
    """Say whether nothing is there of a part in a database where another is the host's."""
    return tables.isdisjoint({*part.tables, part.revision_table}) and any(
        _is_hosts(other, connection, tables) for other in PARTS
    )


def _is_complete(part: SchemaPart, connection: Connection, tables: set[str]) -> bool:
    """Say whether tables, columns, indexes, partitions and version are all there."""
    inspector = inspect(connection)
    if not tables >= part.tables:
        return False
    if not all(_has_columns(inspector, table) for table in part.metadata.tables.values()):
        return False
    if not _has_layout(part, connection, inspector):
        return False
    versions = connection.scalars(text(f"SELECT version FROM {part.version_table.name}"))
    return list(versions) == [part.version]


def _has_columns(inspector: Inspector, table: Table) -> bool:
    """Say whether an existing table has the columns and indexes of the models."""
    columns = {column["name"] for column in inspector.get_columns(table.name)}
    indexes = _indexes(inspector, table.name)
    return columns >= set(table.columns.keys()) and indexes >= {i.name for i in table.indexes}


def _has_layout(part: SchemaPart, connection: Connection, inspector: Inspector) -> bool:
    """Say whether existing tables have what only migrations know of."""
    made, dialect = _DEFINITIONS[part.name], connection.dialect.name
    wanted = {
        (index.table, index.name)
        for index in made.indexes(part.version, dialect)
        if index.dialect is not None
    }
    if any(name not in _indexes(inspector, table) for table, name in wanted):
        return False
    return dialect != POSTGRESQL or not any(
        hash_partitions.are_missing(connection, table) for table in made.hash_partitioned
    )


def _indexes(inspector: Inspector, table: str) -> set[str | None]:
    return {index["name"] for index in inspector.get_indexes(table)}


def _unstamp(part: SchemaPart, connection: Connection, tables: set[str]) -> None:
    """Forget that the database is at the newest revision, so that it is run again.

    Somebody dropped what it made. A revision of a newer release is not forgotten: what is
    missing may be missing on purpose.

    Raises:
        CubepiSchemaMismatch: the version table was dropped, but not all data tables were.
    """
    deleted = connection.execute(
        text(f"DELETE FROM {part.revision_table} WHERE version_num = :head"),
        {"head": context.get_head_revision()},
    )
    data_tables, version_table = tables & part.tables, part.version_table.name
    if deleted.rowcount and data_tables and version_table not in tables:
        raise CubepiSchemaMismatch(
            expected=part.version,
            actual=0,
            hint=(
                "threadlog migrated this database, but of its tables only "
                f"{', '.join(sorted(data_tables))} are left, as after a downgrade that broke "
                "off. If they hold all of the data, run the statements on "
                f"{version_table} that `threadlog migrate URL --sql` shows, then "
                "migrate again; else restore a backup, or drop them. Nothing was changed."
            ),
        )


def _run_revisions(part: SchemaPart, connection: Connection, tables: set[str]) -> None:
    """Let Alembic run the revisions; where one refuses, leave no bookkeeping behind."""
    context.configure(
        connection=connection, target_metadata=part.metadata, version_table=part.revision_table
    )
    try:
        with context.begin_transaction():
            _bookkeeping(part).create(connection, checkfirst=True)
            context.run_migrations()
    except (CubepiSchemaError, CommandError):
        if part.revision_table not in tables:  # Alembic made it before it asked the revision
            connection.execute(text(f"DROP TABLE {part.revision_table}"))
        raise


def _bookkeeping(part: SchemaPart) -> Table:
    """Give the table that Alembic would make, but for a name of its key.

    MariaDB warns that it ignores the name, and drivers pass that on.
    """
    key = Column("version_num", String(32), primary_key=True)
    return Table(part.revision_table, MetaData(), key)


def _run() -> None:
    """Run in the mode that Alembic's command asked for."""
    attributes = context.config.attributes
    if context.is_offline_mode():
        _run_offline(attributes["part"], attributes["url"].get_backend_name())
        return
    _run_online(attributes["part"], attributes["connection"])


_run()
