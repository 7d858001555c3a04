"""Limits for servers that say nothing: the network is stalled, or the host is gone.

Nobody resets such a connection, so without a limit whoever waits for it waits for ever.
PyMySQL has limits of its own. The asyncio drivers have none that hold: asyncmy's does not end
a connection whose sent bytes nobody takes, and costs a task for each read; aiomysql has none
for reading; asyncpg's asks the server to cancel, which may be gone. So on theirs a timer
looks at the connection, and ends it.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from threadlog.errors import ConfigurationError

# Firewalls forget connections that were silent for some minutes, none after seconds. One that
# was in use a moment ago is not asked: that would be one more round trip for each operation.
_IDLE_SECONDS: Final = 30.0

_WATCH: Final = "threadlog_watch"
_LOST: Final = 2013  # the client library's: connection lost during a statement
_REFUSED: Final = 2003  # the client library's: no connection could be made


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds that an operation may wait for something."""

    connect: float = 10.0
    """For a new connection, or for a sign of life of one that idled."""

    statement: float | None = 60.0
    """For the answer to a statement; None for as long as it takes. Above the 50 seconds after
    which MySQL itself gives up waiting for a lock."""

    pool: float = 60.0
    """For a connection while all are in use."""


OPTIONS: Final = {
    "connect_timeout": "connect",
    "read_timeout": "statement",
    "pool_timeout": "pool",
}
"""What the limits are called in a URL."""


def take_limits(query: dict[str, Any], options: Iterable[str] = OPTIONS) -> TimeLimits:
    """Take the limits out of a URL's query.

    Args:
        query: the query, which loses them.
        options: those that the database has.

    Raises:
        ConfigurationError: one is not a number of seconds.
    """
    given = {
        OPTIONS[option]: _seconds(option, query.pop(option))
        for option in options
        if option in query
    }
    return TimeLimits(**given)


def _seconds(option: str, value: object) -> float:
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 31_536_000:  # noqa: PLR2004 - a year: the drivers take no more
        raise ConfigurationError(
            f"The option {option} of the URL must be a number of seconds above 0."
        )
    return seconds


def limited_connect(driver: str, limits: TimeLimits) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Make what connects through an asyncio driver within the limit, log-in included.

    The drivers' own limit ends with TCP's connection, which a dead server may still accept.
    """

    async def connect(*args: Any, **kwargs: Any) -> Any:
        module = import_module(driver)
        try:
            async with asyncio.timeout(limits.connect):
                return await module.connect(*args, **kwargs)
        except TimeoutError as error:
            errors = getattr(module, "errors", module)
            raise errors.OperationalError(
                _REFUSED, f"no connection within {limits.connect:g} s (connect_timeout)"
            ) from error

    return connect


def watch(
    engine: Engine,
    limits: TimeLimits,
    *,
    code: tuple[int, ...] = (_LOST,),
    ping: Callable[[Any], Any] | None = None,
) -> None:
    """Have connections of an engine keep the limits, and look at those that idled.

    Args:
        engine: the engine.
        limits: the limits.
        code: what a driver's error begins with that says that a statement took too long.
        ping: asks a connection for a sign of life, where SELECT 1 would begin a transaction.
    """
    asynchronous = engine.dialect.is_async
    make = partial(_AsyncWatch if asynchronous else _SyncWatch, limits)
    event.listen(engine, "connect", lambda raw, entry: _begin(make(raw), entry), insert=True)
    event.listen(engine, "checkin", lambda raw, entry: _rest(entry))
    event.listen(engine, "checkout", lambda raw, entry, proxy: _check(engine, raw, entry, ping))
    if asynchronous:
        event.listen(engine, "before_cursor_execute", lambda connection, *rest: _mark(connection))
        event.listen(engine, "commit", _mark)
        event.listen(engine, "rollback", _mark)
        event.listen(engine, "handle_error", partial(_explain, code))


class _SyncWatch:
    """Leaves the limits to the driver, which may be given others between statements."""

    def __init__(self, limits: TimeLimits, raw: Any) -> None:
        self._limits = limits
        self._raw = raw
        self.idle_since: float | None = None

    def begin(self, *, ping: bool = False) -> None:
        # PyMySQL looks at it before each read; it has no other way to change it. So does what
        # `threadlog.databases.postgres.psycopg_timeouts` makes of psycopg.
        seconds = self._limits.connect if ping else self._limits.statement
        self._raw._read_timeout = seconds  # noqa: SLF001 - see above


class _AsyncWatch:
    """Ends a connection of an asyncio driver that has waited for too long.

    One timer for each connection, which sees to it itself that it is set again: setting one
    for each statement would cost more than it is worth.
    """

    def __init__(self, limits: TimeLimits, raw: Any) -> None:
        self._limits = limits
        self._driver_connection = raw.driver_connection
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._limit = limits.statement
        self.idle_since: float | None = None
        self.asked = 0.0
        self.expired: float | None = None

    def begin(self, *, ping: bool = False) -> None:
        self._limit = self._limits.connect if ping else self._limits.statement
        self.asked = time.monotonic()
        if self._timer is None or ping:
            self._set(self._limit)

    def _set(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if self.idle_since is not None or self._limit is None:
            return
        left = self.asked + self._limit - time.monotonic()
        if left > 0:
            self._set(left)
            return
        self.expired = self._limit
        _abort(self._driver_connection)


def _begin(made: _AsyncWatch | _SyncWatch, entry: ConnectionPoolEntry) -> None:
    entry.info[_WATCH] = made
    made.begin()


def _rest(entry: ConnectionPoolEntry) -> None:
    if _WATCH in entry.info:  # not on a connection that was lost
        entry.info[_WATCH].idle_since = time.monotonic()


def _check(
    engine: Engine, raw: Any, entry: ConnectionPoolEntry, ping: Callable[[Any], Any] | None
) -> None:
    """Ask a connection that idled for a sign of life; a dead one is replaced.

    Raises:
        DisconnectionError: it is dead, which tells the pool to replace it.
    """
    watching = entry.info[_WATCH]
    idle_since, watching.idle_since = watching.idle_since, None
    if idle_since is not None and time.monotonic() - idle_since > _IDLE_SECONDS:
        watching.begin(ping=True)
        try:
            (ping or _ping)(raw)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError("a connection died while it idled") from error
    watching.begin()


def _ping(raw: Any) -> None:
    """Have the server answer. SQLAlchemy 2.0.43 cannot call the ping() of asyncmy."""
    cursor = raw.cursor()
    try:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    finally:
        cursor.close()


def _mark(connection: Connection) -> None:
    """Note that a statement begins now."""
    if connection.invalidated:  # a lost one is rolled back without a word to the server
        return
    connection.info[_WATCH].asked = time.monotonic()


def _explain(code: tuple[int, ...], context: ExceptionContext) -> None:
    """Have the driver's error say that it was the limit, where it was."""
    if context.connection is None or context.connection.invalidated:
        return
    expired = context.connection.info[_WATCH].expired
    if expired is not None:
        context.original_exception.args = (
            *code,
            f"timed out: no answer within {expired:g} s (read_timeout)",
        )


def _abort(connection: Any) -> None:
    """End the connection below the driver: closing it waits until everything is sent."""
    transport = getattr(connection, "_transport", None)
    if transport is None:
        transport = getattr(getattr(connection, "_writer", None), "transport", None)
    if transport is not None:
        transport.abort()
