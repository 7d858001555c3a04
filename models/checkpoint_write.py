"""Writes of graphs' tasks, kept so that a step that is repeated does not repeat them."""

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import GraphBase
from threadlog.models.dialects import (
    TABLE_OPTIONS,
    digest,
    exact_text,
    identifier,
    large_binary,
    long_text,
)


class CheckpointWrite(GraphBase):
    """What one task wrote to one channel after a checkpoint.

    There is no foreign key to the checkpoint: a run saves both at once, in any order.
    """

    __tablename__ = "threadlog_checkpoint_writes"
    __table_args__ = TABLE_OPTIONS

    thread_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The thread."""

    ns_digest: Mapped[str] = mapped_column(digest(32), primary_key=True)
    """Hash of the checkpoint's namespace."""

    checkpoint_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The checkpoint from which the task ran."""

    task_id: Mapped[str] = mapped_column(exact_text(String(128)), primary_key=True)
    """The task."""

    idx: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """The write's place among the task's; negative for errors, interrupts and the like."""

    task_path: Mapped[str] = mapped_column(long_text())
    """The task's place among those of its step, by which writes are ordered."""

    channel: Mapped[str] = mapped_column(long_text())
    """The channel's name."""

    type: Mapped[str] = mapped_column(String(255))
    """How `value` is serialised, as LangGraph's serialiser calls it."""

    value: Mapped[bytes] = mapped_column(large_binary())
    """The value, serialised."""
