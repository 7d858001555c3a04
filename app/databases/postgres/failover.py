"""Connections to the one of several PostgreSQL servers that takes writes.

The servers are tried when a connection is made, from the one that took writes last; those that
are read-only, as a standby is, are passed over. A connection is given up when its server refuses
to write. Where the URL has one host it is taken as it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from sqlalchemy import Dialect, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from threadlog.databases.postgres.errors import ends_session, refuses_writes, sqlstate_of
from threadlog.databases.urls import Host, parse_hosts
from threadlog.errors import (
    ConnectionFailedError,
    ConnectionLostError,
    NoPrimaryError,
    StorageError,
)

# psycopg's, which has no code for it.
_TIMED_OUT: Final = "timeout expired"
# The words of both drivers where a server is there, but not as it is asked to be.
_UNFIT: Final = ("read-only", "target attribute")


def connect_to_servers(engine: Engine) -> None:
    """Have an engine of threadlog's connect within its limits, and to a server that writes.

    Args:
        engine: an engine of PostgreSQL that is not connected yet.
    """
    event.listen(engine, "do_connect", PrimaryLocator(parse_hosts(engine.url)).connect)
    event.listen(engine, "handle_error", _give_up)


class PrimaryLocator:
    """Finds the primary among hosts, and remembers it."""

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
            NoPrimaryError: some host answers, but none takes writes.
            ConnectionLostError: no host of several can be used.
        """
        if len(self._hosts) < 2:  # noqa: PLR2004 - several
            return _connected(dialect, arguments, options)
        found: dict[Host, Exception] = {}
        for host in sorted(self._hosts, key=lambda host: host != self._last):
            there = {
                **options,
                "host": host.name,
                "port": host.port,
                "target_session_attrs": "read-write",
            }
            try:
                connection = _connected(dialect, arguments, there)
            except dialect.loaded_dbapi.Error as error:
                found[host] = error
            else:
                self._last = host
                return connection
        answered = [host for host, error in found.items() if _is_unfit(error)]
        self._last = answered[0] if answered else self._last
        raise _nobody(found) from found[self._last or self._hosts[0]]


def _connected(
    dialect: Dialect, arguments: tuple[Any, ...], options: dict[str, Any]
) -> DBAPIConnection:
    """Connect, and have every failure be one of the driver's errors.

    asyncpg's are none of the DBAPI's while it connects, and it raises those of the network.
    """
    try:
        if dialect.is_async:
            return dialect.connect(*arguments, **options)
        from threadlog.databases.postgres.psycopg_timeouts import (  # noqa: PLC0415 - needs the driver
            LimitedConnection,
        )

        connection: Any = LimitedConnection.connect(*arguments, **options)
        return cast("DBAPIConnection", connection)
    except dialect.loaded_dbapi.Error as error:
        if _TIMED_OUT not in str(error):
            raise
        raise dialect.loaded_dbapi.OperationalError(_late(options)) from error
    except TimeoutError as error:
        raise dialect.loaded_dbapi.OperationalError(_late(options)) from error
    except (OSError, EOFError) as error:
        raise dialect.loaded_dbapi.OperationalError(str(error)) from error
    except Exception as error:
        if sqlstate_of(error) is None and not type(error).__module__.startswith("asyncpg"):
            raise
        raise dialect.loaded_dbapi.OperationalError(str(error)) from error


def _late(options: Mapping[str, Any]) -> str:
    seconds = options.get("timeout", options.get("connect_timeout"))
    return f"no connection within {seconds:g} s (connect_timeout)"


def _nobody(found: Mapping[Host, Exception]) -> StorageError:
    """Say what is wrong with all hosts."""
    errors = found.values()
    text = "; ".join(f"{host}: {str(error).partition(chr(10))[0]}" for host, error in found.items())
    if any(map(_is_unfit, errors)):
        return NoPrimaryError(text)
    refused = all((sqlstate_of(error) or "")[:2] in {"28", "3D"} for error in errors)
    return ConnectionFailedError(text) if refused else ConnectionLostError(text)


def _is_unfit(error: Exception) -> bool:
    return any(word in str(error) for word in _UNFIT)


def _give_up(context: ExceptionContext) -> None:
    """Close the connections of the pool to a server that no longer takes writes, or ends.

    In COMMIT the server's last words leave open what came of it. Its refusal to write does not.
    """
    error = context.original_exception
    in_commit = context.statement is None
    if ends_session(error) or (refuses_writes(error) and not in_commit):
        context.is_disconnect = True
