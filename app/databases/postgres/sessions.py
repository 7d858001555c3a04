"""Open sessions with the settings that the statements rely on, also behind a pooler.

Poolers refuse or ignore ``options`` of a new connection, so the settings are sent afterwards. A
pooler such as PgBouncer in transaction mode runs each transaction in another session of the
server, which its clients share. Behind one, each BEGIN sends the settings for its transaction,
every statement runs in a transaction, and statements are prepared without a name.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection


@dataclass
class SessionSettings:
    """The settings of the sessions of one engine."""

    values: Mapping[str, str]
    """The values of the server's parameters."""

    pooled: bool
    """True if a pooler is known to be between the engine and the server."""

    def statement(self, pid: int | None = None) -> str:
        """Return the statement that sets the values.

        Args:
            pid: the process that serves the connection, as it was told to the driver. If
                another one runs the statement, it sets nothing and returns no row. None sets
                the values for the current transaction.
        """
        calls = ", ".join(
            f"set_config({_quote(name)}, {_quote(value)}, {pid is None})"
            for name, value in self.values.items()
        )
        return f"SELECT {calls}" + ("" if pid is None else f" WHERE pg_backend_pid() = {pid}")


def open_session(
    dialect: Dialect, arguments: Sequence[Any], options: Mapping[str, Any]
) -> DBAPIConnection:
    """Connect and set the settings, for the session or for each of its transactions.

    A pooler is noticed by its answer, which names no process of the server. Then it connects
    again, with the driver's arguments for a pooler.

    Args:
        dialect: the engine's dialect.
        arguments: the driver's positional arguments.
        options: the driver's other arguments, and the engine's `SessionSettings` as ``settings``.
    """
    options = dict(options)
    settings: SessionSettings = options.pop("settings")
    # asyncpg_sessions or psycopg_sessions: each imports its driver, and only one may be installed.
    driver = import_module(f"threadlog.databases.postgres.{dialect.driver}_sessions")
    while True:
        connection: DBAPIConnection = driver.connect(
            dialect, arguments, options, pooled=settings.pooled
        )
        with ExitStack() as closing:
            closing.callback(dialect.do_terminate, connection)
            if driver.configure(connection, options, settings):
                closing.pop_all()
                return connection
        settings.pooled = True


def _quote(text: str) -> str:
    """Return a literal that does not depend on standard_conforming_strings."""
    return "E'{}'".format(text.replace("\\", "\\\\").replace("'", "''"))
