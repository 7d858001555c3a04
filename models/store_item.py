"""Items of the memory store: values by namespace and key."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Double, Index, LargeBinary
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import StoreBase
from threadlog.models.dialects.ddl import TABLE_OPTIONS
from threadlog.models.dialects.json import ExactJson
from threadlog.models.dialects.names import MYSQL
from threadlog.models.dialects.types import UtcTime, digest, long_text, nullable_binary

NAMESPACE_START: Final = 500
"""Bytes of a namespace that are indexed."""


class StoreItem(StoreBase):
    """One value of an application, which its namespace and its key name together."""

    __tablename__ = "threadlog_store"
    __table_args__ = (
        Index("ix_threadlog_store_namespace", "namespace_start"),
        Index("ix_threadlog_store_expires", "expires_at"),
        TABLE_OPTIONS,
    )

    item_digest: Mapped[str] = mapped_column(digest(32), primary_key=True)
    """Hash of `namespace` and `item_key`, which may be too long for a database's key."""

    namespace_start: Mapped[bytes] = mapped_column(
        LargeBinary(NAMESPACE_START).with_variant(mysql.VARBINARY(NAMESPACE_START), *MYSQL)
    )
    """The first bytes of `namespace` in UTF-8, for the index: compared byte by byte."""

    namespace: Mapped[str] = mapped_column(long_text())
    """The labels of the namespace, each followed by a full stop, which no label contains."""

    item_key: Mapped[str] = mapped_column(long_text())
    """Name of the item in its namespace, chosen by the application."""

    value: Mapped[dict[str, Any]] = mapped_column(ExactJson())
    """The value: a JSON object."""

    created_at: Mapped[datetime] = mapped_column(UtcTime())
    """Time at which the item was created: in UTC, to the microsecond, as all times here."""

    updated_at: Mapped[datetime] = mapped_column(UtcTime())
    """Time at which the value was last stored."""

    expires_at: Mapped[datetime | None] = mapped_column(UtcTime())
    """Time from which on the item is not returned; NULL if it never expires."""

    ttl_seconds: Mapped[float | None] = mapped_column(Double())
    """Seconds from the last use to `expires_at`; NULL if it never expires."""

    vectors: Mapped[bytes | None] = mapped_column(nullable_binary())
    """Embeddings of texts of the value: their dimensions, then all numbers, each in four bytes;
    NULL if the item is not indexed."""
