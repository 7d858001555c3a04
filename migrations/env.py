"""Alembic's environment, run by Alembic for each command of `threadlog.migrating`.

Online, the caller gives a `sqlalchemy.Connection` as ``config.attributes["connection"]``. A
transaction that the caller began is the caller's to commit; where none was begun, one is
begun and committed here. Offline, the caller gives a `sqlalchemy.URL` as
``config.attributes["url"]``, of which only the dialect is used.
"""

from contextlib import nullcontext
from typing import Final

from alembic import context
from sqlalchemy import Connection, inspect, text

from threadlog.errors import CubepiSchemaError
from threadlog.models import cubepi_metadata

_VERSION_TABLE: Final = "threadlog_alembic_version"
"""Where Alembic keeps the revision: not in the host's ``alembic_version``."""


def _run_offline(dialect: str) -> None:
    """Write the statements as text."""
    context.configure(dialect_name=dialect, version_table=_VERSION_TABLE, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def _run_online(connection: Connection) -> None:
    """Run the migrations on a connection; a database that is refused is left as it was.

    Raises:
        CubepiSchemaError: a revision refused what the database holds.
    """
    tables = set(inspect(connection).get_table_names())
    if _VERSION_TABLE in tables and tables.isdisjoint(cubepi_metadata.tables):
        # Somebody dropped the tables by hand: there is nothing left to be at a revision.
        connection.execute(text(f"DELETE FROM {_VERSION_TABLE}"))
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
    connection = attributes["connection"]
    with nullcontext() if connection.in_transaction() else connection.begin():
        _run_online(connection)


_run()
