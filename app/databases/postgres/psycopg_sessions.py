"""Connections of psycopg, to a server or to a pooler. Imported only if it is the driver.

They limit the time that the server may take to answer. The driver and the C library below it
limit the time to connect only.
"""

import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from psycopg import Connection, OperationalError
from sqlalchemy import Dialect

from threadlog.databases.postgres.sessions import SessionSettings


class LimitedConnection(Connection[Any]):
    """A connection that waits for an answer until a limit."""

    _read_timeout: float | None = None
    """Seconds to wait for an answer; None for no limit."""

    settings_of_transaction = b""
    """Sets the settings for a transaction."""

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Wait for an answer. Each of the driver's methods waits here.

        Raises:
            OperationalError: the limit was reached; the connection is closed.
        """
        if self._read_timeout is not None:
            gen = self._limited(gen, self._read_timeout)
        return super().wait(gen, *args, **kwargs)

    def _limited(self, gen: Generator[Any, Any, Any], seconds: float) -> Generator[Any, Any, Any]:
        """Run the driver's generator; the driver resumes it ten times a second at least."""
        end = time.monotonic() + seconds
        ready: Any = None
        while True:
            try:
                wanted = gen.send(ready)
            except StopIteration as stop:
                return stop.value
            ready = yield wanted
            if not ready and time.monotonic() > end:
                self.pgconn.finish()
                raise OperationalError(f"timed out: no answer within {seconds:g} s (read_timeout)")


class PooledConnection(LimitedConnection):
    """A connection to a pooler: each transaction may run in another session of the server."""

    def _start_query(self) -> Generator[Any, Any, None]:
        """Begin a transaction if necessary, with the settings."""
        before = self.info.transaction_status
        yield from super()._start_query()
        if self.info.transaction_status != before:
            yield from self._exec_command(self.settings_of_transaction)


def connect(
    _: Dialect, arguments: Sequence[Any], options: Mapping[str, Any], *, pooled: bool
) -> LimitedConnection:
    """Connect."""
    if pooled:
        options = {**options, "prepare_threshold": None}
    kind = PooledConnection if pooled else LimitedConnection
    return kind.connect(*arguments, **options, autocommit=True)


def configure(connection: Any, options: Mapping[str, Any], settings: SessionSettings) -> bool:
    """Set the settings; return False if a pooler is in between and was not known."""
    statement = settings.statement(None if settings.pooled else connection.info.backend_pid)
    connection._read_timeout = options["connect_timeout"]  # noqa: SLF001 - of this module
    rows = connection.execute(statement).rowcount
    connection.autocommit = False
    connection.settings_of_transaction = statement.encode()
    return bool(rows)
