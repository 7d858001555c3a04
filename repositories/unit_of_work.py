"""One session, one transaction, and the repositories bound to it."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import Any, Final, Self

from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from threadlog.errors import CommitOutcomeUnknownError
from threadlog.models import SchemaPart
from threadlog.models.dialects import dialect_of, supports_last_insert_id
from threadlog.repositories.catalog.catalog import CatalogueRepository
from threadlog.repositories.catalog.schema_version import SchemaVersionRepository
from threadlog.repositories.graph.checkpoint import CheckpointRepository
from threadlog.repositories.graph.checkpoint_blob import CheckpointBlobRepository
from threadlog.repositories.graph.checkpoint_write import CheckpointWriteRepository
from threadlog.repositories.log.fork import ForkRepository
from threadlog.repositories.log.hitl_answer import HitlAnswerRepository
from threadlog.repositories.log.message import MessageRepository
from threadlog.repositories.log.pending_request import PendingRequestRepository
from threadlog.repositories.log.run import RunRepository
from threadlog.repositories.log.thread import ThreadRepository
from threadlog.repositories.metadata.run import AppRunRepository
from threadlog.repositories.metadata.thread import AppThreadRepository
from threadlog.repositories.transfer import RawRowRepository, count_rows

WRITES: Final = "threadlog_writes"
"""Execution option of a connection whose transaction is going to write: an engine may take
its write lock at the start (SQLite's BEGIN IMMEDIATE)."""


class UnitOfWork:
    """Hands out the repositories of one session.

    Use one of the two kinds: `OwnedUnitOfWork`, which ends the transaction, or
    `JoinedUnitOfWork`, which leaves that to the host.
    """

    lost_commits: tuple[CommitOutcomeUnknownError, ...] = ()
    """What earlier tries of the block raised that lost their connection during COMMIT: what
    they wrote may be stored."""

    def __init__(self, session: Session, *, read_committed: bool) -> None:
        """Bind the repositories to a session.

        Args:
            session: what every statement of the block runs on.
            read_committed: whether the session is known to read at READ COMMITTED, where
                a locking read of a missing row locks nothing.
        """
        self.session = session
        self._read_committed = read_committed

    @property
    def can_lock_and_append(self) -> bool:
        """Whether `MessageRepository.lock_and_append` can be used."""
        return self._read_committed and supports_last_insert_id(dialect_of(self.session))

    @cached_property
    def threads(self) -> ThreadRepository:
        """Threads, and the lock under which a thread's seq is allocated."""
        return ThreadRepository(self.session, read_committed=self._read_committed)

    @cached_property
    def messages(self) -> MessageRepository:
        """Messages of threads."""
        return MessageRepository(self.session)

    @cached_property
    def runs(self) -> RunRepository:
        """Runs of agents on threads."""
        return RunRepository(self.session)

    @cached_property
    def forks(self) -> ForkRepository:
        """The finished part of a thread."""
        return ForkRepository(self.session)

    @cached_property
    def pending_requests(self) -> PendingRequestRepository:
        """Questions that wait for a person."""
        return PendingRequestRepository(self.session, read_committed=self._read_committed)

    @cached_property
    def hitl_answers(self) -> HitlAnswerRepository:
        """Answers that people gave."""
        return HitlAnswerRepository(self.session)

    @cached_property
    def checkpoints(self) -> CheckpointRepository:
        """Checkpoints of graphs."""
        return CheckpointRepository(self.session)

    @cached_property
    def checkpoint_blobs(self) -> CheckpointBlobRepository:
        """Values of graphs' channels."""
        return CheckpointBlobRepository(self.session)

    @cached_property
    def checkpoint_writes(self) -> CheckpointWriteRepository:
        """Writes of graphs' tasks."""
        return CheckpointWriteRepository(self.session)

    @cached_property
    def app_threads(self) -> AppThreadRepository:
        """Threads as a server of agents lists them."""
        return AppThreadRepository(self.session)

    @cached_property
    def app_runs(self) -> AppRunRepository:
        """Runs as a server of agents lists them."""
        return AppRunRepository(self.session)

    def raw_rows(self, table: Table) -> RawRowRepository:
        """Give the rows of a table of the models, as they are carried to another database."""
        return RawRowRepository(self.session, table)

    def count_rows(self, tables: Sequence[Table], thread_id: Any) -> dict[Table, int]:
        """Count a thread's rows in several tables of the models, in one statement."""
        return count_rows(self.session, tables, thread_id)

    def schema_version(self, part: SchemaPart) -> SchemaVersionRepository:
        """Give the version that a part of the schema says it has."""
        return SchemaVersionRepository(self.session, part)

    @cached_property
    def catalogue(self) -> CatalogueRepository:
        """What the server says of itself and of the tables."""
        return CatalogueRepository(self.session)


class OwnedUnitOfWork(UnitOfWork):
    """A unit of work on a session that threadlog opened.

    Leaving the block commits (a unit that only reads rolls back, which costs the same),
    an exception rolls back, and either way the session is closed: afterwards it holds no
    connection. The block may be run again on the same session.
    """

    def __init__(
        self, session: Session, *, writes: bool = True, read_committed: bool = False
    ) -> None:
        """Own `session` until the block ends; say whether the block is going to write."""
        super().__init__(session, read_committed=read_committed)
        self._writes = writes

    def __enter__(self) -> Self:
        """Begin the transaction."""
        self._connection = self.session.connection(execution_options={WRITES: self._writes})
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the transaction and give the connection back.

        Raises:
            CommitOutcomeUnknownError: the connection was lost while committing.
        """
        try:
            if exc is None and self._writes:
                self._commit()
        finally:
            self.session.close()  # rolls back what was not committed

    def _commit(self) -> None:
        try:
            self.session.commit()
        except DBAPIError as error:
            # What could not be committed may still be open, with its locks, and SQLAlchemy
            # takes it for ended: nobody else is to be given that connection.
            if not self._connection.invalidated:
                self._connection.invalidate(error)
            if error.connection_invalidated:
                raise CommitOutcomeUnknownError(str(error.orig)) from error
            raise


class JoinedUnitOfWork(UnitOfWork):
    """A unit of work on a session that the host opened.

    The statements run in the host's transaction. The block never commits, rolls back or
    closes; nothing is run a second time; what the database raises goes to the host, which
    alone can end its transaction. Rows stay locked until it does. Objects that the host has
    pending in the session stay pending.
    """

    def __init__(self, session: Session, *, read_committed: bool = False) -> None:
        """Join the session's transaction, or let the first statement begin it."""
        super().__init__(session, read_committed=read_committed)
        self._without_autoflush = ExitStack()

    def __enter__(self) -> Self:
        """Keep the session from flushing what the host has pending."""
        self._without_autoflush.enter_context(self.session.no_autoflush)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the session flush as before; the transaction is the host's."""
        self._without_autoflush.close()
