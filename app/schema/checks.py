"""The checks of a part of the schema. Each yields results, for things that are right too."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from threadlog.databases.base import Backend
from threadlog.errors import CubepiSchemaError, CubepiSchemaMismatch
from threadlog.models import MESSAGES, SchemaPart, Thread
from threadlog.models.dialects.ddl import PARENT_INDEX, WAITING_INDEX
from threadlog.models.dialects.names import MYSQL
from threadlog.repositories import UnitOfWork
from threadlog.schema import mysql_layout, postgres_layout
from threadlog.schema.access import check_access
from threadlog.schema.result import PART_SUFFIX, Check, CheckResult
from threadlog.schema.verify import how_to_create, verify_schema

_LAYOUT_CHECKS: Final[dict[str, Callable[[SchemaPart], list[tuple[str, Check]]]]] = {
    **dict.fromkeys(MYSQL, mysql_layout.layout_checks),
    "postgresql": postgres_layout.layout_checks,
}

# The only indexes of the message log that are checked, with what needs each: the framework's
# migrations create the others with the tables.
_NEEDED_BY: Final = {
    "ix_cubepi_threads_recent": "listing recent threads",
    WAITING_INDEX: "listing threads that wait for a person",
    PARENT_INDEX: "deleting a thread",
}


def checks_of(part: SchemaPart, backend: Backend) -> list[tuple[str, Check]]:
    """Return the checks of a part with their names, in order."""
    layout = _LAYOUT_CHECKS.get(backend.dialects[0])
    return [
        ("schema", _schema),
        ("columns", _columns),
        *(layout(part) if layout else []),
        ("index", _indexes),
        ("access", partial(check_access, backend=backend)),
    ]


def _schema(uow: UnitOfWork, part: SchemaPart) -> Iterator[CheckResult]:
    verify_schema(uow, part)
    yield CheckResult(
        "schema", "ok", f"The schema{PART_SUFFIX[part.name]} has version {part.version}."
    )


def _columns(uow: UnitOfWork, part: SchemaPart) -> Iterator[CheckResult]:
    existing = uow.catalogue.tables(part)
    missing = sorted(part.tables - existing)
    lacking = {
        name: columns
        for name, table in sorted(part.metadata.tables.items())
        if name in existing and (columns := set(table.columns.keys()) - uow.catalogue.columns(name))
    }
    refused = lacking or _is_of_another_version(uow, part)
    remedy = "" if refused else f" {how_to_create(uow, part)}"
    faults = [f"The table {name} is missing.{remedy}" for name in missing]
    faults += [
        f"{name} lacks {', '.join(sorted(columns))}. Upgrade it with the migrations that "
        "created it."
        for name, columns in lacking.items()
    ]
    # The check of the schema reports an empty database.
    if not existing:
        return
    yield from (CheckResult("columns", "error", fault) for fault in faults)
    if not faults:
        message = f"All tables{PART_SUFFIX[part.name]} have all of their columns."
        yield CheckResult("columns", "ok", message)


def _is_of_another_version(uow: UnitOfWork, part: SchemaPart) -> bool:
    """Return True if the schema has another version, which threadlog's migrations refuse."""
    try:
        verify_schema(uow, part)
    except CubepiSchemaError as error:
        return isinstance(error, CubepiSchemaMismatch)
    return False


def _indexes(uow: UnitOfWork, part: SchemaPart) -> Iterator[CheckResult]:
    existing = uow.catalogue.tables(part)
    if part is MESSAGES:
        # MySQL indexes the foreign key of forks itself.
        has_parent_index = uow.dialect not in MYSQL
        names = [name for name in _NEEDED_BY if name != PARENT_INDEX or has_parent_index]
        wanted = [(Thread.__tablename__, name) for name in names]
    else:
        wanted = sorted(
            (table.name, str(index.name))
            for table in part.metadata.tables.values()
            for index in table.indexes
        )
    wanted = [(table, index) for table, index in wanted if table in existing]
    faults = [
        _index_fault(uow, part, table, index)
        for table, index in wanted
        if index not in uow.catalogue.indexes(table)
    ]
    if wanted:
        message = f"All indexes{PART_SUFFIX[part.name]} are there."
        if part is MESSAGES:
            *others, last = (index for _, index in wanted)
            message = f"{', '.join(others)} and {last} are there."
        yield from faults or [CheckResult("index", "ok", message)]


def _index_fault(uow: UnitOfWork, part: SchemaPart, table: str, index: str) -> CheckResult:
    needed_by = _NEEDED_BY.get(index)
    slow = f"{needed_by} reads" if needed_by else "queries that need it read"
    return CheckResult(
        "index",
        "warning",
        f"{index} is missing: {slow} the whole of {table}.",
        uow.catalogue.index_statement(part, table, index),
    )
