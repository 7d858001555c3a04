"""Values of graphs' channels, each stored once for each of its versions."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import GraphBase
from threadlog.models.dialects import TABLE_OPTIONS, digest, identifier, large_binary, long_text


class CheckpointBlob(GraphBase):
    """The value of a channel from one version on, which any number of checkpoints share."""

    __tablename__ = "threadlog_checkpoint_blobs"
    __table_args__ = TABLE_OPTIONS

    thread_id: Mapped[str] = mapped_column(identifier(), primary_key=True)
    """The thread."""

    ns_digest: Mapped[str] = mapped_column(digest(32), primary_key=True)
    """Hash of the checkpoint's namespace."""

    blob_key: Mapped[str] = mapped_column(digest(64), primary_key=True)
    """Hash of the channel's name, and behind it that of the version: 32 digits each."""

    channel: Mapped[str] = mapped_column(long_text())
    """The channel's name."""

    version: Mapped[str] = mapped_column(long_text())
    """The channel's version."""

    type: Mapped[str] = mapped_column(String(255))
    """How `value` is serialised, as LangGraph's serialiser calls it."""

    value: Mapped[bytes] = mapped_column(large_binary())
    """The value, serialised."""
