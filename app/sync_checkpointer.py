"""The synchronous checkpointer of the message log, for applications without asyncio."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast

from sqlalchemy import URL, Engine
from sqlalchemy.orm import Session, scoped_session

from threadlog.databases.base import PoolSize
from threadlog.databases.urls import parse_url
from threadlog.encoding.validation import check_count
from threadlog.errors import ConfigurationError, ThreadlogError
from threadlog.log import forks, hitl_answers, pending_requests, reading, runs, threads
from threadlog.log.append import append_messages
from threadlog.log.framework_types import VOCABULARY, DataT, FrameworkTypes, RequestT
from threadlog.log.message_codec import MessageT
from threadlog.log.results import RunSummary, StoredMessage, ThreadSummary
from threadlog.models import MESSAGES
from threadlog.repositories.log.thread import ThreadOrder
from threadlog.runtime.external import check_one_source, check_pool, check_same_kind, not_open
from threadlog.runtime.sync_client import (
    SyncEngineClient,
    SyncExternalClient,
    SyncFactoryClient,
    SyncOperations,
    factory_of,
)
from threadlog.runtime.transactions import Operation
from threadlog.schema.opening import open_sync_client

P = ParamSpec("P")
T = TypeVar("T")


class SyncMessageLog(Generic[MessageT, RequestT, DataT]):
    """The operations on a message log without asyncio; open a `SyncCheckpointer` to get one."""

    vocabulary: FrameworkTypes[MessageT, RequestT, DataT] = cast("Any", VOCABULARY)
    """The classes of messages, questions and threads; a subclass may set those of a framework."""

    client: SyncOperations
    """Runs the operations on the database."""

    @property
    def is_open(self) -> bool:
        """True if the checkpointer is open."""
        return self.client.is_open

    def load(
        self, thread_id: str, *, last: int | None = None, whole_turns: bool = False
    ) -> DataT | None:
        """See `Checkpointer.load`."""
        return self._read(
            reading.load, self.vocabulary, thread_id, last=last, whole_turns=whole_turns
        )

    def append(self, thread_id: str, messages: Sequence[MessageT]) -> None:
        """See `Checkpointer.append`."""
        if isinstance(messages, list | tuple) and not messages:
            return
        self._write(append_messages, self.vocabulary, thread_id, messages)

    def save_extra(self, thread_id: str, extra: dict[str, Any]) -> None:
        """See `Checkpointer.save_extra`."""
        self._write(threads.save_extra, thread_id, extra)

    def read(
        self, thread_id: str, *, after_seq: int = 0, limit: int | None = None
    ) -> list[StoredMessage[MessageT]]:
        """See `Checkpointer.read`."""
        return self._read(
            reading.read, self.vocabulary, thread_id, after_seq=after_seq, limit=limit
        )

    def stream(
        self, thread_id: str, *, after_seq: int = 0, batch_size: int = 500
    ) -> Iterator[StoredMessage[MessageT]]:
        """See `Checkpointer.stream`."""
        check_count(batch_size, "batch_size", least=1)
        while batch := self.read(thread_id, after_seq=after_seq, limit=batch_size):
            yield from batch
            after_seq = batch[-1].seq

    def list_threads(
        self,
        *,
        after: ThreadSummary | str | None = None,
        limit: int = 100,
        order: ThreadOrder = "id",
    ) -> list[ThreadSummary]:
        """See `Checkpointer.list_threads`."""
        return self._read(threads.list_threads, after=after, limit=limit, order=order)

    def delete_thread(self, thread_id: str, *, detach_forks: bool = False) -> bool:
        """See `Checkpointer.delete_thread`."""
        return self._write(threads.delete_thread, thread_id, detach_forks=detach_forks)

    def claim_run(self, thread_id: str, run_id: str) -> None:
        """See `Checkpointer.claim_run`."""
        self._write(runs.claim_run, thread_id, run_id)

    def mark_run_complete(self, thread_id: str, run_id: str) -> None:
        """See `Checkpointer.mark_run_complete`."""
        self._write(runs.mark_run_complete, thread_id, run_id)

    def release_run(
        self, thread_id: str, run_id: str, *, older_than: timedelta | None = None
    ) -> None:
        """See `Checkpointer.release_run`."""
        self._write(runs.release_run, thread_id, run_id, older_than=older_than)

    def runs(self, thread_id: str) -> list[RunSummary]:
        """See `Checkpointer.runs`."""
        return self._read(runs.runs, thread_id)

    def stale_runs(self, older_than: timedelta) -> list[RunSummary]:
        """See `Checkpointer.stale_runs`."""
        return self._read(runs.stale_runs, older_than)

    def snapshot(self, thread_id: str, *, after_run_id: str) -> list[MessageT]:
        """See `Checkpointer.snapshot`."""
        return self._read(forks.snapshot, self.vocabulary, thread_id, after_run_id=after_run_id)

    def fork(
        self,
        src_thread_id: str,
        new_thread_id: str,
        *,
        after_run_id: str,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """See `Checkpointer.fork`."""
        self._write(
            forks.fork,
            src_thread_id,
            new_thread_id,
            after_run_id=after_run_id,
            metadata=metadata,
        )

    def save_pending_request(
        self, thread_id: str, request: RequestT | None, *, run_id: str | None = None
    ) -> None:
        """See `Checkpointer.save_pending_request`."""
        self._write(
            pending_requests.save_pending_request,
            self.vocabulary,
            thread_id,
            request,
            run_id=run_id,
        )

    def load_pending(self, thread_id: str) -> tuple[RequestT, str | None] | None:
        """See `Checkpointer.load_pending`."""
        return self._read(pending_requests.load_pending, self.vocabulary, thread_id)

    def load_pending_request(self, thread_id: str) -> RequestT | None:
        """See `Checkpointer.load_pending_request`."""
        pending = self.load_pending(thread_id)
        return None if pending is None else pending[0]

    def load_pending_run_id(self, thread_id: str) -> str | None:
        """See `Checkpointer.load_pending_run_id`."""
        return self._read(pending_requests.load_pending_run_id, thread_id)

    def clear_pending_request_if_matches(
        self, thread_id: str, *, question_id: str, run_id: str
    ) -> bool:
        """See `Checkpointer.clear_pending_request_if_matches`."""
        return self._write(
            pending_requests.clear_pending_request_if_matches,
            thread_id,
            question_id=question_id,
            run_id=run_id,
        )

    def save_hitl_answer(
        self, thread_id: str, question_id: str, answer: Any, *, run_id: str | None = None
    ) -> None:
        """See `Checkpointer.save_hitl_answer`."""
        self._write(hitl_answers.save_hitl_answer, thread_id, question_id, answer, run_id=run_id)

    def load_hitl_answer(
        self,
        thread_id: str,
        question_id: str,
        *,
        run_id: str | None = None,
        default: Any = None,
    ) -> Any:
        """See `Checkpointer.load_hitl_answer`."""
        return self._read(
            hitl_answers.load_hitl_answer,
            thread_id,
            question_id,
            run_id=run_id,
            default=default,
        )

    def clear_hitl_answers(
        self,
        thread_id: str,
        question_ids: Iterable[str] | None = None,
        *,
        run_id: str | None = None,
    ) -> None:
        """See `Checkpointer.clear_hitl_answers`."""
        self._write(hitl_answers.clear_hitl_answers, thread_id, question_ids, run_id=run_id)

    def _write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return self.client.write(operation, *args, **kwargs)
        except ThreadlogError as error:
            self._convert(error)
            raise

    def _read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return self.client.read(operation, *args, **kwargs)
        except ThreadlogError as error:
            self._convert(error)
            raise

    def _convert(self, error: ThreadlogError) -> None:
        """Add to an error the framework's exception class too, if there is a framework."""
        self.vocabulary.say(error, self.client.backend.framework_name)


