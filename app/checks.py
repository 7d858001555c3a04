"""What is looked at in a part of the schema: each check yields findings, of ok things too."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final, Protocol

from threadlog.backends import Backend
from threadlog.errors import CubepiSchemaError, CubepiSchemaMismatch
from threadlog.finding import Finding
from threadlog.models import MESSAGES, PARTITION_COUNT, Message, PartName, Run, SchemaPart
from threadlog.repositories import UnitOfWork
from threadlog.repositories.catalogue import Collation
from threadlog.schema import verify_schema


class Check(Protocol):
    """A look at one thing."""

    def __call__(self, uow: UnitOfWork, part: SchemaPart) -> Iterator[Finding]:
        """Yield what it showed."""


_PARTITIONED: Final = (Message.__tablename__, Run.__tablename__)
_ENGINE: Final = "InnoDB"

# Columns whose collation decides which conversation a row belongs to.
_THREAD_IDS: Final = ("thread_id", "parent_thread_id")

# The one index of the message log that is looked at: who made the tables made the others.
_RECENT: Final = "ix_cubepi_threads_recent"

# What is said of a part that is not the message log, which was the only one once.
_OF: Final[dict[PartName, str]] = {"messages": "", "graph": " of the graph state"}


def checks_of(part: SchemaPart, backend: Backend) -> list[tuple[str, Check]]:
    """Give the checks of a part by their names, in order."""
    partitions = [("partitions", _partitions)] if part is MESSAGES else []
    layout: list[tuple[str, Check]] = [
        ("engine", _engines),
        *partitions,
        ("collation", _collations),
    ]
    return [
        ("schema", _schema),
        ("columns", _columns),
        *(layout if backend.has_layout else []),
        ("index", _indexes),
    ]


def _schema(uow: UnitOfWork, part: SchemaPart) -> Iterator[Finding]:
    verify_schema(uow, part)
    yield Finding("schema", "ok", f"The schema{_OF[part.name]} has version {part.version}.")


def _columns(uow: UnitOfWork, part: SchemaPart) -> Iterator[Finding]:
    existing = uow.catalogue.tables(part)
    missing = sorted(part.tables - existing)
    lacking = {
        name: columns
        for name, table in sorted(part.metadata.tables.items())
        if name in existing and (columns := set(table.columns.keys()) - uow.catalogue.columns(name))
    }
    refused = lacking or _is_of_another_version(uow, part)
    remedy = "" if refused else " Run: threadlog migrate URL"
    faults = [f"The table {name} is missing.{remedy}" for name in missing]
    faults += [
        f"{name} lacks {', '.join(sorted(columns))}. Upgrade it with the migrations that made it."
        for name, columns in lacking.items()
    ]
    # An empty database is one fault, which the check of the schema reports.
    if not existing:
        return
    yield from (Finding("columns", "error", fault) for fault in faults)
    if not faults:
        message = f"All tables{_OF[part.name]} have all of their columns."
        yield Finding("columns", "ok", message)


def _is_of_another_version(uow: UnitOfWork, part: SchemaPart) -> bool:
    """Look whether others made the tables, so that our migrations refuse them."""
    try:
        verify_schema(uow, part)
    except CubepiSchemaError as error:
        return isinstance(error, CubepiSchemaMismatch)
    return False


def _engines(uow: UnitOfWork, part: SchemaPart) -> Iterator[Finding]:
    engines = uow.catalogue.engines(part)
    faults = [
        Finding(
            "engine",
            "error",
            f"{table} is kept by {engine}, which has no transactions. Move it to {_ENGINE}.",
            uow.catalogue.engine_statement(table),
        )
        for table, engine in engines.items()
        if engine != _ENGINE
    ]
    if engines:
        message = f"All tables{_OF[part.name]} are kept by {_ENGINE}."
        yield from faults or [Finding("engine", "ok", message)]


def _partitions(uow: UnitOfWork, part: SchemaPart) -> Iterator[Finding]:
    tables = [table for table in _PARTITIONED if table in uow.catalogue.tables(part)]
    faults = [fault for table in tables if (fault := _partition_fault(uow, table))]
    if tables:
        message = f"{' and '.join(tables)} have {PARTITION_COUNT} partitions by thread_id."
        yield from faults or [Finding("partitions", "ok", message)]


def _partition_fault(uow: UnitOfWork, table: str) -> Finding | None:
    found = uow.catalogue.partitioning(table)
    if found == ("KEY", PARTITION_COUNT, "`thread_id`"):
        return None
    shape = "is not partitioned"
    if found.method is not None:
        shape = f"has {found.partitions} partitions by {found.method} ({found.expression})"
    message = (
        f"{table} {shape}; it must have {PARTITION_COUNT} by KEY (thread_id). The statement "
        "rewrites the table and blocks writers meanwhile."
    )
    return Finding("partitions", "error", message, uow.catalogue.partition_statement(table))


def _collations(uow: UnitOfWork, part: SchemaPart) -> Iterator[Finding]:
    collations = uow.catalogue.identifier_collations(part)
    wrong: defaultdict[tuple[str, bool], dict[str, Collation]] = defaultdict(dict)
    for (table, column), collation in collations.items():
        if collation.found != collation.wanted:
            wrong[table, column in _THREAD_IDS][column] = collation
    faults = [_collation_fault(uow, part, table, found) for (table, _), found in wrong.items()]
    if collations:
        good = " or ".join(sorted({wanted for _, wanted in collations.values()}, reverse=True))
        message = f"All identifiers{_OF[part.name]} are compared byte by byte ({good})."
        yield from faults or [Finding("collation", "ok", message)]


def _collation_fault(
    uow: UnitOfWork, part: SchemaPart, table: str, columns: dict[str, Collation]
) -> Finding:
    names = list(columns)
    of_threads, of_messages = names[0] in _THREAD_IDS, part is MESSAGES
    others = "two runs or questions" if of_messages else "two rows"
    message = (
        f"{table}.{', '.join(names)}: the collation is {_said(columns, 'found')}, not "
        f"{_said(columns, 'wanted')}; {'two threads' if of_threads else others} whose ids it "
        "takes for equal, such as R1 and r1, are one."
    )
    if of_messages and not of_threads:
        message += " (The framework's own migrations leave it so.)"
    remedy = uow.catalogue.collation_statement(part, table, names)
    if not remedy:
        message += " A foreign key leads there, which has to be dropped for the change."
    grave = of_threads or not of_messages
    return Finding("collation", "error" if grave else "warning", message, remedy)


def _said(columns: dict[str, Collation], which: str) -> str:
    """Name the collations of columns."""
    return ", ".join(sorted({str(getattr(collation, which)) for collation in columns.values()}))


def _indexes(uow: UnitOfWork, part: SchemaPart) -> Iterator[Finding]:
    existing = uow.catalogue.tables(part)
    wanted = sorted(
        (table.name, str(index.name))
        for table in part.metadata.tables.values()
        for index in table.indexes
        if table.name in existing and (part is not MESSAGES or index.name == _RECENT)
    )
    faults = [
        _index_fault(uow, part, table, index)
        for table, index in wanted
        if index not in uow.catalogue.indexes(table)
    ]
    if wanted:
        one = f"{_RECENT} is there."
        message = one if part is MESSAGES else f"All indexes{_OF[part.name]} are there."
        yield from faults or [Finding("index", "ok", message)]


def _index_fault(uow: UnitOfWork, part: SchemaPart, table: str, index: str) -> Finding:
    slow = "listing recent threads" if index == _RECENT else "what looks for rows by it"
    return Finding(
        "index",
        "warning",
        f"{index} is missing: {slow} reads the whole of {table}.",
        uow.catalogue.index_statement(part, table, index),
    )
