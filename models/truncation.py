"""Truncations: which messages were removed from the end of a thread."""

from datetime import datetime

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import ControlBase
from threadlog.models.dialects.ddl import TABLE_OPTIONS
from threadlog.models.dialects.types import UtcTime, identifier
from threadlog.models.foreign_keys import thread_key


class Truncation(ControlBase):
    """A removal of the newest messages of a thread. Their seqs are never allocated again."""

    __tablename__ = "threadlog_truncations"
    __table_args__ = TABLE_OPTIONS

    thread_id: Mapped[str] = mapped_column(identifier(), thread_key(), primary_key=True)
    """The thread."""

    last_seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """The highest seq that was removed; the next append gets a higher one."""

    after_seq: Mapped[int] = mapped_column(BigInteger)
    """The seq after which all messages were removed."""

    message_count: Mapped[int] = mapped_column(BigInteger)
    """Number of removed messages."""

    run_id: Mapped[str | None] = mapped_column(identifier())
    """The run that removed them, as the caller named it; NULL if none was named."""

    truncated_at: Mapped[datetime] = mapped_column(UtcTime())
    """Time of the removal, by the database's clock."""
