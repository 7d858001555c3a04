"""Threads of an agent server: status, metadata, time to live."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import ServerBase
from threadlog.models.dialects.ddl import TABLE_OPTIONS
from threadlog.models.dialects.json import ExactJson
from threadlog.models.dialects.types import UtcTime, UuidText, exact_text


class AppThread(ServerBase):
    """One thread of an agent server; the names and columns are those of skeino 4.0.0."""

    __tablename__ = "app_threads"
    __table_args__ = (
        Index("idx_app_threads_updated_at", "updated_at"),
        Index("idx_app_threads_status_updated", "status", "updated_at"),
        TABLE_OPTIONS,
    )

    thread_id: Mapped[UUID] = mapped_column(UuidText(), primary_key=True)
    """The thread's id."""

    created_at: Mapped[datetime] = mapped_column(UtcTime())
    """Time at which the thread was created: in UTC, to the microsecond, as all times here."""

    updated_at: Mapped[datetime] = mapped_column(UtcTime())
    """Time of the row's last change."""

    state_updated_at: Mapped[datetime | None] = mapped_column(UtcTime())
    """Time of the last change of the graph's state; NULL before the first."""

    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", ExactJson())
    """The application's own values, a JSON object, to search by."""

    config: Mapped[dict[str, Any]] = mapped_column(ExactJson())
    """The configuration of the thread's runs: a JSON object."""

    status: Mapped[str] = mapped_column(exact_text(String(32)))
    """``idle``, ``busy``, ``interrupted`` or ``error``."""

    ttl: Mapped[dict[str, Any] | None] = mapped_column(ExactJson(none_as_null=True))
    """``strategy``, ``ttl_minutes`` and ``expires_at``; NULL if the thread never expires."""
