"""Leases of runs: until when a worker may write, and the token that fences it off."""

from datetime import datetime

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import ControlBase
from threadlog.models.dialects.ddl import TABLE_OPTIONS
from threadlog.models.dialects.types import UtcTime, identifier
from threadlog.models.foreign_keys import thread_key


class Lease(ControlBase):
    """The latest lease of a run; the row stays when the run ends, so that tokens only grow."""

    __tablename__ = "threadlog_leases"
    __table_args__ = TABLE_OPTIONS

    thread_id: Mapped[str] = mapped_column(identifier(), thread_key(), primary_key=True)
    """The thread that the run works on."""

    run_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The run."""

    token: Mapped[int] = mapped_column(BigInteger)
    """Number of the lease: higher with each worker that takes the run over, and when it is
    released. The steps are random, so that no other lease ever has the number.
    """

    expires_at: Mapped[datetime | None] = mapped_column(UtcTime())
    """Time from which on another worker may take the run over, by the database's clock; NULL if
    the run was released.
    """
