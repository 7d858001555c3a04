"""Connect to MongoDB: its URI, time limits, errors and transactions."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from threadlog.errors import (
    CommitOutcomeUnknownError,
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    DeadlockError,
    ForkedProcessError,
    MissingExtraError,
    NotOpenError,
    NotWritableError,
    ServerUnreachableError,
    StatementTimeoutError,
    StorageError,
    UnsupportedServerError,
    WrongEventLoopError,
)

try:
    from pymongo import AsyncMongoClient, ReadPreference, WriteConcern, errors
    from pymongo.asynchronous.client_session import AsyncClientSession
    from pymongo.asynchronous.database import AsyncDatabase
    from pymongo.read_concern import ReadConcern
except ModuleNotFoundError as error:
    raise MissingExtraError("pymongo", "mongodb") from error

T = TypeVar("T")

Document = dict[str, Any]

EXAMPLE: Final = "mongodb://host/database"

_SCHEMES: Final = ("mongodb", "mongodb+srv")
_CONNECT_MS: Final = 10_000
_READ_MS: Final = 60_000
_CONFLICT_SECONDS: Final = 30.0
_OLDEST_WIRE_VERSION: Final = 17
"""MongoDB 6.0's."""

# https://www.mongodb.com/docs/manual/reference/error-codes/
_REFUSED: Final = {13, 18, 8000}  # Unauthorized, AuthenticationFailed, Atlas's own
_TIMED_OUT: Final = {50}  # MaxTimeMSExpired
_CONFLICT: Final = {112}  # WriteConflict


@dataclass(frozen=True)
class MongoUri:
    """The parts of a URI that threadlog looks at, read without a query to DNS."""

    uri: str
    database: str | None
    """The database that the path names."""

    limits: Mapping[str, int]
    """Time limits in milliseconds, by PyMongo's names, that the URI does not set."""

    def __repr__(self) -> str:
        """Show no password."""
        host = urlsplit(self.uri).netloc.rpartition("@")[2]
        return f"mongodb://{host}/{self.database or ''}"


def parse_mongodb_uri(uri: str) -> MongoUri:
    """Read the database and the time limits of a URI.

    A URI that sets ``connectTimeoutMS`` and no ``serverSelectionTimeoutMS`` sets both: PyMongo
    alone would look for a server for 30 seconds.

    Raises:
        ConfigurationError: it is of another scheme, or cannot be read.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme.casefold() not in _SCHEMES:
        named = f"begins with {scheme}://" if separator and "@" not in scheme else "is no URI"
        raise ConfigurationError(
            f"The scheme is 'mongodb', but the URI {named}. Use a URI such as {EXAMPLE}, or "
            "another scheme."
        )
    parts = urlsplit(uri)
    path, options = unquote(parts.path.strip("/")), dict(parse_qsl(parts.query.replace(";", "&")))
    given = {name.casefold(): value for name, value in options.items()}
    connect = given.get("connecttimeoutms", str(_CONNECT_MS))
    if not connect.isdecimal():
        raise _invalid("connectTimeoutMS is not a number of milliseconds")
    limits = {"serverSelectionTimeoutMS": int(connect), "connectTimeoutMS": _CONNECT_MS}
    limits["socketTimeoutMS"] = _READ_MS
    unset = {name: value for name, value in limits.items() if name.casefold() not in given}
    if "timeoutms" in given:  # PyMongo's limit of a whole operation
        unset = {}
    return MongoUri(uri, path or None, unset)


def _invalid(reason: str) -> ConfigurationError:
    return ConfigurationError(f"The MongoDB URI is not valid: {reason}. Use one such as {EXAMPLE}.")


@contextmanager
def translated_errors(*, writes: bool) -> Iterator[None]:
    """Raise PyMongo's errors as threadlog's.

    Args:
        writes: True if the block writes: after a lost connection its outcome is unknown.
    """
    try:
        yield
    except errors.PyMongoError as error:
        raise _translated(error, writes=writes) from error


def _translated(error: errors.PyMongoError, *, writes: bool) -> Exception:
    """Return the error to raise for one of PyMongo's."""
    if isinstance(error, errors.InvalidURI | errors.ConfigurationError):
        return _invalid("see the cause")
    is_lost = isinstance(error, errors.ConnectionFailure | errors.WTimeoutError)
    # Within a transaction nothing is stored before its commit.
    is_unstored = error.has_error_label("TransientTransactionError")
    code = getattr(error, "code", None)
    kinds: dict[type[StorageError], bool] = {  # the first that applies
        CommitOutcomeUnknownError: error.has_error_label("UnknownTransactionCommitResult"),
        ServerUnreachableError: isinstance(error, errors.ServerSelectionTimeoutError),
        NotWritableError: isinstance(error, errors.NotPrimaryError),
        ConnectionLostError: is_lost and (is_unstored or not writes),
        ConnectionFailedError: code in _REFUSED,
        StatementTimeoutError: code in _TIMED_OUT,
        DeadlockError: code in _CONFLICT or is_unstored,
    }
    kind = next((kind for kind, applies in kinds.items() if applies), StorageError)
    return (CommitOutcomeUnknownError if kind is StorageError and is_lost else kind)(_reason(error))


