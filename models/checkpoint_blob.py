"""Values of graphs' channels, stored once per version."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import GraphBase
from threadlog.models.dialects.ddl import TABLE_OPTIONS
from threadlog.models.dialects.types import digest, identifier, large_binary, long_text


class CheckpointBlob(GraphBase):
    """One version of a channel's value, shared by any number of checkpoints."""

    __tablename__ = "threadlog_checkpoint_blobs"
    __table_args__ = TABLE_OPTIONS

    thread_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The thread's id."""

    ns_digest: Mapped[str] = mapped_column(digest(32), primary_key=True)
    """Hash of the checkpoint's namespace."""

    blob_key: Mapped[str] = mapped_column(digest(64), primary_key=True)
    """Hash of the channel's name, followed by the hash of the version: 32 digits each."""

    channel: Mapped[str] = mapped_column(long_text())
    """The channel's name."""

    version: Mapped[str] = mapped_column(long_text())
    """The channel's version."""

    type: Mapped[str] = mapped_column(String(255))
    """Format of `value`, as LangGraph's serialiser names it."""

    value: Mapped[bytes] = mapped_column(large_binary())
    """The value, serialised."""
