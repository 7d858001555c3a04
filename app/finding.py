"""What a look at a database showed."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look at the database showed."""

    check: str
    """What was looked at: ``connection``, ``server``, ``schema``, ``columns``, …"""

    status: Literal["ok", "warning", "error"]
    message: str

    remedy: str = ""
    """A SQL statement that mends it, where one does."""
