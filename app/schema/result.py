"""The results of checks."""

from collections.abc import Callable, Iterator
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
}
"""Names the part in a message, unless it is the message log."""


def check_partitions(
    uow: UnitOfWork,
    part: SchemaPart,
    *,
    find_fault: Callable[[UnitOfWork, str], CheckResult | None],
) -> Iterator[CheckResult]:
    """Check the partitions of the tables that are partitioned by thread."""
    partitioned = (Message.__tablename__, Run.__tablename__)
    tables = [table for table in partitioned if table in uow.catalogue.tables(part)]
    faults = [fault for table in tables if (fault := find_fault(uow, table))]
    if tables:
        message = f"{' and '.join(tables)} have {PARTITION_COUNT} partitions by thread_id."
        yield from faults or [CheckResult("partitions", "ok", message)]
