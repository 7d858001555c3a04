"""Owners of threads: the user or tenant that a conversation belongs to."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import ControlBase
from threadlog.models.dialects.ddl import TABLE_OPTIONS
from threadlog.models.dialects.types import identifier
from threadlog.models.foreign_keys import thread_key


class Owner(ControlBase):
    """The owner of a thread, which never changes; deleted with the thread."""

    __tablename__ = "threadlog_owners"
    __table_args__ = (Index("ix_threadlog_owners_owner", "owner", "thread_id"), TABLE_OPTIONS)

    thread_id: Mapped[str] = mapped_column(identifier(), thread_key(), primary_key=True)
    """The thread."""

    owner: Mapped[str] = mapped_column(identifier())
    """Name of the owner, chosen by the application; compared byte by byte."""
