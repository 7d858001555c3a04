"""The databases that contenders write to."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """Databases, and a folder for those that are files."""

    mysql: str
    """The URL of a MySQL database with threadlog's schema."""

    postgres: str
    """The URL of a PostgreSQL database with threadlog's schema."""

    folder: Path
    """The folder for SQLite files."""
