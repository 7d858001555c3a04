"""The asynchronous door: an agent's checkpointer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, cast

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from threadlog import operations
from threadlog.backends import PoolSize, backend_of, parse_url, show_url
from threadlog.codec import MESSAGE_CODEC, MessageCodec, MessageT
from threadlog.engines import connections, open_engine
from threadlog.errors import ConfigurationError, NotOpenError, ThreadlogError
from threadlog.repositories.thread import ThreadOrder
from threadlog.store import OwnedStore, retry_policy
from threadlog.validation import check_count
from threadlog.values import CheckpointData, StoredMessage, ThreadSummary

P = ParamSpec("P")
T = TypeVar("T")

_RETRYING: Final = retry_policy(lambda seconds: await_only(asyncio.sleep(seconds)))


_GRACE_SECONDS: Final = 5.0


class Checkpointer(Generic[MessageT]):
    """Keeps conversations in the database of a URL: in order, exactly once.

    An asynchronous context manager; its methods work inside the block only::

        async with Checkpointer("mysql://user:password@host/database") as checkpointer:
            await checkpointer.append("order-17", [message])
            data = await checkpointer.load("order-17")

    Any number of tasks may use one checkpointer, and any number of processes one database.
    A method's writes are one transaction: when it returns they are durable, when it raises
    nothing was written (but for `CommitOutcomeUnknownError`). After a deadlock, a lock
    timeout or a lost connection the transaction is run again by itself.

    Cancelling a method lets the transaction that runs finish, for up to five seconds, and
    then raises: what it wrote is stored wholly or not at all.

    Every method may raise `StorageError`, and `NotOpenError` outside the block.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
        codec: MessageCodec[MessageT] | None = None,
    ) -> None:
        """Take the database's URL; nothing connects before the block is entered.

        Args:
            url: ``mysql://user:password@host:3306/database`` (also ``mysql+asyncmy://`` and
                ``mysql+aiomysql://``), ``sqlite:///file.db`` or ``sqlite://`` for a database
                in memory. Query arguments go to the driver; on MySQL those for TLS are
                ``ssl_mode``, ``ssl_ca``, ``ssl_cert`` and ``ssl_key``.
            min_pool_size: connections that are opened on entering.
            max_pool_size: the most connections at once; further operations wait. SQLite, which
                has one writer at a time, is always given one connection.
            codec: the message classes to read and write, those of `threadlog.messages` if
                left out.

        Raises:
            ConfigurationError: the URL or a pool size cannot be used.
        """
        check_count(max_pool_size, "max_pool_size", least=1)
        check_count(min_pool_size, "min_pool_size", least=0)
        if min_pool_size > max_pool_size:
            raise ConfigurationError(
                f"min_pool_size ({min_pool_size}) is above max_pool_size ({max_pool_size})."
            )
        self._url = parse_url(url)
        self._pool = PoolSize(min_pool_size, max_pool_size)
        self._backend = backend_of(self._url)
        self._backend.settings(self._url, self._pool)
        self._codec = codec or cast("MessageCodec[MessageT]", MESSAGE_CODEC)
        self._engine: AsyncEngine | None = None
        self._slots: asyncio.Semaphore | None = None
        self._statement_limit = 0

    def __repr__(self) -> str:
        """Show the class, the URL without its password, and the state."""
        state = "closed" if self._engine is None else "open"
        return f"<{type(self).__name__} {show_url(self._url)} {state}>"

    async def __aenter__(self) -> Self:
        """Connect, and verify server and schema.

        Raises:
            MissingExtraError: the database's driver is not installed.
            UnsupportedServerError: the server is of the wrong kind or too old.
            CubepiSchemaUninitialized: the tables, or the row with their version, are
                missing. (An SQLite database that has none is given them instead.)
            CubepiSchemaMismatch: the tables are of another version.
        """
        if self._engine is not None:
            raise ConfigurationError(f"{self!r} is entered already; use one block at a time.")
        self._engine, self._backend = open_engine(self._url, self._pool)
        # First come, first served, for as long as it takes: the pool's own queue would give
        # up after half a minute. Closing takes all slots to see that nothing runs.
        self._slots = asyncio.Semaphore(connections(self._engine))
        try:
            self._statement_limit = await self._run(
                operations.open_database, self._backend, warm=self._pool.least
            )
        except ThreadlogError:
            await self._close()
            raise
        except (TypeError, ValueError, OverflowError) as error:
            await self._close()
            # What drivers say of an option that they do not know, or of its value.
            raise ConfigurationError(f"The URL has an option that is wrong: {error}.") from error
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let what runs finish, for up to five seconds, and close the connections."""
        await self._close()

    async def load(
        self, thread_id: str, *, last: int | None = None
    ) -> CheckpointData[MessageT] | None:
        """Read a thread: its messages, `extra` and parent, all of one point in time.

        Args:
            thread_id: the thread.
            last: read only so many of the newest messages.

        Returns:
            The thread with its messages in seq order; None where there is none.

        Raises:
            InvalidIdError: `thread_id` cannot be a key.
            CheckpointCorruptionError: a row cannot be read; none is ever skipped.
        """
        return await self._run(operations.load, thread_id, last=last)

    async def append(self, thread_id: str, messages: Sequence[MessageT]) -> None:
        """Append messages to a thread, which is created if need be: all of them or none.

        They get the next seqs of the thread, without gap, in the order given. Seqs are
        allocated under a lock on the thread's row: appends of any number of processes to
        one thread follow one another, those to different threads do not wait. An empty
        list does nothing, without a connection.

        Args:
            thread_id: the thread.
            messages: messages of the codec's three classes.

        Raises:
            InvalidIdError: `thread_id` cannot be a key.
            InvalidInputError: `messages` is no list of messages.
            InvalidMessageError: a message cannot be stored.
            TooLargeError: a message does not fit into a statement.
        """
        await self._run(operations.append, thread_id, messages)

    async def save_extra(self, thread_id: str, extra: dict[str, Any]) -> None:
        """Merge values into a thread's `extra`; the thread is created if need be.

        The merge is that of ``dict.update``, under a lock on the thread's row: top-level
        keys replace, None is kept as null, nested objects are replaced and not merged.

        Args:
            thread_id: the thread.
            extra: a dict of JSON values.

        Raises:
            InvalidIdError: `thread_id` cannot be a key.
            InvalidJsonError: `extra` is not a JSON object that every database keeps.
            TooLargeError: `extra` does not fit into a statement.
        """
        await self._run(operations.save_extra, thread_id, extra)

    async def read(
        self, thread_id: str, *, after_seq: int = 0, limit: int | None = None
    ) -> list[StoredMessage[MessageT]]:
        """Read messages with their seq and time, to page or to follow a thread.

        Args:
            thread_id: the thread.
            after_seq: read only messages with a higher seq.
            limit: read at most so many.

        Returns:
            The messages in seq order; an empty list where there are none.

        Raises:
            CheckpointCorruptionError: a row cannot be read.
        """
        return await self._run(operations.read, thread_id, after_seq=after_seq, limit=limit)

    async def stream(
        self, thread_id: str, *, after_seq: int = 0, batch_size: int = 500
    ) -> AsyncIterator[StoredMessage[MessageT]]:
        """Iterate a thread of any length in constant memory.

        Between batches no connection is held, so a slow consumer blocks nobody; messages
        that are appended meanwhile are included.

        Args:
            thread_id: the thread.
            after_seq: begin behind this seq.
            batch_size: messages that are read at a time.

        Raises:
            InvalidInputError: `batch_size` is not a positive int.
            CheckpointCorruptionError: a row cannot be read; those before it were given.
        """
        check_count(batch_size, "batch_size", least=1)
        while batch := await self.read(thread_id, after_seq=after_seq, limit=batch_size):
            for stored in batch:
                yield stored
            after_seq = batch[-1].seq

    async def list_threads(
        self,
        *,
        after: ThreadSummary | str | None = None,
        limit: int = 100,
        order: ThreadOrder = "id",
    ) -> list[ThreadSummary]:
        """List threads, a page at a time, without counting messages.

        Args:
            after: the last summary of the previous page; with ``order="id"`` its thread id
                is enough.
            limit: the length of a page.
            order: ``"id"``, in the order of the database's binary collation, or ``"recent"``,
                last written to first.

        Returns:
            Up to `limit` threads; fewer mean that there are no more.
        """
        return await self._run(operations.list_threads, after=after, limit=limit, order=order)

    async def delete_thread(self, thread_id: str, *, detach_forks: bool = False) -> bool:
        """Delete a thread with its messages, runs and answers, in one transaction.

        Args:
            thread_id: the thread.
            detach_forks: keep its forks, which lose their link to it.

        Returns:
            Whether there was such a thread.

        Raises:
            ThreadHasForksError: it has forks and they were not to be detached.
        """
        return await self._run(operations.delete_thread, thread_id, detach_forks=detach_forks)

    async def _run(
        self,
        operation: Callable[Concatenate[OwnedStore[MessageT], P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation, all of its statements in one greenlet.

        The operation closes the session itself: leaving that to AsyncSession would cost
        a second greenlet and a task each time.
        """
        if self._engine is None or self._slots is None:
            raise NotOpenError(f"{self!r} is not open. Use it inside its 'async with' block.")

        def run(session: Session) -> T:
            store = OwnedStore(
                session,
                self._backend,
                self._codec,
                statement_limit=self._statement_limit,
                retrying=_RETRYING,
            )
            return operation(store, *args, **kwargs)

        engine = self._engine
        async with self._slots:
            if self._engine is not engine:
                raise NotOpenError(f"{self!r} was closed before the operation began.")
            return await _undisturbed(AsyncSession(self._engine).run_sync(run))

    async def _close(self) -> None:
        """Close the engine when what runs has finished, or after a grace period."""
        engine, self._engine = self._engine, None
        if engine is None or self._slots is None:
            return
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                for _ in range(connections(engine)):
                    await self._slots.acquire()
        except TimeoutError:
            return  # what still runs closes its connection itself
        finally:
            await engine.dispose()


