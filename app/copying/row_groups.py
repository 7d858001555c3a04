"""Which rows make a thread, and which of two states of a row is the later one."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias, cast
from uuid import UUID

from sqlalchemy import Table

from threadlog.models import (
    GRAPH,
    MESSAGES,
    AppRun,
    AppThread,
    Checkpoint,
    CheckpointBlob,
    CheckpointWrite,
    HitlAnswer,
    Message,
    Run,
    SchemaPart,
    Thread,
)
from threadlog.repositories.transfer import RawRow

GroupName: TypeAlias = Literal["messages", "checkpoints", "metadata"]

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Tables whose rows with one ``thread_id`` belong together."""

    name: GroupName
    part: SchemaPart
    """The part of the schema that has the tables."""

    tables: tuple[Table, ...]
    """In the order in which rows are inserted."""

    head: Table | None = None
    """The table, first among them, that has one row for each thread; None where none has."""

    changing: Mapping[Table, tuple[str, ...]] = field(default_factory=dict)
    """Tables whose rows change, each with the times that tell which state is the later one."""

    taken_back: frozenset[Table] = frozenset()
    """Tables of which rows are deleted while a thread goes on."""

    by_uuid: bool = False
    """Whether threads have a UUID for their id."""

    def parse(self, thread_id: str) -> Any | None:
        """Give a thread's id as the tables have it; None where they can have none like it."""
        if not self.by_uuid:
            return thread_id
        try:
            found = UUID(thread_id)
        except ValueError:
            return None
        return found if str(found) == thread_id else None

    def went_on(self, table: Table, source: RawRow, target: RawRow) -> bool:
        """Say whether a row of the target is an earlier state of the source's row."""
        if table is _WRITES:
            # Errors, interrupts and answers of a task, which LangGraph writes anew.
            return bool(source["idx"] < 0)
        if source.get("created_at") != target.get("created_at"):
            return False
        times = self.changing.get(table, ())
        return _times(source, times) > _times(target, times)


def _times(row: RawRow, columns: tuple[str, ...]) -> list[datetime]:
    values = (row[column] for column in columns)
    return [value if isinstance(value, datetime) else _LONG_AGO for value in values]


def _table(model: Any) -> Table:
    return cast("Table", model.__table__)


_THREADS, _RUNS, _ANSWERS = _table(Thread), _table(Run), _table(HitlAnswer)
_WRITES = _table(CheckpointWrite)
_APP_THREADS, _APP_RUNS = _table(AppThread), _table(AppRun)

ROW_GROUPS: Final = (
    RowGroup(
        "messages",
        MESSAGES,
        (_THREADS, _table(Message), _RUNS, _ANSWERS),
        head=_THREADS,
        changing={
            _THREADS: ("updated_at",),
            _RUNS: ("claimed_at", "completed_at"),
            _ANSWERS: ("answered_at",),
        },
        taken_back=frozenset({_RUNS, _ANSWERS}),
    ),
    # Checkpoints last: none is ever seen without its values.
    RowGroup(
        "checkpoints",
        GRAPH,
        (_table(CheckpointBlob), _WRITES, _table(Checkpoint)),
    ),
    RowGroup(
        "metadata",
        GRAPH,
        (_APP_THREADS, _APP_RUNS),
        head=_APP_THREADS,
        changing={_APP_THREADS: ("updated_at",), _APP_RUNS: ("updated_at",)},
        taken_back=frozenset({_APP_RUNS}),
        by_uuid=True,
    ),
)
"""What is carried from one database to another, all but the versions of the schema."""


def groups_of(parts: Collection[SchemaPart]) -> list[RowGroup]:
    """Give the groups of parts of the schema."""
    return [group for group in ROW_GROUPS if group.part in parts]
