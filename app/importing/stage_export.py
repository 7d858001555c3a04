"""Read an export into a temporary database, from which its threads are copied."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from sqlalchemy import NullPool, Table, create_engine, make_url
from sqlalchemy.orm import Session

from threadlog.copying.row_groups import ROW_GROUPS
from threadlog.databases.registry import backend_of
from threadlog.errors import ConversationError
from threadlog.exporting.export import END, HEADER, VERSION
from threadlog.exporting.rows import to_row
from threadlog.importing.read_file import FileItem
from threadlog.models import MESSAGES, PARTS, PartName
from threadlog.models.tables import OF_CONTROL, OWNERS, THREADS
from threadlog.repositories import OwnedUnitOfWork, UnitOfWork
from threadlog.repositories.transfer import RawRow

# Limits of the rows that are inserted at once; a single line may exceed the bytes.
_ROWS: Final = 500
_BYTES: Final = 8 * 2**20

_THREADS_AT_ONCE: Final = 500

_CUT_OFF: Final = (
    "The file has no last line: the export was broken off, or a part of the file is missing. "
    "Nothing was imported. Export again."
)


@dataclass(frozen=True, slots=True)
class StagedExport:
    """The content of an export in a temporary database."""

    url: str
    """The SQLite database, as the source of a copy."""

    rows: Counter[PartName] = field(default_factory=Counter)
    """Number of rows by part of the schema."""


def is_export(raw: object) -> bool:
    """Return True if a line is the first one of an export."""
    return isinstance(raw, dict) and raw.get("type") == HEADER


@contextmanager
def staged_export(items: Iterable[FileItem], owner: str | None = None) -> Iterator[StagedExport]:
    """Read an export into a temporary database, which is removed after the block.

    A line is in memory at a time, and a few megabytes of rows. The folder of temporary files needs
    about as much space as the file has.

    Args:
        items: the lines of the file.
        owner: the owner of the threads that have none in the file.

    Raises:
        ConversationError: the file is not whole, or a line is not valid. Nothing is imported then.
    """
    with TemporaryDirectory(prefix="threadlog-") as folder:
        staged = StagedExport(f"sqlite:///{Path(folder) / 'export.db'}")
        # Without foreign keys: a fork may come before its parent.
        engine = create_engine(staged.url, poolclass=NullPool, hide_parameters=True)
        with OwnedUnitOfWork(Session(engine)) as uow:
            _create_tables(uow)
            counts = _read_lines(uow, items)
            _check_keys(uow, counts)
            if owner is not None:
                _set_owner(uow, owner)
        for table, count in counts.items():
            staged.rows[_part_of(table)] += count
        yield staged


def _create_tables(uow: UnitOfWork) -> None:
    backend = backend_of(make_url("sqlite://"))
    for part in PARTS:
        backend.initialise_schema(uow, part)


def _read_lines(uow: UnitOfWork, items: Iterable[FileItem]) -> Counter[Table]:
    """Insert the rows of all lines; return their number by table."""
    counts: Counter[Table] = Counter()
    waiting: defaultdict[Table, list[RawRow]] = defaultdict(list)
    size, is_whole = 0, False
    for place, item in enumerate(items):
        try:
            found = _parse(item.raw, place, is_whole=is_whole)
        except ConversationError as error:
            raise ConversationError(
                f"Line {item.number}: {str(error).rstrip('.')}. Nothing was imported."
            ) from error
        if found is None:
            is_whole = place > 0
            continue
        table, row = found
        counts[table] += 1
        waiting[table].append(row)
        size += item.size
        if len(waiting[table]) >= _ROWS or size > _BYTES:
            _insert(uow, waiting)
            size = 0
    if not is_whole:
        raise ConversationError(_CUT_OFF)
    _insert(uow, waiting)
    return counts


def _parse(raw: Any, place: int, *, is_whole: bool) -> tuple[Table, RawRow] | None:
    """Return the row of a line; None for the first line and the last.

    Args:
        raw: the line, or the error of a line that is not JSON.
        place: the number of lines before it.
        is_whole: whether the last line was before it.
    """
    if is_whole:
        raise ConversationError("The line is after the last line of the export.")
    if place == 0:
        _check_header(raw)
        return None
    line = _object(raw)
    if line["type"] == END:
        _check_end(line, place)
        return None
    return to_row(line)


def _check_header(raw: Any) -> None:
    version = raw.get("version")
    if version != VERSION:
        raise ConversationError(
            f"The export has version {version!r}; this release reads version {VERSION}. Import it "
            "with the release of threadlog that wrote it, or a later one."
        )


def _object(raw: Any) -> dict[str, Any]:
    if isinstance(raw, ConversationError):
        raise raw
    if not isinstance(raw, dict) or "type" not in raw:
        raise ConversationError("The line is not a JSON object with a type.")
    return raw


def _check_end(line: dict[str, Any], lines: int) -> None:
    if line.get("lines") != lines:
        raise ConversationError(
            f"The export had {line.get('lines')!r} lines before its last one, the file has {lines}."
        )


def _insert(uow: UnitOfWork, waiting: defaultdict[Table, list[RawRow]]) -> None:
    for table, rows in waiting.items():
        uow.raw_rows(table).insert(rows)
    waiting.clear()


def _check_keys(uow: UnitOfWork, counts: Counter[Table]) -> None:
    """Check that each row was inserted: its key was no other row's."""
    for table, count in counts.items():
        if uow.raw_rows(table).count() != count:
            raise ConversationError(
                f"The file has rows of {table.name} with the same key twice. Nothing was imported. "
                "Export again."
            )


def _set_owner(uow: UnitOfWork, owner: str) -> None:
    """Store the owner of the threads that have none.

    Raises:
        ConversationError: a thread has another owner in the file.
    """
    after: str | None = None
    owners = uow.raw_rows(OWNERS)
    while page := uow.raw_rows(THREADS).thread_ids(after=after, limit=_THREADS_AT_ONCE, but=()):
        for thread_id in page:
            found = owners.get(thread_id, [()]).get(())
            if found is None:
                owners.insert([{"thread_id": thread_id, "owner": owner}])
            elif found["owner"] != owner:
                raise ConversationError(
                    f"Thread {thread_id!r} has another owner in the file. Nothing was imported. "
                    "Import it without an owner: the threads keep theirs."
                )
        after = page[-1]


def _part_of(table: Table) -> PartName:
    if table in OF_CONTROL:
        return MESSAGES.name
    return next(group.part.name for group in ROW_GROUPS if table in group.tables)
