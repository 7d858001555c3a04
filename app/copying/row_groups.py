"""The tables that are copied together, and the order of two versions of a row."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Table

from threadlog.encoding.validation import check_uuid
from threadlog.errors import InvalidIdError
from threadlog.models import GRAPH, MESSAGES, STORE, SchemaPart, tables
from threadlog.repositories.transfer import RawRow

GroupName: TypeAlias = Literal["messages", "checkpoints", "metadata", "memories"]

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Tables whose rows with the same ``thread_id`` are copied together, or items by themselves."""

    name: GroupName
    part: SchemaPart
    """The part of the schema that the tables belong to."""

    tables: tuple[Table, ...]
    """In the order of inserts."""

    head: Table | None = None
    """The first of the tables if it has one row for each thread, else None."""

    version_columns: Mapping[Table, tuple[str, ...]] = field(default_factory=dict)
    """Tables whose rows change, each with the time columns that order a row's versions."""

    deletable: frozenset[Table] = frozenset()
    """Tables whose rows may be deleted while a thread is in use."""

    by_uuid: bool = False
    """True if the tables' thread ids are UUIDs."""

    def parse(self, thread_id: str) -> Any | None:
        """Return a thread's id in the tables' type. Return None if not a valid id there."""
        if not self.by_uuid:
            return thread_id
        try:
            return check_uuid(thread_id, "thread_id")
        except InvalidIdError:
            return None

    def is_newer(self, table: Table, source: RawRow, target: RawRow) -> bool:
        """Return True if the target row is an older version of the source row."""
        if table is tables.WRITES:
            # LangGraph overwrites the errors, interrupts and answers of a task.
            return bool(source["idx"] < 0)
        if table is tables.ITEMS and has_expired(target, source["created_at"]):
            return True
        if source.get("created_at") != target.get("created_at"):
            return False
        times = self.version_columns.get(table, ())
        return _times(source, times) > _times(target, times)


def has_expired(item: RawRow, now: datetime) -> bool:
    """Return True if an item of the memory store is not returned any more at a time."""
    return isinstance(item["expires_at"], datetime) and item["expires_at"] <= now


def _times(row: RawRow, columns: tuple[str, ...]) -> list[datetime]:
    values = (row[column] for column in columns)
    return [value if isinstance(value, datetime) else _LONG_AGO for value in values]


ROW_GROUPS: Final = (
    RowGroup(
        "messages",
        MESSAGES,
        (tables.THREADS, tables.MESSAGES, tables.RUNS, tables.ANSWERS),
        head=tables.THREADS,
        version_columns={
            tables.THREADS: ("updated_at",),
            tables.RUNS: ("claimed_at", "completed_at"),
            tables.ANSWERS: ("answered_at",),
        },
        deletable=frozenset({tables.RUNS, tables.ANSWERS}),
    ),
    # Checkpoints last: a checkpoint is never visible without its values.
    RowGroup(
        "checkpoints",
        GRAPH,
        (tables.BLOBS, tables.WRITES, tables.CHECKPOINTS),
    ),
    RowGroup(
        "metadata",
        GRAPH,
        (tables.APP_THREADS, tables.APP_RUNS),
        head=tables.APP_THREADS,
        version_columns={tables.APP_THREADS: ("updated_at",), tables.APP_RUNS: ("updated_at",)},
        deletable=frozenset({tables.APP_RUNS}),
        by_uuid=True,
    ),
    RowGroup(
        "memories",
        STORE,
        (tables.ITEMS,),
        version_columns={tables.ITEMS: ("updated_at", "expires_at")},
    ),
)
"""All tables that a copy transfers; the tables of schema versions are not copied."""


def with_owners(group: RowGroup) -> RowGroup:
    """Return the message log's group with the owners of threads; other groups as they are."""
    if group.part is not MESSAGES:
        return group
    return replace(group, tables=(*group.tables, tables.OWNERS))


def groups_of(parts: Collection[SchemaPart]) -> list[RowGroup]:
    """Return the groups of parts of the schema."""
    return [group for group in ROW_GROUPS if group.part in parts]
