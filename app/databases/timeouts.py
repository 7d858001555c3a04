"""Time limits for servers that do not answer: the network is stalled, or the machine is gone.

Nothing resets such a connection, so without a limit its operation would wait for ever.
PyMySQL has limits of its own. The asyncio drivers have no sufficient ones: asyncmy's does not
end a connection whose sent bytes are not received, and costs a task for each read; aiomysql has
none for reading; asyncpg's asks the server to cancel, which may be gone. On connections of the
asyncio drivers a timer checks the limit, and closes the connection.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from threadlog.errors import ConfigurationError

# Firewalls drop connections that were idle for some minutes, none after seconds. A connection
# that was in use a moment ago is not pinged: that would cost each operation a round trip.
_IDLE_SECONDS: Final = 30.0

_LIMIT: Final = "threadlog_limit"
_RETRY: Final = "retry_seconds"
_LOST: Final = 2013  # the client library's: connection lost during a statement
_REFUSED: Final = 2003  # the client library's: no connection could be made


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """The seconds that an operation may wait, by what it waits for."""

    connect: float = 10.0
    """For a new connection, or for the answer to a ping on one that was idle."""

    statement: float | None = 60.0
    """For the answer to a statement; None for no limit. Above the 50 seconds after which MySQL
    itself stops waiting for a lock."""

    pool: float = 60.0
    """For a connection of the pool while all are in use."""

    retry: float = 30.0
    """For a transaction that is run again until it succeeds; 0 for one attempt."""


OPTIONS: Final = {
    "connect_timeout": "connect",
    "read_timeout": "statement",
    "pool_timeout": "pool",
    _RETRY: "retry",
}
"""The names of the limits in a URL."""


def take_limits(query: dict[str, Any], options: Iterable[str] = OPTIONS) -> TimeLimits:
    """Remove the limits from a URL's query and return them.

    Args:
        query: the query, which is changed.
        options: the names of the limits that the database supports.

    Raises:
        ConfigurationError: one is not a number of seconds.
    """
    limits = {
        OPTIONS[option]: _seconds(f"The option {option} of the URL", option, query.pop(option))
        for option in options
        if option in query
    }
    return TimeLimits(**limits)


def choose_retry(seconds: float | None, limits: TimeLimits) -> float:
    """Return how long a transaction is run again: the argument, or the limit if it is None.

    Raises:
        ConfigurationError: the argument is not a number of seconds.
    """
    return limits.retry if seconds is None else _seconds(_RETRY, _RETRY, seconds)


def _seconds(name: str, option: str, value: object) -> float:
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = -1.0
    least = "or 0" if option == _RETRY else "above 0"
    # A year is the most that the drivers accept.
    if not 0 <= seconds <= 31_536_000 or (seconds == 0 and option != _RETRY):  # noqa: PLR2004 - see above
        raise ConfigurationError(f"{name} is {value!r}. It must be a number of seconds {least}.")
    return seconds


def limited_connect(driver: str, limits: TimeLimits) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return a function that connects through an asyncio driver within the limit.

    The limit includes the log-in. The drivers' own limit ends once TCP is connected, and the
    machine of a dead server may still accept that.
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
    """Enforce the limits on an engine's connections, and ping those that were idle.

    Args:
        engine: the engine.
        limits: the limits.
        code: the first arguments of the driver's error for a statement that took too long.
        ping: pings a connection; None for SELECT 1, which may begin a transaction.
    """
    asynchronous = engine.dialect.is_async
    make = partial(_TimerLimit if asynchronous else _DriverLimit, limits)
    event.listen(engine, "connect", lambda raw, entry: _start(make(raw), entry), insert=True)
    event.listen(engine, "checkin", _note_idle)
    event.listen(engine, "checkout", partial(_check, engine, ping))
    if asynchronous:
        for name in ("before_cursor_execute", "commit", "rollback"):
            event.listen(engine, name, _note_statement)
        event.listen(engine, "handle_error", partial(_name_limit, code))


class _DriverLimit:
    """Sets the limit of a synchronous driver, which can change between statements."""

    is_set = True
    """Whether the limit holds for the next statement too."""

    def __init__(self, limits: TimeLimits, raw: Any) -> None:
        self._limits = limits
        self._raw = raw
        self.idle_since: float | None = None
        self.statement_began = 0.0

    def begin(self, *, ping: bool = False) -> None:
        # PyMySQL reads it before each read, and has no other way to change it. The connection
        # class of `threadlog.databases.postgres.psycopg_sessions` does the same.
        seconds = self._limits.connect if ping else self._limits.statement
        self._raw._read_timeout = seconds  # noqa: SLF001 - see above


class _TimerLimit:
    """Closes a connection of an asyncio driver that has waited for too long.

    Each connection has one timer, which sets itself again: setting one for each statement would
    cost every statement some time.
    """

    def __init__(self, limits: TimeLimits, raw: Any) -> None:
        self._limits = limits
        self._driver_connection = raw.driver_connection
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.is_set = False
        self._limit = limits.statement
        self.idle_since: float | None = None
        self.statement_began = 0.0
        self.expired: float | None = None

    def begin(self, *, ping: bool = False) -> None:
        self._limit = self._limits.connect if ping else self._limits.statement
        self.statement_began = time.monotonic()
        self._set(self._limit)

    def _set(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._check)
        self.is_set = True

    def _check(self) -> None:
        self._timer, self.is_set = None, False
        if self.idle_since is not None or self._limit is None:
            return
        left = self.statement_began + self._limit - time.monotonic()
        if left > 0:
            self._set(left)
            return
        self.expired = self._limit
        _abort(self._driver_connection)


def _start(limit: _TimerLimit | _DriverLimit, entry: ConnectionPoolEntry) -> None:
    entry.info[_LIMIT] = limit
    limit.begin()


def _note_idle(raw: object, entry: ConnectionPoolEntry) -> None:
    if _LIMIT in entry.info:  # not on a connection that was lost
        entry.info[_LIMIT].idle_since = time.monotonic()


def _check(
    engine: Engine,
    ping: Callable[[Any], Any] | None,
    raw: Any,
    entry: ConnectionPoolEntry,
    proxy: object,
) -> None:
    """Ping a connection that was idle.

    Raises:
        DisconnectionError: it is dead; the pool replaces it.
    """
    limit = entry.info[_LIMIT]
    idle_since, limit.idle_since = limit.idle_since, None
    now = limit.statement_began = time.monotonic()
    if idle_since is not None and now - idle_since > _IDLE_SECONDS:
        limit.begin(ping=True)
        try:
            (ping or _ping)(raw)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError("a connection died while it was idle") from error
        limit.begin()
    elif not limit.is_set:
        limit.begin()


def _ping(raw: Any) -> None:
    """Execute SELECT 1: SQLAlchemy 2.0.43 cannot call the ping() of asyncmy."""
    with closing(raw.cursor()) as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()


def _note_statement(connection: Connection, *_: object) -> None:
    if connection.invalidated:  # a lost one is rolled back without a statement
        return
    connection.info[_LIMIT].statement_began = time.monotonic()


def _name_limit(code: tuple[int, ...], context: ExceptionContext) -> None:
    """Name the limit in the driver's error if the limit caused it."""
    if context.connection is None or context.connection.invalidated:
        return
    expired = context.connection.info[_LIMIT].expired
    if expired is not None:
        context.original_exception.args = (
            *code,
            f"timed out: no answer within {expired:g} s (read_timeout)",
        )


def _abort(connection: Any) -> None:
    """Abort the transport below the driver: closing it would wait until everything is sent."""
    transport = getattr(connection, "_transport", None)
    if transport is None:
        transport = getattr(getattr(connection, "_writer", None), "transport", None)
    if transport is not None:
        transport.abort()
