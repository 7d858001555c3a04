"""Checks for MySQL and MariaDB only: storage engines, partitions by key, collations."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final, Literal

from threadlog.models import MESSAGES, PARTITION_COUNT, SchemaPart
from threadlog.repositories import UnitOfWork
from threadlog.repositories.catalog.catalog import Collation
from threadlog.schema.result import (
    PART_SUFFIX,
    Check,
    CheckResult,
    partition_results,
    partitioned_tables,
)

_ENGINE: Final = "InnoDB"

# Columns whose collation decides which thread a row belongs to.
_THREAD_IDS: Final = ("thread_id", "parent_thread_id")


def layout_checks(part: SchemaPart) -> list[tuple[str, Check]]:
    """Return the checks of a part with their names, in order."""
    of_messages: list[tuple[str, Check]] = [("partitions", _partitions)]
    return [
        ("engine", _engines),
        *(of_messages if part is MESSAGES else []),
        ("collation", _collations),
    ]


def _engines(uow: UnitOfWork, part: SchemaPart) -> Iterator[CheckResult]:
    engines = uow.catalogue.engines(part)
    faults = [
        CheckResult(
            "engine",
            "error",
            f"{table} uses the engine {engine}, which has no transactions. Convert it to "
            f"{_ENGINE}.",
            uow.catalogue.engine_statement(table),
        )
        for table, engine in engines.items()
        if engine != _ENGINE
    ]
    if engines:
        message = f"All tables{PART_SUFFIX[part.name]} use the engine {_ENGINE}."
        yield from faults or [CheckResult("engine", "ok", message)]


def _partitions(uow: UnitOfWork, part: SchemaPart) -> Iterator[CheckResult]:
    tables = partitioned_tables(uow, part)
    faults = [fault for table in tables if (fault := _partition_fault(uow, table))]
    yield from partition_results(tables, faults)


def _partition_fault(uow: UnitOfWork, table: str) -> CheckResult | None:
    found = uow.catalogue.partitioning(table)
    if found == ("KEY", PARTITION_COUNT, "thread_id"):
        return None
    shape = "is not partitioned"
    if found.method is not None:
        shape = f"has {found.partitions} partitions by {found.method} ({found.expression})"
    message = (
        f"{table} {shape}; it must have {PARTITION_COUNT} by KEY (thread_id). The statement "
        "rewrites the table and blocks writers meanwhile."
    )
    return CheckResult("partitions", "error", message, uow.catalogue.partition_statement(table))


def _collations(uow: UnitOfWork, part: SchemaPart) -> Iterator[CheckResult]:
    collations = uow.catalogue.identifier_collations(part)
    wrong: defaultdict[tuple[str, bool], dict[str, Collation]] = defaultdict(dict)
    for (table, column), collation in collations.items():
        if collation.found != collation.wanted:
            wrong[table, column in _THREAD_IDS][column] = collation
    faults = [_collation_fault(uow, part, table, found) for (table, _), found in wrong.items()]
    if collations:
        good = " or ".join(sorted({wanted for _, wanted in collations.values()}, reverse=True))
        message = f"All identifiers{PART_SUFFIX[part.name]} are compared byte by byte ({good})."
        yield from faults or [CheckResult("collation", "ok", message)]


def _collation_fault(
    uow: UnitOfWork, part: SchemaPart, table: str, columns: dict[str, Collation]
) -> CheckResult:
    names = list(columns)
    of_threads, of_messages = names[0] in _THREAD_IDS, part is MESSAGES
    others = "two runs or questions" if of_messages else "two rows"
    message = (
        f"{table}.{', '.join(names)}: the collation is {_collation_names(columns, 'found')}, not "
        f"{_collation_names(columns, 'wanted')}; {'two threads' if of_threads else others} whose "
        "ids it treats as equal, such as R1 and r1, are mixed up."
    )
    if of_messages and not of_threads:
        message += " (The framework's own migrations create it so.)"
    remedy = uow.catalogue.collation_statement(part, table, names)
    if not remedy:
        message += (
            " A foreign key refers to a column. Drop the key, change the collation, and create "
            "the key again."
        )
    status: Literal["error", "warning"] = "error" if of_threads or not of_messages else "warning"
    return CheckResult("collation", status, message, remedy)


def _collation_names(columns: dict[str, Collation], which: str) -> str:
    return ", ".join(sorted({str(getattr(collation, which)) for collation in columns.values()}))
