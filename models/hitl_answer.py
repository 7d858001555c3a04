"""People's answers to an agent's questions (human in the loop)."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Mapped, mapped_column, relationship

from threadlog.models.base import Base
from threadlog.models.dialects.ddl import OF_THREAD
from threadlog.models.dialects.json import ExactJson
from threadlog.models.dialects.time import NOW, Timestamp
from threadlog.models.dialects.types import identifier

if TYPE_CHECKING:
    from threadlog.models.thread import Thread


class HitlAnswer(Base):
    """One answer, stored so that a resumed run does not ask again."""

    __tablename__ = "cubepi_hitl_answers"
    __table_args__ = OF_THREAD

    thread_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The thread in which the question was asked."""

    run_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The run that asked; the empty string if the question belongs to no run."""

    question_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The question's id."""

    answer: Mapped[Any] = mapped_column(ExactJson(), nullable=False)
    """The answer: any JSON value."""

    answered_at: Mapped[datetime] = mapped_column(Timestamp(), server_default=NOW)
    """Time at which the answer was saved."""

    thread: Mapped["Thread"] = relationship(
        primaryjoin="foreign(HitlAnswer.thread_id) == Thread.thread_id", viewonly=True, lazy="raise"
    )
    """The thread, loaded on request only, as `Thread.messages`."""
