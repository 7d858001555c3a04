"""Connect to MongoDB: its URI, time limits, errors and transactions."""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
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
    from pymongo import MongoClient as SyncClient
    from pymongo.asynchronous.client_session import AsyncClientSession
    from pymongo.asynchronous.database import AsyncDatabase
    from pymongo.read_concern import ReadConcern
except ModuleNotFoundError as error:
    raise MissingExtraError("pymongo", "mongodb") from error

T = TypeVar("T")
C = TypeVar("C", AsyncMongoClient[dict[str, Any]], SyncClient[dict[str, Any]])

Document = dict[str, Any]

DOCUMENT_BYTES: Final = 16 * 2**20
"""The limit of a document."""

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
_NO_SUCH_TRANSACTION: Final = 251


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
    """Raise PyMongo's errors as threadlog's, and a cancellation that PyMongo has swallowed.

    Args:
        writes: True if the block writes: after a lost connection its outcome is unknown.
    """
    before = _cancellations()
    try:
        yield
    except errors.PyMongoError as error:
        if _cancellations() > before:
            raise asyncio.CancelledError from error
        raise _translated(error, writes=writes) from error
    if _cancellations() > before:
        raise asyncio.CancelledError


def _cancellations() -> int:
    """Return how often the current task was cancelled; 0 in a thread without an event loop."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return 0
    return 0 if task is None else task.cancelling()


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


def created(kind: Callable[..., C], uri: MongoUri, **options: Any) -> C:
    """Create one of PyMongo's clients, which connects when it is used.

    Raises:
        ConfigurationError: the URI is not valid.
    """
    try:
        return kind(uri.uri, **options, **uri.limits)
    except (TypeError, ValueError) as error:
        raise _invalid("see the cause") from error


def check_acknowledged(concern: WriteConcern) -> None:
    """Raise ConfigurationError if a URI asks for writes that are not acknowledged."""
    if not concern.acknowledged:
        raise _invalid("w=0 means that no write is acknowledged; leave it out")


@contextmanager
def _committing() -> Iterator[None]:
    """Raise CommitOutcomeUnknownError if the server does not know the transaction to commit.

    PyMongo repeats a lost commit, and a server that has forgotten the first one says so.
    """
    try:
        yield
    except errors.OperationFailure as error:
        if error.code != _NO_SUCH_TRANSACTION:
            raise
        raise CommitOutcomeUnknownError(_reason(error)) from error


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
            client = created(AsyncMongoClient[Document], self._uri, tz_aware=True)
            try:
                check_acknowledged(client.write_concern)
                _check_server(await client.admin.command("hello"))
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
        hello = partial(self._opened().admin.command, "hello")
        try:
            found = await hello()
        except errors.ServerSelectionTimeoutError:
            raise
        except errors.AutoReconnect:  # PyMongo repeats reads of collections alone
            found = await hello()
        now: datetime = found["localTime"]
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
                return await self._attempt(body)
            except StorageError as error:
                is_away = isinstance(error, ServerUnreachableError)
                if is_away or not error.retryable or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - spreads the callers

    async def _attempt(self, body: Callable[[AsyncClientSession], Awaitable[T]]) -> T:
        with translated_errors(writes=True):
            async with (
                self._opened().start_session() as session,
                await session.start_transaction(ReadConcern("snapshot")),
            ):
                result = await body(session)
                with _committing():
                    await session.commit_transaction()
        return result

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


def _check_server(hello: Mapping[str, Any]) -> None:
    """Check what a server says of itself.

    Raises:
        UnsupportedServerError: it is too old, or has no transactions.
    """
    if hello["maxWireVersion"] < _OLDEST_WIRE_VERSION:
        found = f"MongoDB with wire version {hello['maxWireVersion']}"
        raise UnsupportedServerError(found=found, required="MongoDB 6.0 or later")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise UnsupportedServerError(
            found="a MongoDB that is not of a replica set, and so has no transactions",
            required="a replica set, which may have one member: start mongod with --replSet rs0 "
            "and run rs.initiate() in mongosh; or a sharded cluster",
        )
