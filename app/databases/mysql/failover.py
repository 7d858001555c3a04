"""Connect to the primary among several MySQL servers, also after a failover.

Works on any engine, threadlog's or the application's. A new connection asks its server whether
it is writable, and a connection is discarded when its server refuses to write. If the URL has
one host, no statement is added.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Dialect, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from threadlog.databases.urls import Host, parse_hosts
from threadlog.errors import (
    ConnectionFailedError,
    ConnectionLostError,
    NoPrimaryError,
    ServerUnreachableError,
    StorageError,
    TooManyConnectionsError,
)

_LOG: Final = logging.getLogger(__name__)

# An option of the server prevents the statement. The text names the option, in every language
# of the server.
_OPTION_PREVENTS: Final = 1290
# A hook of Group Replication failed. In COMMIT it is unknown whether the group has the
# transaction: the member may have sent it before it lost the others.
_HOOK_FAILED: Final = 3100
# The other codes mean that nothing was written: read-only mode; the member's state allows no
# transaction; or the member waited too long for the commits of others to arrive.
_NOT_WRITABLE: Final = frozenset({1836, _HOOK_FAILED, 3796, 3797, 3798, 3799})

_NO_CONNECTION: Final = 2003  # from the client library

CONNECTING: Final[Mapping[int, type[StorageError]]] = {
    1044: ConnectionFailedError,
    1045: ConnectionFailedError,
    1049: ConnectionFailedError,
    1130: ConnectionFailedError,  # not from this machine
    1698: ConnectionFailedError,  # MariaDB's 1045 for accounts of the operating system
    3118: ConnectionFailedError,  # the account is locked
    1040: TooManyConnectionsError,
    1203: TooManyConnectionsError,  # of all accounts' max_user_connections
    1226: TooManyConnectionsError,  # of the account's own
    2002: ServerUnreachableError,
    _NO_CONNECTION: ServerUnreachableError,
}
"""The errors of a client that connects, by the code of the server or of the client library."""

# The account may not see the group, or the server has none; MariaDB has no server_uuid.
_NOT_VISIBLE: Final = frozenset({1044, 1142, 1143, 1146, 1193, 1227})

_READ_ONLY: Final = "SELECT @@GLOBAL.read_only"
_MEMBERS: Final = (
    "SELECT member_id = @@server_uuid, member_state, member_role "
    "FROM performance_schema.replication_group_members"
)


def follow_primary(engine: Engine | AsyncEngine) -> None:
    """Connect an engine to the writable server among several, also after a failover.

    The engine's URL has several hosts:
    ``mysql+asyncmy://user:password@/database?host=h1&host=h2:3307``.
    A new connection tries the hosts, beginning with the last primary. It uses the first host
    that is not read-only and, as far as the account may see, is a primary in the majority of
    its group. Engines that threadlog creates from a URL do so without a call of this function.

    A connection attempt raises `NoPrimaryError` if there is no primary, such as during an
    election, and another `StorageError` if no server answers.
    The account should have SELECT on ``performance_schema.replication_group_members``. Without
    it, threadlog cannot recognise a server that left its group and was restarted alone.

    Args:
        engine: an engine of MySQL that is not connected yet.

    Raises:
        ConfigurationError: one of the hosts in the URL is not a valid host[:port].
    """
    plain = engine.sync_engine if isinstance(engine, AsyncEngine) else engine
    hosts = parse_hosts(plain.url)
    if hosts:
        event.listen(plain, "do_connect", PrimaryLocator(hosts).connect)
    event.listen(plain, "handle_error", _discard_connections)


def refuses_writes(error: BaseException | None) -> bool:
    """Return True if a driver's error means that its server refuses writes."""
    code, text = error_code(error), str(error)
    read_only = code == _OPTION_PREVENTS and ("read-only" in text or "read_only" in text)
    return read_only or code in _NOT_WRITABLE


def is_wrong_certificate(error: BaseException | None) -> bool:
    """Return True if a driver refused the server's certificate."""
    return error_code(error) == _NO_CONNECTION and "certificate" in str(error)


def error_code(error: BaseException | None) -> int | None:
    """Return the server's code of a driver's error; None if it has none."""
    arguments = getattr(error, "args", ())
    code = arguments[0] if arguments else None
    return code if isinstance(code, int) else None


