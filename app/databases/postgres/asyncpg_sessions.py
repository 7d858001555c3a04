"""Connections of asyncpg, to a server or to a pooler. Imported only if it is the driver."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from asyncpg import Connection  # type: ignore[import-untyped]  # has no types
from sqlalchemy import Dialect

from threadlog.databases.postgres.sessions import SessionSettings


class PooledConnection(Connection):  # type: ignore[misc] # see above
    """A connection to a pooler: each transaction may run in another session of the server."""

    settings_of_transaction = ""

    async def execute(self, query: str, *args: Any, **options: Any) -> Any:
        """Execute a statement, with the settings if it begins a transaction."""
        settings = self.settings_of_transaction if query.startswith("BEGIN") else ""
        return await super().execute(query + settings, *args, **options)


_POOLED: Final[Mapping[str, Any]] = {
    "connection_class": PooledConnection,
    # Without a cache and a name asyncpg sends a statement's text with each execution.
    "statement_cache_size": 0,
    "prepared_statement_name_func": str,
}


def connect(
    dialect: Dialect, arguments: Sequence[Any], options: Mapping[str, Any], *, pooled: bool
) -> Any:
    """Connect; return SQLAlchemy's connection."""
    return dialect.connect(*arguments, **options, **(_POOLED if pooled else {}))


def configure(connection: Any, options: Mapping[str, Any], settings: SessionSettings) -> bool:
    """Set the settings; return False if a pooler is in between and was not known."""
    driver = connection.driver_connection
    statement = settings.statement(None if settings.pooled else driver.get_server_pid())
    # Without arguments asyncpg prepares nothing.
    status = connection.run_async(lambda c: c.execute(statement, timeout=options["timeout"]))
    if settings.pooled:
        driver.settings_of_transaction = statement
    return bool(status == "SELECT 1")
