"""Connect to the primary among several PostgreSQL servers.

A new connection tries the servers, beginning with the last primary, and skips those that are
read-only, such as a standby. A connection is discarded when its server refuses to write. If the
URL has one host, its server is not checked.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import Dialect, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from threadlog.databases.postgres.errors import (
    connecting_type,
    ends_session,
    refuses_writes,
    sqlstate_of,
)
from threadlog.databases.postgres.sessions import open_session
from threadlog.databases.urls import Host, parse_hosts
from threadlog.errors import (
    ConnectionLostError,
    NoPrimaryError,
    StorageError,
)

_LOG: Final = logging.getLogger(__name__)

_SETTINGS: Final = "threadlog_settings"  # in the pool's record of a connection

# psycopg has no code for it. The second text is threadlog's own.
_TIMED_OUT: Final = ("timeout expired", "(read_timeout)")
# The texts of both drivers if a server answers but is not writable.
_NOT_WRITABLE: Final = ("read-only", "target attribute")


def connect_to_servers(engine: Engine) -> None:
    """Connect an engine of threadlog's within its limits, and to a writable server.

    Args:
        engine: an engine of PostgreSQL that is not connected yet.
    """
    event.listen(engine, "do_connect", PrimaryLocator(parse_hosts(engine.url)).connect)
    event.listen(engine, "connect", partial(_end_autocommit, engine.dialect))
    event.listen(engine, "handle_error", _discard_connections)


class PrimaryLocator:
    """Finds the primary among hosts, and remembers it for the next connection."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = hosts
        self._last = hosts[0] if hosts else None

    def connect(
        self,
        dialect: Dialect,
        record: ConnectionPoolEntry,
        arguments: tuple[Any, ...],
        options: dict[str, Any],
    ) -> DBAPIConnection:
        """Connect in place of SQLAlchemy.

        Raises:
            NoPrimaryError: at least one host answers, but none is writable.
            ConnectionLostError: none of several hosts can be used; a more specific error if all
                hosts have the same fault.
        """
        record.info[_SETTINGS] = options["settings"]
        if len(self._hosts) < 2:  # noqa: PLR2004 - several
            return _connect(dialect, arguments, options)
        errors: dict[Host, Exception] = {}
        for host in sorted(self._hosts, key=lambda host: host != self._last):
            options_of_host = {
                **options,
                "host": host.name,
                "port": host.port,
                "target_session_attrs": "read-write",
            }
            try:
                connection = _connect(dialect, arguments, options_of_host)
            except dialect.loaded_dbapi.Error as error:
                errors[host] = error
            else:
                if errors:
                    _LOG.warning("Connected to %s, as others failed: %s", host, _faults(errors))
                self._last = host
                return connection
        # Begin with a host that answers next time: a machine that is gone costs a timeout.
        answered = [host for host, error in errors.items() if _is_not_writable(error)]
        self._last = answered[0] if answered else self._last
        raise _no_primary(errors) from errors[self._last or self._hosts[0]]


def _end_autocommit(dialect: Dialect, connection: Any, entry: ConnectionPoolEntry) -> None:
    """End autocommit behind a pooler, where BEGIN sends the settings, for reads too."""
    if entry.info[_SETTINGS].pooled and connection.autocommit:
        dialect.set_isolation_level(connection, "READ COMMITTED")


def _connect(
    dialect: Dialect, arguments: tuple[Any, ...], options: dict[str, Any]
) -> DBAPIConnection:
    """Connect, and raise every failure as an error of the DBAPI.

    While asyncpg connects, it raises its own errors and those of the network.
    """
    try:
        return open_session(dialect, arguments, options)
    except dialect.loaded_dbapi.Error as error:
        if not any(text in str(error) for text in _TIMED_OUT):
            raise
        raise dialect.loaded_dbapi.OperationalError(_too_late(options)) from error
    except TimeoutError as error:
        raise dialect.loaded_dbapi.OperationalError(_too_late(options)) from error
    except (OSError, EOFError) as error:
        raise dialect.loaded_dbapi.OperationalError(str(error)) from error
    except Exception as error:
        if sqlstate_of(error) is None and not type(error).__module__.startswith("asyncpg"):
            raise
        raise dialect.loaded_dbapi.OperationalError(str(error)) from error


def _too_late(options: Mapping[str, Any]) -> str:
    seconds = options.get("timeout", options.get("connect_timeout"))
    return f"no connection within {seconds:g} s (connect_timeout)"


def _no_primary(errors: Mapping[Host, Exception]) -> StorageError:
    """Return the error that names the fault of each host."""
    text = _faults(errors)
    if any(map(_is_not_writable, errors.values())):
        return NoPrimaryError(text)
    kinds = set(map(connecting_type, errors.values()))
    return (kinds.pop() if len(kinds) == 1 else ConnectionLostError)(text)


def _faults(errors: Mapping[Host, Exception]) -> str:
    return "; ".join(f"{host}: {str(e).partition(chr(10))[0]}" for host, e in errors.items())


def _is_not_writable(error: Exception) -> bool:
    return any(text in str(error) for text in _NOT_WRITABLE)


def _discard_connections(context: ExceptionContext) -> None:
    """Close the pool's connections to a server that shuts down or is no longer writable.

    If the session ends in COMMIT, the outcome of the COMMIT is unknown. If the server refuses
    the COMMIT as read-only, nothing was written: a discarded connection would hide that.
    """
    error = context.original_exception
    in_commit = context.statement is None
    if ends_session(error) or (refuses_writes(error) and not in_commit):
        context.is_disconnect = True