def reason_against_writing(members: Iterable[Sequence[Any]]) -> str | None:
    """Return the reason why a member of a group must not be written to.

    Args:
        members: the members as this one sees the group. Each is a row of three: true if it is
            this member, its state, its role.

    Returns:
        The reason; None if this member is writable, or is in no group.
    """
    rows = [(bool(is_self), str(state), str(role)) for is_self, state, role in members]
    reachable = sum(state in {"ONLINE", "RECOVERING"} for _, state, _ in rows)
    for is_self, state, role in rows:
        if is_self and state != "ONLINE":
            return f"{state} in its group"
        if is_self and role != "PRIMARY":
            return "not the primary of its group"
    if 2 * reachable <= len(rows) and rows:
        return "sees no majority of its group"
    return None


class _NotPrimaryError(Exception):
    """A server answers and must not be written to."""


class PrimaryLocator:
    """Finds the primary among hosts, and remembers it for the next connection."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = hosts
        self._last = hosts[0]

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
            ServerUnreachableError: no host answers.
            ConnectionFailedError: all hosts refuse the account, or lack the database.
            ConnectionLostError: no host can be used, for different reasons.
        """
        errors: dict[Host, Exception] = {}
        for host in sorted(self._hosts, key=lambda host: host != self._last):
            options_of_host = {**options, "host": host.name, "port": host.port}
            try:
                connection = _connect(dialect, arguments, options_of_host)
            except (_NotPrimaryError, dialect.loaded_dbapi.Error, OSError, EOFError) as error:
                errors[host] = error
            else:
                if errors:
                    _LOG.warning("Connected to %s, as others failed: %s", host, _faults(errors))
                self._last = host
                return connection
        # Begin with a host that answers next time: a machine that is gone costs a timeout.
        answered = [host for host, error in errors.items() if isinstance(error, _NotPrimaryError)]
        self._last = answered[0] if answered else self._last
        raise _no_primary(errors) from errors[self._last]


def _no_primary(errors: Mapping[Host, Exception]) -> StorageError:
    """Return the error that names the fault of each host."""
    text = _faults(errors)
    if any(isinstance(error, _NotPrimaryError) for error in errors.values()):
        return NoPrimaryError(text)
    # No server reports a group: waiting for an election would be useless.
    kinds = set(map(_connecting_type, errors.values()))
    return (kinds.pop() if len(kinds) == 1 else ConnectionLostError)(text)


def _connecting_type(error: Exception) -> type[StorageError]:
    if is_wrong_certificate(error):
        return ConnectionFailedError
    return CONNECTING.get(error_code(error) or 0, ConnectionLostError)


def _connect(
    dialect: Dialect, arguments: tuple[Any, ...], options: dict[str, Any]
) -> DBAPIConnection:
    """Connect to a server and check that it is writable.

    Raises:
        _NotPrimaryError: it is not.
    """
    connection: DBAPIConnection = dialect.connect(*arguments, **options)
    try:
        cursor = connection.cursor()
        _check_writable(dialect, cursor)
        cursor.close()
        connection.rollback()
    except BaseException:
        dialect.do_terminate(connection)
        raise
    return connection


def _check_writable(dialect: Dialect, cursor: DBAPICursor) -> None:
    """Ask a server whether it is writable.

    Raises:
        _NotPrimaryError: it is not.
    """
    cursor.execute(_READ_ONLY)
    # MariaDB returns text from version 12 on.
    if str(cursor.fetchall()[0][0]).upper() not in {"0", "OFF"}:
        raise _NotPrimaryError("read-only")
    try:
        cursor.execute(_MEMBERS)
    except dialect.loaded_dbapi.Error as error:
        if error_code(error) in _NOT_VISIBLE:
            return
        raise
    reason = reason_against_writing(cursor.fetchall())
    if reason is not None:
        raise _NotPrimaryError(reason)


def _faults(errors: Mapping[Host, Exception]) -> str:
    return "; ".join(f"{host}: {_text(error)}" for host, error in errors.items())


def _text(error: BaseException) -> str:
    return ": ".join(map(str, error.args)) or type(error).__name__


def _discard_connections(context: ExceptionContext) -> None:
    """Close the pool's connections to a server that is no longer writable.

    Not after a COMMIT that the server refused: nothing was written, whereas a connection that
    is lost in COMMIT leaves the outcome unknown. The next statement discards the connections.
    """
    error = context.original_exception
    in_commit = context.statement is None and error_code(error) != _HOOK_FAILED
    if refuses_writes(error) and not in_commit:
        context.is_disconnect = True
