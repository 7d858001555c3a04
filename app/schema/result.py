"""The results of checks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from threadlog.models import PARTITION_COUNT, Message, PartName, Run, SchemaPart
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


PART_SUFFIX: Final[dict[PartName, str]] = {
    "messages": "",
    "graph": " of the graph state",
    "store": " of the memory store",
    "control": " of thread control",
    "metadata": " of the server metadata",
    "search": " of the search index",
}
"""Names the part in a message, unless it is the message log."""


def partitioned_tables(uow: UnitOfWork, part: SchemaPart) -> list[str]:
    """Return the names of the part's existing tables that are partitioned by thread."""
    partitioned = (Message.__tablename__, Run.__tablename__)
    return [table for table in partitioned if table in uow.catalogue.tables(part)]


def partition_results(tables: list[str], faults: list[CheckResult]) -> list[CheckResult]:
    """Return the faults, or that the tables have their partitions; nothing if there are none."""
    if not tables:
        return []
    message = f"{' and '.join(tables)} have {PARTITION_COUNT} partitions by thread_id."
    return faults or [CheckResult("partitions", "ok", message)]
