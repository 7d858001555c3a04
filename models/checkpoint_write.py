"""Writes of graphs' tasks, stored so that a repeated step does not run finished tasks again."""

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import GraphBase
from threadlog.models.dialects.ddl import TABLE_OPTIONS
from threadlog.models.dialects.types import digest, exact_text, identifier, large_binary, long_text


class CheckpointWrite(GraphBase):
    """One write of a task to a channel after a checkpoint.

    There is no foreign key to the checkpoint: a run saves both concurrently, in any order.
    """

    __tablename__ = "threadlog_checkpoint_writes"
    __table_args__ = TABLE_OPTIONS

    thread_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The thread's id."""

    ns_digest: Mapped[str] = mapped_column(digest(32), primary_key=True)
    """Hash of the checkpoint's namespace."""

    checkpoint_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The checkpoint from which the task ran."""

    task_id: Mapped[str] = mapped_column(exact_text(String(128)), primary_key=True)
    """The task's id."""

    idx: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """Number of the write within its task; negative for errors, interrupts and the like."""

    task_path: Mapped[str] = mapped_column(long_text())
    """Path of the task within its step; writes are ordered by it."""

    channel: Mapped[str] = mapped_column(long_text())
    """The channel's name."""

    type: Mapped[str] = mapped_column(String(255))
    """Format of `value`, as LangGraph's serialiser names it."""

    value: Mapped[bytes] = mapped_column(large_binary())
    """The value, serialised."""
