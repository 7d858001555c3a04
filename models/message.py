"""The messages of the log."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from threadlog.models.base import Base
from threadlog.models.dialects.ddl import MESSAGES_BY_THREAD
from threadlog.models.dialects.json import ExactJson, empty_object
from threadlog.models.dialects.time import NOW, Timestamp
from threadlog.models.dialects.types import identifier, large_binary, short_text

if TYPE_CHECKING:
    from threadlog.models.thread import Thread


class Message(Base):
    """One message of a thread, never changed after it was written.

    Only PostgreSQL has the foreign key to the thread: MySQL forbids one on a partitioned table.
    """

    __tablename__ = "cubepi_messages"
    __table_args__ = (
        Index("ix_cubepi_messages_thread_run", "thread_id", "run_id"),
        MESSAGES_BY_THREAD,
    )

    thread_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The thread that the message belongs to."""

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """The message's number in its thread: 1, 2, 3, …"""

    role: Mapped[str] = mapped_column(short_text())
    """The author's role: ``user``, ``assistant`` or ``tool``."""

    metadata_: Mapped[dict[str, Any]] = mapped_column(
        "metadata", ExactJson(), server_default=empty_object()
    )
    """The message's metadata as a JSON object, for queries. On reading it replaces the copy
    in the payload. (``metadata`` itself is a reserved name in declarative classes.)
    """

    payload: Mapped[bytes] = mapped_column(large_binary())
    """The whole message: MessagePack of ``model_dump(mode="json")``."""

    run_id: Mapped[str | None] = mapped_column(identifier())
    """The run that wrote the message; NULL if it was written without a run."""

    created_at: Mapped[datetime] = mapped_column(Timestamp(), server_default=NOW)
    """Time at which the message was stored, to the second; in UTC as `Thread.created_at`."""

    thread: Mapped["Thread"] = relationship(
        primaryjoin="foreign(Message.thread_id) == Thread.thread_id", viewonly=True, lazy="raise"
    )
    """The thread, loaded on request only, as `Thread.messages`."""
