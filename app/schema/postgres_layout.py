"""Checks for PostgreSQL only: types, keys, partitions by hash, collations."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from threadlog.models import (
    CONTROL,
    MESSAGES,
    PARTITION_COUNT,
    SEARCH,
    Message,
    SchemaPart,
)
from threadlog.repositories import UnitOfWork
from threadlog.repositories.catalog.postgres import Collation, PostgresCatalogue
from threadlog.schema.result import (
    PART_SUFFIX,
    Check,
    CheckResult,
    partition_results,
    partitioned_tables,
)

_PARTITION_KEY: Final = "HASH (thread_id)"
_BYTEWISE: Final = "C"


def layout_checks(part: SchemaPart) -> list[tuple[str, Check]]:
    """Return the checks of a part with their names, in order."""
    of_messages: list[tuple[str, Check]] = [
        ("partitions", _partitions),
        ("metadata", _metadata_index),
    ]
    return [
        ("types", _types),
        ("keys", _keys),
        ("collation", _collations),
        *(of_messages if part is MESSAGES else []),
    ]


def _types(uow: UnitOfWork, part: SchemaPart) -> Iterator[CheckResult]:
    faults = [
        CheckResult("types", "error", f"{table}.{column} is {found}; it must be {wanted}.")
        for table, column, found, wanted in PostgresCatalogue(uow).types(part)
    ]
    if uow.catalogue.tables(part):
        message = f"All columns{PART_SUFFIX[part.name]} have the right types."
        yield from faults or [CheckResult("types", "ok", message)]


def _keys(uow: UnitOfWork, part: SchemaPart) -> Iterator[CheckResult]:
    catalogue = PostgresCatalogue(uow)
    faults = [
        CheckResult("keys", "error", f"The primary key of {table} is {found}; it must be {wanted}.")
        for table, found, wanted in catalogue.primary_keys(part)
    ]
    faults += [
        CheckResult(
            "keys",
            "error",
            f"{table} lacks its foreign key {key}.",
            catalogue.foreign_key_statement(table, key),
        )
        for table, key in catalogue.missing_foreign_keys(part)
    ]
    if uow.catalogue.tables(part):
        message = f"All keys{PART_SUFFIX[part.name]} are there."
        yield from faults or [CheckResult("keys", "ok", message)]


def _partitions(uow: UnitOfWork, part: SchemaPart) -> Iterator[CheckResult]:
    tables = partitioned_tables(uow, part)
    faults = [fault for table in tables if (fault := _partition_fault(uow, table))]
    yield from partition_results(tables, faults)


def _partition_fault(uow: UnitOfWork, table: str) -> CheckResult | None:
    catalogue = PostgresCatalogue(uow)
    key, places = catalogue.partition_key(table), catalogue.partitions(table)
    missing = [place for place in range(PARTITION_COUNT) if place not in places]
    if key != _PARTITION_KEY or None in places:
        shape = f"has {len(places)} partitions by {key}" if key else "is not partitioned"
        if key == _PARTITION_KEY:
            shape = f"has a partition that is not one of {PARTITION_COUNT} by hash"
        message = (
            f"{table} {shape}; it must have {PARTITION_COUNT} by {_PARTITION_KEY}. Create a "
            "new table and copy the rows: PostgreSQL cannot change the partitions."
        )
        return CheckResult("partitions", "error", message)
    if not missing:
        return None
    names = ", ".join(f"{table}_p{place:02d}" for place in missing)
    message = f"{table} lacks partitions ({names}): rows of their threads cannot be written."
    remedy = catalogue.partition_statement(table, missing)
    return CheckResult("partitions", "error", message, remedy)


def _metadata_index(uow: UnitOfWork, part: SchemaPart) -> Iterator[CheckResult]:
    table = Message.__tablename__
    if table not in uow.catalogue.tables(part):
        return
    catalogue = PostgresCatalogue(uow)
    if catalogue.has_metadata_index():
        yield CheckResult("metadata", "ok", "The index of messages' metadata is there.")
        return
    message = f"The index of messages' metadata is missing: queries by it read all of {table}."
    yield CheckResult("metadata", "warning", message, catalogue.metadata_index_statement())


def _collations(uow: UnitOfWork, part: SchemaPart) -> Iterator[CheckResult]:
    """Check that all texts have one collation: PostgreSQL does not compare different ones."""
    catalogue = PostgresCatalogue(uow)
    collations = catalogue.collations(part)
    if not collations:
        return
    # Their tables are compared with those of the messages.
    base = _base(catalogue.collations(MESSAGES) if part in {CONTROL, SEARCH} else collations)
    wrong: defaultdict[str, dict[str, Collation]] = defaultdict(dict)
    for (table, column), collation in collations.items():
        if collation.name != base.name:
            wrong[table][column] = collation
    faults = [_collation_fault(uow, table, found, base) for table, found in wrong.items()]
    if not base.deterministic:
        message = (
            f"Identifiers{PART_SUFFIX[part.name]} have the collation {base.name}, which treats "
            "different ones as equal: their data would be mixed up."
        )
        faults.append(CheckResult("collation", "error", message))
    how = "sorted byte by byte" if base.name == _BYTEWISE else f"collated alike ({base.name})"
    message = f"All identifiers{PART_SUFFIX[part.name]} are {how}."
    yield from faults or [CheckResult("collation", "ok", message)]


def _base(collations: dict[tuple[str, str], Collation]) -> Collation:
    """Return the collation that all columns must have: that of an unchangeable column, or C."""
    fixed = [collation for collation in collations.values() if collation.fixed]
    return fixed[0] if fixed else Collation(_BYTEWISE, deterministic=True, fixed=False)


def _collation_fault(
    uow: UnitOfWork, table: str, columns: dict[str, Collation], base: Collation
) -> CheckResult:
    names = ", ".join(sorted({collation.name for collation in columns.values()}))
    message = (
        f"{table}.{', '.join(columns)}: the collation is {names}, not {base.name} as in the other "
        "columns; PostgreSQL cannot compare the two."
    )
    changeable = [column for column, collation in columns.items() if not collation.fixed]
    catalogue = PostgresCatalogue(uow)
    remedy = catalogue.collation_statement(table, changeable, base.name) if changeable else ""
    return CheckResult("collation", "error", message, remedy)
