"""Convert the times of the database."""

from datetime import UTC, datetime


def from_epoch(seconds: float) -> datetime:
    """Return the aware datetime of `seconds` since 1970 UTC."""
    return datetime.fromtimestamp(seconds, UTC)
