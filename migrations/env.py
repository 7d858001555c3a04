"""Alembic's environment, run by Alembic for each command of `threadlog.migrating`.

Online, the caller gives a `sqlalchemy.Connection` as ``config.attributes["connection"]``, in a
transaction that is the caller's to commit. Offline, the caller gives a `sqlalchemy.URL` as
``config.attributes["url"]``, of which only the dialect is used.

``config.attributes["command"]`` is ``upgrade`` or ``downgrade``. An online upgrade leaves in
``config.attributes["outcome"]`` what it did; see `threadlog.migrating.Outcome`.
"""

from typing import Final

from alembic import context
from sqlalchemy import Connection, Inspector, Table, inspect, text

from threadlog.errors import CubepiSchemaError, CubepiSchemaMismatch
from threadlog.models import EXPECTED_SCHEMA_VERSION, SchemaVersion, cubepi_metadata

_VERSION_TABLE: Final = "threadlog_alembic_version"
"""Where Alembic keeps the revision: not in the host's table."""

_HOSTS_TABLE: Final = "alembic_version"
_TABLES: Final = cubepi_metadata.tables.keys()


def _run_offline(dialect: str) -> None:
    """Write the statements as text."""
    context.configure(dialect_name=dialect, version_table=_VERSION_TABLE, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def _run_online(connection: Connection) -> None:
    """Do the command on a connection; a database that is refused is left as it was.

    Raises:
        CubepiSchemaError: the database holds what is not to be touched.
    """
    tables = set(inspect(connection).get_table_names())
    if context.config.attributes["command"] == "upgrade":
        _upgrade(connection, tables)
    elif _VERSION_TABLE in tables:
        _run_revisions(connection, tables)


def _upgrade(connection: Connection, tables: set[str]) -> None:
    """Upgrade what is not complete; what is complete and the host's gets no bookkeeping.

    The host's next autogenerate would see a table that it has to drop.
    """
    attributes = context.config.attributes
    complete = _is_complete(connection, tables)
    if complete and _HOSTS_TABLE in tables and _VERSION_TABLE not in tables:
        attributes["outcome"] = "host's"
        return
    if not complete and _VERSION_TABLE in tables:
        _forget(connection, tables)
    _run_revisions(connection, tables)
    attributes["outcome"] = (
        "there already" if complete else "created" if tables.isdisjoint(_TABLES) else "completed"
    )


def _is_complete(connection: Connection, tables: set[str]) -> bool:
    """Say whether tables, columns, indexes and version are all those of the models."""
    inspector = inspect(connection)
    if not tables >= _TABLES:
        return False
    if not all(_is_whole(inspector, table) for table in cubepi_metadata.tables.values()):
        return False
    versions = connection.scalars(text(f"SELECT version FROM {SchemaVersion.__tablename__}"))
    return list(versions) == [EXPECTED_SCHEMA_VERSION]


def _is_whole(inspector: Inspector, table: Table) -> bool:
    """Say whether an existing table has the columns and indexes of the models."""
    columns = {column["name"] for column in inspector.get_columns(table.name)}
    indexes = {index["name"] for index in inspector.get_indexes(table.name)}
    return columns >= set(table.columns.keys()) and indexes >= {i.name for i in table.indexes}


def _forget(connection: Connection, tables: set[str]) -> None:
    """Forget that the database is at the newest revision, so that it is run again.

    Somebody dropped what it made. A revision of a newer release is not forgotten: what is
    missing may be missing on purpose.

    Raises:
        CubepiSchemaMismatch: the version table was dropped, but not all data tables were.
    """
    deleted = connection.execute(
        text(f"DELETE FROM {_VERSION_TABLE} WHERE version_num = :head"),
        {"head": context.get_head_revision()},
    )
    data_tables = tables & _TABLES
    if deleted.rowcount and data_tables and SchemaVersion.__tablename__ not in tables:
        raise CubepiSchemaMismatch(
            expected=EXPECTED_SCHEMA_VERSION,
            actual=0,
            hint=(
                "threadlog migrated this database, but of its tables only "
                f"{', '.join(sorted(data_tables))} are left, as after a downgrade that broke "
                "off. If they hold all of the data, run the statements on "
                f"{SchemaVersion.__tablename__} that `threadlog migrate URL --sql` shows, then "
                "migrate again; else restore a backup, or drop them. Nothing was changed."
            ),
        )


def _run_revisions(connection: Connection, tables: set[str]) -> None:
    """Let Alembic run the revisions; where one refuses, leave no bookkeeping behind."""
    context.configure(
        connection=connection, target_metadata=cubepi_metadata, version_table=_VERSION_TABLE
    )
    try:
        with context.begin_transaction():
            context.run_migrations()
    except CubepiSchemaError:
        if _VERSION_TABLE not in tables:  # Alembic made it before it asked the revision
            connection.execute(text(f"DROP TABLE {_VERSION_TABLE}"))
        raise


def _run() -> None:
    """Run in the mode that Alembic's command asked for."""
    attributes = context.config.attributes
    if context.is_offline_mode():
        _run_offline(attributes["url"].get_backend_name())
        return
    _run_online(attributes["connection"])


_run()
