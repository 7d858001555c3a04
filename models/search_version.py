"""The schema version of the search index in the database."""

from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import SearchBase
from threadlog.models.dialects.ddl import TABLE_OPTIONS


class SearchVersion(SearchBase):
    """A table of one row, written by migrations and checked before the first use."""

    __tablename__ = "threadlog_search_version"
    __table_args__ = TABLE_OPTIONS

    # `create_all` writes the row; on SQLite an application that writes it again gets no error.
    version: Mapped[int] = mapped_column(
        primary_key=True, autoincrement=False, sqlite_on_conflict_primary_key="IGNORE"
    )
    """The schema version, `SEARCH_SCHEMA_VERSION` for this release."""