class SyncBoundCheckpointer(SyncMessageLog[MessageT, RequestT, DataT]):
    """The operations of a `SyncCheckpointer` in a session of the application."""

    def __init__(
        self, client: SyncExternalClient, vocabulary: FrameworkTypes[MessageT, RequestT, DataT]
    ) -> None:
        """Create the operations of a session's client; `SyncCheckpointer.bind` does."""
        self.client = client
        self.vocabulary = vocabulary

    def __repr__(self) -> str:
        """Show the class, and the engine's URL without its password."""
        return f"<{type(self).__name__} {self.client}>"


class SyncCheckpointer(SyncMessageLog[MessageT, RequestT, DataT]):
    """A `Checkpointer` without asyncio: a context manager with the same methods.

    ::

        with SyncCheckpointer("mysql://user:password@host/database") as checkpointer:
            checkpointer.append("order-17", [message])
            data = checkpointer.load("order-17")

    Any number of threads may use one. What each method does, returns, raises and guarantees
    is documented at `Checkpointer`; both run the same operations.
    """

    def __init__(
        self,
        url: str | URL | None = None,
        *,
        engine: Engine | None = None,
        session_factory: Callable[[], Session] | None = None,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
        retry_seconds: float | None = None,
    ) -> None:
        """Create a checkpointer; nothing connects before the block.

        Args:
            url: as for `Checkpointer`, but through PyMySQL: ``mysql://`` or
                ``mysql+pymysql://``; ``postgresql://`` through psycopg; and ``sqlite:///file.db``.
            engine: an engine of the application's, in place of a URL.
            session_factory: a ``sessionmaker`` of the application's, in place of a URL.
            min_pool_size: as for `Checkpointer`.
            max_pool_size: as for `Checkpointer`.
            retry_seconds: as for `Checkpointer`.

        Raises:
            ConfigurationError: none or several of the first three are given, or one cannot
                be used.
        """
        check_one_source(url, engine, session_factory)
        check_pool(min_pool_size, max_pool_size)
        self.client: SyncEngineClient | SyncFactoryClient = (
            SyncEngineClient(
                parse_url(url), PoolSize(min_pool_size, max_pool_size), MESSAGES, retry_seconds
            )
            if url is not None
            else SyncFactoryClient(factory_of(engine, session_factory), MESSAGES, retry_seconds)
        )

    def __repr__(self) -> str:
        """Show the class, the URL without its password, and the state."""
        return f"<{type(self).__name__} {self.client} {'open' if self.is_open else 'closed'}>"

    def __enter__(self) -> Self:
        """Connect, and verify server and schema; see `Checkpointer.__aenter__`."""
        try:
            open_sync_client(self.client)
        except ThreadlogError as error:
            self._convert(error)
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close own connections; those in use when their call returns."""
        self.client.close()

    def bind(
        self, session: Session | scoped_session[Session]
    ) -> "SyncBoundCheckpointer[MessageT, RequestT, DataT]":
        """Return the same methods for use in a session; see `Checkpointer.bind`."""
        if isinstance(session, scoped_session):
            session = session()
        if not isinstance(session, Session):
            raise ConfigurationError(
                f"bind() takes a Session, not a {type(session).__name__}. threadlog.Checkpointer "
                "binds an AsyncSession."
            )
        if not self.client.is_open:
            raise not_open(self.client)
        backend, limit = self.client.backend, self.client.statement_limit
        check_same_kind(session, backend, MESSAGES)
        client = SyncExternalClient(session, backend, MESSAGES, limit)
        return SyncBoundCheckpointer(client, self.vocabulary)
