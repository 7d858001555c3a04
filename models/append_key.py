"""Keys of appends: messages that are sent twice are stored once."""

from datetime import datetime

from sqlalchemy import BigInteger, Index
from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import ControlBase
from threadlog.models.dialects.ddl import TABLE_OPTIONS
from threadlog.models.dialects.types import UtcTime, identifier
from threadlog.models.foreign_keys import thread_key


class AppendKey(ControlBase):
    """An append that was stored under a key of the application's."""

    __tablename__ = "threadlog_append_keys"
    __table_args__ = (Index("ix_threadlog_append_keys_created", "created_at"), TABLE_OPTIONS)

    thread_id: Mapped[str] = mapped_column(identifier(), thread_key(), primary_key=True)
    """The thread that was appended to."""

    append_key: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The key, unique in its thread; compared byte by byte."""

    first_seq: Mapped[int] = mapped_column(BigInteger)
    """The seq of the append's first message."""

    last_seq: Mapped[int] = mapped_column(BigInteger)
    """The seq of the append's last message."""

    created_at: Mapped[datetime] = mapped_column(UtcTime())
    """Time of the append, by the database's clock."""
