"""Write ownership of threads' graph state."""

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import GraphBase
from threadlog.models.dialects.ddl import TABLE_OPTIONS
from threadlog.models.dialects.types import identifier


class WriteOwner(GraphBase):
    """The latest owner of a thread's writes, of a thread that was ever claimed."""

    __tablename__ = "threadlog_write_owners"
    __table_args__ = TABLE_OPTIONS

    thread_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The thread's id."""

    token: Mapped[int] = mapped_column(BigInteger)
    """A random number of the owner's."""