def _reason(error: errors.PyMongoError) -> str:
    """Return the server's message alone: the text of PyMongo's error repeats the whole answer."""
    details = getattr(error, "details", None)
    message = details.get("errmsg") if isinstance(details, dict) else None
    return str(message or error).partition(", Topology Description")[0]


class MongoClient:
    """An open connection to a database of MongoDB, in one event loop."""

    def __init__(self, uri: str, *, database: str) -> None:
        """Create a client; nothing connects yet.

        Args:
            uri: the server's address.
            database: the database to use if the URI names none.

        Raises:
            ConfigurationError: the URI is not of MongoDB.
        """
        self._uri = parse_mongodb_uri(uri)
        self._name = self._uri.database or database
        self._client: AsyncMongoClient[Document] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def __repr__(self) -> str:
        """Show the address, without a password."""
        return repr(self._uri)

    @property
    def is_open(self) -> bool:
        """True between `open` and `close`."""
        return self._client is not None

    async def open(self) -> None:
        """Connect, and check that the server has transactions.

        Raises:
            ConfigurationError: the URI is not valid, or asks for writes that are not acknowledged.
            UnsupportedServerError: the server is too old, or neither a replica set nor a sharded
                cluster.
            StorageError: the server cannot be reached.
        """
        if self._client is not None:
            raise ConfigurationError(f"The metadata store for {self!r} is open already.")
        with translated_errors(writes=False):
            try:
                options: dict[str, Any] = {"tz_aware": True, **self._uri.limits}
                client = AsyncMongoClient[Document](self._uri.uri, **options)
            except (TypeError, ValueError) as error:
                raise _invalid("see the cause") from error
            try:
                _check_server(await client.admin.command("hello"), client.write_concern)
            except BaseException:
                await client.close()
                raise
        self._client = client
        self._loop, self._pid = asyncio.get_running_loop(), os.getpid()

    async def close(self) -> None:
        """Close the connections, if open."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def database(self) -> AsyncDatabase[Document]:
        """The database, which is read where it is written.

        Raises:
            NotOpenError: the client is not open, or not in this event loop or process.
        """
        return self._opened().get_database(self._name, read_preference=ReadPreference.PRIMARY)

    async def now(self) -> datetime:
        """Return the server's time in UTC, to the millisecond."""
        now: datetime = (await self._opened().admin.command("hello"))["localTime"]
        return now.astimezone(UTC)

    async def transact(self, body: Callable[[AsyncClientSession], Awaitable[T]]) -> T:
        """Run a function in a transaction, again for up to 30 seconds after conflicts and losses.

        An exception of the function aborts the transaction. Without a server the function is not
        run again: PyMongo has waited for one already.

        Args:
            body: passes its session to each call; may run several times.
        """
        deadline = time.monotonic() + _CONFLICT_SECONDS
        while True:
            try:
                async with self._transaction() as session:
                    return await body(session)
            except StorageError as error:
                is_away = isinstance(error, ServerUnreachableError)
                if is_away or not error.retryable or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - spreads the callers

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncClientSession]:
        with translated_errors(writes=True):
            async with (
                self._opened().start_session() as session,
                await session.start_transaction(ReadConcern("snapshot")),
            ):
                yield session

    def _opened(self) -> AsyncMongoClient[Document]:
        if self._client is None:
            raise NotOpenError(
                f"The metadata store for {self!r} is not open. Use it inside `async with`, or call "
                "setup()."
            )
        if self._pid != os.getpid():
            raise ForkedProcessError(
                f"The metadata store for {self!r} was opened before this process was forked. Open "
                "another one in this process."
            )
        if self._loop is not asyncio.get_running_loop():
            raise WrongEventLoopError(
                f"The metadata store for {self!r} was opened in another event loop. Open another "
                "one in this loop."
            )
        return self._client


def _check_server(hello: Mapping[str, Any], concern: WriteConcern) -> None:
    """Check what a server says of itself, and that writes are acknowledged.

    Raises:
        ConfigurationError: the URI asks for writes that are not acknowledged.
        UnsupportedServerError: it is too old, or has no transactions.
    """
    if not concern.acknowledged:
        raise _invalid("w=0 means that no write is acknowledged; leave it out")
    if hello["maxWireVersion"] < _OLDEST_WIRE_VERSION:
        found = f"MongoDB with wire version {hello['maxWireVersion']}"
        raise UnsupportedServerError(found=found, required="MongoDB 6.0 or later")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise UnsupportedServerError(
            found="a MongoDB that is not of a replica set, and so has no transactions",
            required="a replica set, which may have one member: start mongod with --replSet rs0 "
            "and run rs.initiate() in mongosh; or a sharded cluster",
        )
