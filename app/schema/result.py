"""The results of checks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from threadlog.models import PartName, SchemaPart
from threadlog.repositories import UnitOfWork


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check of the database."""

    check: str
    """The name of the check: ``connection``, ``server``, ``schema``, ``columns``, …"""

    status: Literal["ok", "warning", "error"]
    message: str

    remedy: str = ""
    """A SQL statement that repairs the fault; empty if there is none."""


class Check(Protocol):
    """A check of one property of a part of the schema."""

    def __call__(self, uow: UnitOfWork, part: SchemaPart) -> Iterator[CheckResult]:
        """Yield its results."""


PART_SUFFIX: Final[dict[PartName, str]] = {"messages": "", "graph": " of the graph state"}
"""Names the part in a message, unless it is the message log."""
