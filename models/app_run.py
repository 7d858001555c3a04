"""Runs of an agent server."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import ServerBase
from threadlog.models.dialects.ddl import TABLE_OPTIONS
from threadlog.models.dialects.json import ExactJson
from threadlog.models.dialects.types import ANY_TEXT, UtcTime, UuidText, exact_text, long_text


class AppRun(ServerBase):
    """One run on a thread, deleted with the thread; its columns are skeino's, as `AppThread`'s."""

    __tablename__ = "app_runs"
    __table_args__ = (
        Index("idx_app_runs_thread_created", "thread_id", "created_at"),
        Index("idx_app_runs_inflight_updated", "status", "updated_at"),
        TABLE_OPTIONS,
    )

    run_id: Mapped[UUID] = mapped_column(UuidText(), primary_key=True)
    """The run's id."""

    thread_id: Mapped[UUID] = mapped_column(
        UuidText(), ForeignKey("app_threads.thread_id", ondelete="CASCADE")
    )
    """The thread that the run works on."""

    assistant_id: Mapped[str] = mapped_column(exact_text(String(255)))
    """The assistant that is run: a graph with its configuration."""

    created_at: Mapped[datetime] = mapped_column(UtcTime())
    """Time at which the run was created: in UTC, to the microsecond."""

    updated_at: Mapped[datetime] = mapped_column(UtcTime())
    """Time of the run's last change of status or last heartbeat."""

    status: Mapped[str] = mapped_column(exact_text(String(32)))
    """``pending`` or ``running``; at last ``success``, ``error``, ``timeout``, ``interrupted``."""

    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", ExactJson())
    """The application's own values: a JSON object."""

    kwargs: Mapped[dict[str, Any]] = mapped_column(ExactJson())
    """The arguments of the run: a JSON object."""

    multitask_strategy: Mapped[str] = mapped_column(exact_text(String(32)))
    """How to treat a run that is already active: ``reject``, ``enqueue``, …"""

    error: Mapped[str | None] = mapped_column(long_text(), info=ANY_TEXT)
    """Why it failed; NULL where it did not."""
