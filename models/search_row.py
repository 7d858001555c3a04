"""The search index: text, tools and tokens of messages in columns, for queries."""

from datetime import datetime

from sqlalchemy import BigInteger, Double, Identity, Index, Integer, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import SearchBase
from threadlog.models.dialects.full_text import WITH_FULL_TEXT, FullTextKey
from threadlog.models.dialects.time import NOW, Timestamp
from threadlog.models.dialects.types import identifier, searchable_text, short_text
from threadlog.models.foreign_keys import thread_key


class SearchRow(SearchBase):
    """A message or a call of a tool; written with the message, and deleted with the thread."""

    __tablename__ = "threadlog_search"
    __table_args__ = (
        UniqueConstraint("thread_id", "seq", "place", name="uq_threadlog_search_place"),
        Index("ix_threadlog_search_created", "created_at"),
        WITH_FULL_TEXT,
    )
    __mapper_args__ = {"polymorphic_on": "kind"}  # noqa: RUF012 - the form of SQLAlchemy

    # SQLite's full text index refers to it: VACUUM may change the numbers of rows without it.
    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), Identity(), primary_key=True
    )
    """A number of the row, of no meaning."""

    thread_id: Mapped[str] = mapped_column(identifier(), thread_key())
    """The message's thread."""

    seq: Mapped[int] = mapped_column(BigInteger)
    """The message's number in its thread."""

    place: Mapped[int]
    """0 for the message, 1, 2, … for its calls of tools."""

    kind: Mapped[str] = mapped_column(short_text())
    """``message`` or ``tool_call``."""

    created_at: Mapped[datetime] = mapped_column(Timestamp(), server_default=NOW)
    """Time at which the message was stored, as `Message.created_at`."""


class SearchMessage(SearchRow):
    """A message, with its text and its tokens."""

    __mapper_args__ = {"polymorphic_identity": "message"}  # noqa: RUF012 - the form of SQLAlchemy

    role: Mapped[str] = mapped_column(short_text(), nullable=True)
    """The author's role: ``user``, ``assistant`` or ``tool``."""

    text: Mapped[str] = mapped_column(searchable_text(), nullable=True)
    """The text of the message, at most its first 100,000 characters; see `matches`."""

    model: Mapped[str | None] = mapped_column(identifier())
    """The ``model_id`` of an answer; NULL if not given, as the next columns."""

    input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    """Tokens that the model read."""

    output_tokens: Mapped[int | None] = mapped_column(BigInteger)
    """Tokens that the model wrote."""

    cache_read_tokens: Mapped[int | None] = mapped_column(BigInteger)
    """Tokens that the provider had cached."""

    cache_write_tokens: Mapped[int | None] = mapped_column(BigInteger)
    """Tokens that the provider cached."""

    cost: Mapped[float | None] = mapped_column(Double)
    """The ``cost`` of the message's ``usage`` or ``metadata``, in the application's currency."""


class SearchToolCall(SearchRow):
    """A call of a tool in a message."""

    __mapper_args__ = {"polymorphic_identity": "tool_call"}  # noqa: RUF012 - the form of SQLAlchemy

    tool_name: Mapped[str] = mapped_column(identifier(), nullable=True)
    """Name of the tool."""


Index("ix_threadlog_search_model", SearchMessage.model, SearchRow.created_at)
Index("ix_threadlog_search_tool", SearchToolCall.tool_name, SearchRow.created_at)
FullTextKey(SearchMessage.text, name="ix_threadlog_search_text")
