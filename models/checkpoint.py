"""Checkpoints of graphs: the state of a thread after each of its steps."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import GraphBase
from threadlog.models.dialects.ddl import TABLE_OPTIONS
from threadlog.models.dialects.json import ExactJson
from threadlog.models.dialects.types import UtcTime, digest, identifier, large_binary, long_text


class Checkpoint(GraphBase):
    """One checkpoint of one thread, without the values of its channels.

    Each version of a channel's value is stored once, as `CheckpointBlob`.
    """

    __tablename__ = "threadlog_checkpoints"
    __table_args__ = (
        Index("ix_threadlog_checkpoints_recent", "checkpoint_id"),
        Index("ix_threadlog_checkpoints_run", "run_id"),
        Index("ix_threadlog_checkpoints_created", "created_at", "thread_id"),
        TABLE_OPTIONS,
    )

    thread_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """Name of the thread, chosen by the application; compared byte by byte."""

    ns_digest: Mapped[str] = mapped_column(digest(32), primary_key=True)
    """Hash of `checkpoint_ns`, which may be too long for a key."""

    checkpoint_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """Name of the checkpoint; a later checkpoint has a greater name."""

    checkpoint_ns: Mapped[str] = mapped_column(long_text())
    """The graph in the thread: the empty string for the root, else the path of a subgraph."""

    parent_checkpoint_id: Mapped[str | None] = mapped_column(identifier())
    """The checkpoint before this one; NULL for the first."""

    type: Mapped[str] = mapped_column(String(255))
    """Format of `checkpoint`, as LangGraph's serialiser names it."""

    checkpoint: Mapped[bytes] = mapped_column(large_binary())
    """The checkpoint, serialised."""

    blob_keys: Mapped[list[str]] = mapped_column(ExactJson())
    """The keys of the channels' values as a JSON array, empty channels included."""

    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", ExactJson())
    """Source, step, run id and the rest of the run's configuration: a JSON object.

    (``metadata`` itself is a reserved name in declarative classes.)
    """

    run_id: Mapped[str | None] = mapped_column(identifier())
    """The run that created the checkpoint; NULL if the checkpoint names no run."""

    created_at: Mapped[datetime] = mapped_column(UtcTime())
    """Time at which the checkpoint was stored: in UTC, to the microsecond."""
