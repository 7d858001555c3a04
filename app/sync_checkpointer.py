"""The synchronous door: the same checkpointer for hosts without asyncio."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, Engine
from sqlalchemy.orm import Session

from threadlog.encoding.validation import check_count
from threadlog.errors import ConfigurationError
from threadlog.log import operations
from threadlog.log.framework_types import DataT, RequestT
from threadlog.log.message_codec import MessageT
from threadlog.log.results import RunSummary, StoredMessage, ThreadSummary
from threadlog.log.speaking import SpeakingDoor
from threadlog.repositories.log.thread import ThreadOrder
from threadlog.runtime.sync_client import SyncDoor
from threadlog.runtime.sync_session_sources import SyncExternalSession


class SyncCheckpointer(SpeakingDoor[MessageT, RequestT, DataT], SyncDoor):
    """A `Checkpointer` without asyncio: a context manager with the same methods.

    ::

        with SyncCheckpointer("mysql://user:password@host/database") as checkpointer:
            checkpointer.append("order-17", [message])
            data = checkpointer.load("order-17")

    Any number of threads may use one. What each method does, gives, raises and guarantees
    is said at `Checkpointer`; both run the same operations.
    """

    def __init__(
        self,
        url: str | URL | None = None,
        *,
        engine: Engine | None = None,
        session_factory: Callable[[], Session] | None = None,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
    ) -> None:
        """Take a database's URL, or what the host has; nothing connects before the block.

        Args:
            url: as for `Checkpointer`, but through PyMySQL: ``mysql://`` or
                ``mysql+pymysql://``; ``postgresql://`` through psycopg; and ``sqlite:///file.db``.
            engine: an engine of the host's, in place of a URL.
            session_factory: a ``sessionmaker`` of the host's, in place of a URL.
            min_pool_size: as for `Checkpointer`.
            max_pool_size: as for `Checkpointer`.

        Raises:
            ConfigurationError: none or several of the first three are given, or one cannot
                be used.
        """
        super().__init__(
            url,
            engine=engine,
            session_factory=session_factory,
            min_pool_size=min_pool_size,
            max_pool_size=max_pool_size,
        )

    def __enter__(self) -> Self:
        """Connect, and verify server and schema; see `Checkpointer.__aenter__`."""
        self._open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close connections of our own; those in use when their work is done."""
        self._close()

    def bind(self, session: Session) -> Self:
        """Give a checkpointer that works in a session of the host's; see `Checkpointer.bind`."""
        if not isinstance(session, Session):
            raise ConfigurationError(
                f"bind() takes a Session, not a {type(session).__name__}. threadlog.Checkpointer "
                "binds an AsyncSession."
            )
        return self._bound(session, SyncExternalSession(session, self._sessions.backend))

    def load(self, thread_id: str, *, last: int | None = None) -> DataT | None:
        """See `Checkpointer.load`."""
        return self._read(operations.load, self.vocabulary, thread_id, last=last)

    def append(self, thread_id: str, messages: Sequence[MessageT]) -> None:
        """See `Checkpointer.append`."""
        self._write(operations.append, self.vocabulary, thread_id, messages)

    def save_extra(self, thread_id: str, extra: dict[str, Any]) -> None:
        """See `Checkpointer.save_extra`."""
        self._write(operations.save_extra, thread_id, extra)

    def read(
        self, thread_id: str, *, after_seq: int = 0, limit: int | None = None
    ) -> list[StoredMessage[MessageT]]:
        """See `Checkpointer.read`."""
        return self._read(
            operations.read, self.vocabulary, thread_id, after_seq=after_seq, limit=limit
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
        return self._read(operations.list_threads, after=after, limit=limit, order=order)

    def delete_thread(self, thread_id: str, *, detach_forks: bool = False) -> bool:
        """See `Checkpointer.delete_thread`."""
        return self._write(operations.delete_thread, thread_id, detach_forks=detach_forks)

    def claim_run(self, thread_id: str, run_id: str) -> None:
        """See `Checkpointer.claim_run`."""
        self._write(operations.claim_run, thread_id, run_id)

    def mark_run_complete(self, thread_id: str, run_id: str) -> None:
        """See `Checkpointer.mark_run_complete`."""
        self._write(operations.mark_run_complete, thread_id, run_id)

    def release_run(
        self, thread_id: str, run_id: str, *, older_than: timedelta | None = None
    ) -> None:
        """See `Checkpointer.release_run`."""
        self._write(operations.release_run, thread_id, run_id, older_than=older_than)

    def runs(self, thread_id: str) -> list[RunSummary]:
        """See `Checkpointer.runs`."""
        return self._read(operations.runs, thread_id)

    def stale_runs(self, older_than: timedelta) -> list[RunSummary]:
        """See `Checkpointer.stale_runs`."""
        return self._read(operations.stale_runs, older_than)

    def snapshot(self, thread_id: str, *, after_run_id: str) -> list[MessageT]:
        """See `Checkpointer.snapshot`."""
        return self._read(
            operations.snapshot, self.vocabulary, thread_id, after_run_id=after_run_id
        )

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
            operations.fork,
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
            operations.save_pending_request, self.vocabulary, thread_id, request, run_id=run_id
        )

    def load_pending(self, thread_id: str) -> tuple[RequestT, str | None] | None:
        """See `Checkpointer.load_pending`."""
        return self._read(operations.load_pending, self.vocabulary, thread_id)

    def load_pending_request(self, thread_id: str) -> RequestT | None:
        """See `Checkpointer.load_pending_request`."""
        pending = self.load_pending(thread_id)
        return None if pending is None else pending[0]

    def load_pending_run_id(self, thread_id: str) -> str | None:
        """See `Checkpointer.load_pending_run_id`."""
        return self._read(operations.load_pending_run_id, thread_id)

    def clear_pending_request_if_matches(
        self, thread_id: str, *, question_id: str, run_id: str
    ) -> bool:
        """See `Checkpointer.clear_pending_request_if_matches`."""
        return self._write(
            operations.clear_pending_request_if_matches,
            thread_id,
            question_id=question_id,
            run_id=run_id,
        )

    def save_hitl_answer(
        self, thread_id: str, question_id: str, answer: Any, *, run_id: str | None = None
    ) -> None:
        """See `Checkpointer.save_hitl_answer`."""
        self._write(operations.save_hitl_answer, thread_id, question_id, answer, run_id=run_id)

    def load_hitl_answer(
        self, thread_id: str, question_id: str, *, run_id: str | None = None
    ) -> Any:
        """See `Checkpointer.load_hitl_answer`."""
        return self._read(operations.load_hitl_answer, thread_id, question_id, run_id=run_id)

    def clear_hitl_answers(
        self,
        thread_id: str,
        question_ids: Iterable[str] | None = None,
        *,
        run_id: str | None = None,
    ) -> None:
        """See `Checkpointer.clear_hitl_answers`."""
        self._write(operations.clear_hitl_answers, thread_id, question_ids, run_id=run_id)
