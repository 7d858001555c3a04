"""The schema version of the message log in the database."""

from sqlalchemy.orm import Mapped, mapped_column

from threadlog.models.base import Base
from threadlog.models.dialects.ddl import TABLE_OPTIONS


class SchemaVersion(Base):
    """A table of one row, written by migrations and checked when threadlog opens."""

    __tablename__ = "cubepi_schema_version"
    __table_args__ = TABLE_OPTIONS

    # `create_all` writes the row; on SQLite an application that writes it again gets no error.
    version: Mapped[int] = mapped_column(
        primary_key=True, autoincrement=False, sqlite_on_conflict_primary_key="IGNORE"
    )
    """The schema version, `EXPECTED_SCHEMA_VERSION` for this release."""
