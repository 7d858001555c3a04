"""Connections to the one of several MySQL servers that takes writes, whichever that is today.

Works on any engine, of threadlog or of a host: the servers are asked when a connection is made,
and a connection is given up when its server refuses to write. Where the URL has one host no
statement is added.
"""

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
    StorageError,
)

# The read-only switch of the server itself, by any of its options; the text names which, in
# every language of the server.
_OPTION_PREVENTS: Final = 1290
# A hook of Group Replication failed. In COMMIT that leaves open whether the group has the
# transaction, which the member may have sent before it lost the others.
_HOOK_FAILED: Final = 3100
# The rest says that nothing was written: read-only mode; the member is in a state in which it
# begins no transaction, or waited in vain until it had what others committed.
_NOT_WRITABLE: Final = frozenset({1836, _HOOK_FAILED, 3796, 3797, 3798, 3799})
# What a server says that is there but lets the account not in.
_REFUSED: Final = frozenset({1044, 1045, 1049})

# The account may not see the group, or the server knows of none; MariaDB has no server_uuid.
_NOT_VISIBLE: Final = frozenset({1044, 1142, 1143, 1146, 1193, 1227})

_READ_ONLY: Final = "SELECT @@GLOBAL.read_only"
_MEMBERS: Final = (
    "SELECT member_id = @@server_uuid, member_state, member_role "
    "FROM performance_schema.replication_group_members"
)


def follow_primary(engine: Engine | AsyncEngine) -> None:
    """Have an engine connect to the server that takes writes, now and after a failover.

    Its URL has several hosts: ``mysql+asyncmy://user:password@/database?host=h1&host=h2:3307``.
    They are tried from the one that took writes last; the first that is not read-only and, as
    far as the account may see it, is a primary in the majority of its group is taken. Engines
    that threadlog makes of a URL have this already.

    A connection attempt raises `NoPrimaryError` where there is none, as during an election,
    and another `StorageError` where no server answers.
    The account should have SELECT on ``performance_schema.replication_group_members``.
    Without, it cannot tell a server that left its group and was restarted alone.

    Args:
        engine: an engine of MySQL that is not connected yet.

    Raises:
        ConfigurationError: one of the hosts in the URL is none.
    """
    plain = engine.sync_engine if isinstance(engine, AsyncEngine) else engine
    hosts = parse_hosts(plain.url)
    if hosts:
        event.listen(plain, "do_connect", PrimaryLocator(hosts).connect)
    event.listen(plain, "handle_error", _give_up)


def refuses_writes(error: BaseException | None) -> bool:
    """Say whether a driver's error means that its server does not take writes (any more)."""
    code, words = code_of(error), str(error)
    read_only = code == _OPTION_PREVENTS and ("read-only" in words or "read_only" in words)
    return read_only or code in _NOT_WRITABLE


def code_of(error: BaseException | None) -> int | None:
    """Give the server's code of a driver's error."""
    arguments = getattr(error, "args", ())
    code = arguments[0] if arguments else None
    return code if isinstance(code, int) else None


def outside_of_group(members: Iterable[Sequence[Any]]) -> str | None:
    """Say why a member of a group is not to be written to.

    Args:
        members: of each, as this one sees the group: whether it is this one, state and role.

    Returns:
        The reason; None where it may be written to, or is no member of a group.
    """
    listed = [(bool(mine), str(state), str(role)) for mine, state, role in members]
    here = sum(state in {"ONLINE", "RECOVERING"} for _, state, _ in listed)
    for mine, state, role in listed:
        if mine and state != "ONLINE":
            return f"{state} in its group"
        if mine and role != "PRIMARY":
            return "not the primary of its group"
    if 2 * here <= len(listed) and listed:
        return "sees no majority of its group"
    return None


class _UnfitError(Exception):
    """A server was reached and is not to be written to."""


class PrimaryLocator:
    """Finds the primary among hosts, and remembers it."""

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
            NoPrimaryError: some host answers, but none takes writes.
            ConnectionLostError: no host can be used.
            ConnectionFailedError: all refuse the account, or lack the database.
        """
        found: dict[Host, Exception] = {}
        for host in sorted(self._hosts, key=lambda host: host != self._last):
            there = {**options, "host": host.name, "port": host.port}
            try:
                connection = _connected(dialect, arguments, there)
            except (_UnfitError, dialect.loaded_dbapi.Error, OSError, EOFError) as error:
                found[host] = error
            else:
                self._last = host
                return connection
        # Begin next time where somebody answers: a machine that is gone costs a timeout.
        answered = [host for host, error in found.items() if isinstance(error, _UnfitError)]
        self._last = answered[0] if answered else self._last
        raise _nobody(found) from found[self._last]


def _nobody(found: Mapping[Host, Exception]) -> StorageError:
    """Say what is wrong with all hosts."""
    errors = found.values()
    text = "; ".join(f"{host}: {_words(error)}" for host, error in found.items())
    if any(isinstance(error, _UnfitError) for error in errors):
        return NoPrimaryError(text)
    # No member says that there is a group: waiting for its election would be in vain.
    refused = all(code_of(error) in _REFUSED for error in errors)
    return ConnectionFailedError(text) if refused else ConnectionLostError(text)


def _connected(
    dialect: Dialect, arguments: tuple[Any, ...], options: dict[str, Any]
) -> DBAPIConnection:
    """Connect to a server that takes writes.

    Raises:
        _UnfitError: it does not.
    """
    connection: DBAPIConnection = dialect.connect(*arguments, **options)
    try:
        cursor = connection.cursor()
        _examine(dialect, cursor)
        cursor.close()
        connection.rollback()
    except BaseException:
        dialect.do_terminate(connection)
        raise
    return connection


def _examine(dialect: Dialect, cursor: DBAPICursor) -> None:
    """Ask a server whether it takes writes.

    Raises:
        _UnfitError: it does not.
    """
    cursor.execute(_READ_ONLY)
    # A word on MariaDB from version 12 on.
    if str(cursor.fetchall()[0][0]).upper() not in {"0", "OFF"}:
        raise _UnfitError("read-only")
    try:
        cursor.execute(_MEMBERS)
    except dialect.loaded_dbapi.Error as error:
        if code_of(error) in _NOT_VISIBLE:
            return
        raise
    reason = outside_of_group(cursor.fetchall())
    if reason is not None:
        raise _UnfitError(reason)


def _words(error: BaseException) -> str:
    return ": ".join(map(str, error.args)) or type(error).__name__


def _give_up(context: ExceptionContext) -> None:
    """Close the connections of the pool to a server that no longer takes writes.

    Not after a COMMIT that was refused: a connection that is lost there leaves open what came
    of it, whereas this server says that nothing did. The next statement finds out.
    """
    error = context.original_exception
    in_commit = context.statement is None and code_of(error) != _HOOK_FAILED
    if refuses_writes(error) and not in_commit:
        context.is_disconnect = True