class MySQLCheckpointer(Checkpointer[MessageT]):
    """A `Checkpointer` that takes only MySQL."""

    def __init__(
        self,
        dsn: str | URL,
        *,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
        codec: MessageCodec[MessageT] | None = None,
    ) -> None:
        """Take a ``mysql://`` URL; see `Checkpointer`.

        Raises:
            ConfigurationError: the URL is of another database.
        """
        url = parse_url(dsn)
        if url.get_backend_name() != "mysql":
            raise ConfigurationError(
                f"MySQLCheckpointer takes mysql:// URLs, not {url.drivername}://. Use "
                "Checkpointer, which takes all."
            )
        super().__init__(url, min_pool_size=min_pool_size, max_pool_size=max_pool_size, codec=codec)


async def _undisturbed(work: Coroutine[Any, Any, T]) -> T:
    """Await work that a cancellation of the caller does not break off in the middle.

    Breaking off costs the connection, and a log entry for each; a transaction takes
    milliseconds. Beyond a grace period the work is cancelled after all.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await asyncio.wait({task}, timeout=_GRACE_SECONDS)
        finally:
            task.cancel()
            task.add_done_callback(_retrieve)
        raise


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Look at a task's exception, which nobody waits for any more, so that none is logged."""
    if not task.cancelled():
        task.exception()
