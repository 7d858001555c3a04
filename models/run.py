"""Runs of agents on threads, open and completed."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from threadlog.models.base import Base
from threadlog.models.dialects.ddl import PARTITIONED_BY_THREAD
from threadlog.models.dialects.time import NOW, Timestamp
from threadlog.models.dialects.types import identifier

if TYPE_CHECKING:
    from threadlog.models.thread import Thread


class Run(Base):
    """One run of an agent on a thread: first claimed, at its end completed."""

    __tablename__ = "cubepi_runs"
    __table_args__ = (
        Index("ix_cubepi_runs_thread_seq", "thread_id", "completion_seq"),
        PARTITIONED_BY_THREAD,
    )

    thread_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The thread that the run works on."""

    run_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """Name of the run, unique in its thread; compared byte by byte."""

    claimed_at: Mapped[datetime] = mapped_column(Timestamp(), server_default=NOW)
    """Time at which the run was claimed."""

    completed_at: Mapped[datetime | None] = mapped_column(Timestamp())
    """Time at which the run was completed; NULL while it is open."""

    completion_seq: Mapped[int | None] = mapped_column(BigInteger)
    """The run's number among the thread's completed runs: 1, 2, 3, …"""

    thread: Mapped["Thread"] = relationship(
        primaryjoin="foreign(Run.thread_id) == Thread.thread_id", viewonly=True, lazy="raise"
    )
    """The thread, loaded on request only, as `Thread.messages`."""
