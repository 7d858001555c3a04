"""Times as the doors give them."""

from datetime import UTC, datetime


def moment(epoch: float) -> datetime:
    """Make an aware datetime of seconds since 1970 UTC."""
    return datetime.fromtimestamp(epoch, UTC)
