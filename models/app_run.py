"""Runs as a server of agents lists them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import GraphBase
from threadlog.models.dialects import (
    ANY_TEXT,
    TABLE_OPTIONS,
    ExactJson,
    UtcTime,
    UuidText,
    exact_text,
    long_text,
)


class AppRun(GraphBase):
    """One run on a thread, deleted with it; names and columns as `AppThread` has them."""

    __tablename__ = "app_runs"
    __table_args__ = (
        Index("idx_app_runs_thread_created", "thread_id", "created_at"),
        Index("idx_app_runs_inflight_updated", "status", "updated_at"),
        TABLE_OPTIONS,
    )

    run_id: Mapped[UUID] = mapped_column(UuidText(), primary_key=True)
    """The run."""

    thread_id: Mapped[UUID] = mapped_column(
        UuidText(), ForeignKey("app_threads.thread_id", ondelete="CASCADE")
    )
    """The thread that it works on."""

    assistant_id: Mapped[str] = mapped_column(exact_text(String(255)))
    """The assistant, a graph with its configuration, that is run."""

    created_at: Mapped[datetime] = mapped_column(UtcTime())
    """When the run was created: in UTC, to the microsecond."""

    updated_at: Mapped[datetime] = mapped_column(UtcTime())
    """When its status was changed, or its process last said that it lives."""

    status: Mapped[str] = mapped_column(exact_text(String(32)))
    """``pending`` or ``running``; or for good ``success``, ``error``, ``timeout`` or
    ``interrupted``.
    """

    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", ExactJson())
    """The host's own values: a JSON object."""

    kwargs: Mapped[dict[str, Any]] = mapped_column(ExactJson())
    """What the run was asked for: a JSON object."""

    multitask_strategy: Mapped[str] = mapped_column(exact_text(String(32)))
    """What it was to do about a run that was under way: ``reject``, ``enqueue``, …"""

    error: Mapped[str | None] = mapped_column(long_text(), info=ANY_TEXT)
    """Why it failed; NULL where it did not."""
