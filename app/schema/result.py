"""What a look at a database showed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from threadlog.models import PartName, SchemaPart
from threadlog.repositories import UnitOfWork


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one look at the database showed."""

    check: str
    """What was looked at: ``connection``, ``server``, ``schema``, ``columns``, …"""

    status: Literal["ok", "warning", "error"]
    message: str

    remedy: str = ""
    """A SQL statement that mends it, where one does."""


class Check(Protocol):
    """A look at one thing in a part of the schema."""

    def __call__(self, uow: UnitOfWork, part: SchemaPart) -> Iterator[CheckResult]:
        """Yield what it showed."""


PART_SUFFIX: Final[dict[PartName, str]] = {"messages": "", "graph": " of the graph state"}
"""What is said of a part that is not the message log, which was the only one once."""
