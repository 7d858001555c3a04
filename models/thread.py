"""Threads: one row for each conversation."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, ColumnElement, ForeignKey, Index
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column, relationship

from threadlog.models.base import Base
from threadlog.models.dialects.ddl import THREADS
from threadlog.models.dialects.json import ExactJson, empty_object
from threadlog.models.dialects.query_plans import IsWaiting
from threadlog.models.dialects.time import (
    NOW,
    Timestamp,
    now_and_on_update,
    statement_time,
)
from threadlog.models.dialects.types import identifier

if TYPE_CHECKING:
    from threadlog.models.hitl_answer import HitlAnswer
    from threadlog.models.message import Message
    from threadlog.models.run import Run


class Thread(Base):
    """One conversation. A thread's seqs are allocated under the lock of its row.

    Times are read in the session's time zone on MySQL (UTC on sessions that threadlog opens)
    and in UTC on SQLite, to the second; on PostgreSQL they have a time zone and microseconds.
    An aware datetime in a condition is a point in time on every database.
    """

    __tablename__ = "cubepi_threads"
    __table_args__ = (
        Index("ix_cubepi_threads_recent", "updated_at", "thread_id"),
        THREADS,
    )

    thread_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """Name of the conversation, chosen by the application; compared byte by byte."""

    parent_thread_id: Mapped[str | None] = mapped_column(
        identifier(), ForeignKey("cubepi_threads.thread_id")
    )
    """The thread that this one was forked from; NULL if it is not a fork."""

    forked_at_seq: Mapped[int | None] = mapped_column(BigInteger)
    """The seq of the last message that the fork copied from its parent."""

    extra: Mapped[dict[str, Any]] = mapped_column(ExactJson(), server_default=empty_object())
    """The application's own values: a JSON object, merged by ``save_extra``."""

    pending_request: Mapped[dict[str, Any] | None] = mapped_column(ExactJson(none_as_null=True))
    """The question that waits for a person's answer; NULL if no question is open."""

    run_id: Mapped[str | None] = mapped_column(identifier())
    """The run that asked the pending question."""

    @hybrid_property
    def waiting(self) -> bool:
        """Whether a question waits for a person's answer, also in conditions of a query."""
        return self.pending_request is not None

    @waiting.inplace.expression
    @classmethod
    def _waiting(cls) -> ColumnElement[bool]:
        return IsWaiting(cls.pending_request)

    created_at: Mapped[datetime] = mapped_column(Timestamp(), server_default=NOW)
    """Time of the first write to the thread."""

    updated_at: Mapped[datetime] = mapped_column(
        Timestamp(), server_default=now_and_on_update(), onupdate=statement_time()
    )
    """Time of the last write to the thread or its messages."""

    messages: Mapped[list["Message"]] = relationship(
        primaryjoin="Thread.thread_id == foreign(Message.thread_id)",
        order_by="Message.seq",
        viewonly=True,
        lazy="raise",
    )
    """The thread's messages in seq order, for joins and reads.

    Loaded only by a query with ``options(selectinload(Thread.messages))``: a thread may be of
    any length, and an access to an attribute must not read all of it.
    """

    runs: Mapped[list["Run"]] = relationship(
        primaryjoin="Thread.thread_id == foreign(Run.thread_id)",
        order_by="Run.claimed_at",
        viewonly=True,
        lazy="raise",
    )
    """The thread's runs in the order of their claims; loaded on request only, as `messages`."""

    answers: Mapped[list["HitlAnswer"]] = relationship(
        primaryjoin="Thread.thread_id == foreign(HitlAnswer.thread_id)",
        order_by="HitlAnswer.answered_at",
        viewonly=True,
        lazy="raise",
    )
    """People's answers in the thread; loaded on request only, as `messages`."""

    forks: Mapped[list["Thread"]] = relationship(
        primaryjoin="Thread.thread_id == foreign(remote(Thread.parent_thread_id))",
        order_by="Thread.thread_id",
        viewonly=True,
        lazy="raise",
    )
    """The threads that were forked from this one; loaded on request only, as `messages`."""
