"""Answers that people gave to an agent's questions (human in the loop)."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, TIMESTAMP, text
from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import Base
from threadlog.models.dialects import TABLE_OPTIONS, identifier


class HitlAnswer(Base):
    """One answer, kept so that a run that resumes does not ask again."""

    __tablename__ = "cubepi_hitl_answers"
    __table_args__ = TABLE_OPTIONS

    thread_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The thread in which the question was asked."""

    run_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The run that asked; the empty string where none did."""

    question_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The question's id."""

    answer: Mapped[Any] = mapped_column(JSON, nullable=False)
    """The answer: any JSON value."""

    answered_at: Mapped[datetime] = mapped_column(
        TIMESTAMP, server_default=text("CURRENT_TIMESTAMP")
    )
    """When the answer was saved."""
