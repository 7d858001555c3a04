"""Writes of tasks: storing them once, and reading the history of channels' values."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Table, literal, select, union_all

from threadlog.models.dialects.types import typed_null
from threadlog.models.dialects.upsert import insert_or_replace_where, insert_rows_if_absent
from threadlog.models.tables import BLOBS, CHECKPOINTS, WRITES
from threadlog.repositories.base import Statement
from threadlog.repositories.graph.checkpoint import StoredBlob, StoredWrite
from threadlog.repositories.graph.rows_of_thread import GraphRepository

# The kinds of rows of `history`; an int first, as in the statements on checkpoints.
_CHECKPOINT, _WRITE, _BLOB = range(3)


class NewWrite(NamedTuple):
    """A task's write ready to be stored."""

    task_id: str
    idx: int
    task_path: str
    channel: str
    type: str
    value: bytes


class History(NamedTuple):
    """The rows from which channels' values are computed, all from one point in time."""

    checkpoint_ids: set[str]
    """The ids of the checkpoints that exist."""

    writes: dict[str, list[StoredWrite]]
    """Writes by checkpoint id, in the order in which they are applied."""

    blobs: dict[str, StoredBlob]
    """Values by key."""


@cache
def _put(dialect: str) -> Statement:
    """Return the INSERT that keeps a write that is stored already."""
    key = ("thread_id", "ns_digest", "checkpoint_id")
    return Statement(*insert_rows_if_absent(WRITES, dialect, key))


class CheckpointWriteRepository(GraphRepository):
    """Statements on writes of tasks, bound to one session."""

    table = WRITES
    name = "checkpoint_id"

    def put(self, key: Mapping[str, str], batch: Sequence[NewWrite]) -> None:
        """Insert writes in one statement.

        A write that is stored already is not changed: its step was repeated. Errors, interrupts
        and the like, whose idx is negative, replace the stored write.

        Args:
            key: the checkpoint's thread_id, ns_digest and checkpoint_id.
            batch: the writes.
        """
        rows, replaces = {}, False
        for new in batch:
            replaces = replaces or new.idx < 0
            place = (new.task_id, new.idx)
            # PostgreSQL refuses a statement that would replace a row of its own.
            if new.idx < 0 or place not in rows:
                rows[place] = new
        dialect = self.uow.dialect
        statement = _put(dialect)
        if statement.lists and not replaces:
            columns = map(list, zip(*rows.values(), strict=True))
            self.uow.run(statement, {**key, **dict(zip(statement.lists, columns, strict=True))})
            return
        values = [{**key, **new._asdict()} for new in rows.values()]
        if replaces:
            replacing = insert_or_replace_where(WRITES, dialect, WRITES.c.idx < 0)
            self.uow.execute(replacing.values(values))
        else:
            self.uow.run(statement, values)

    def history(
        self,
        thread_id: str,
        digest: str,
        *,
        checkpoint_ids: Sequence[str],
        channels: Sequence[str],
        blob_keys: Sequence[str],
    ) -> History:
        """Return, in one statement, the writes to channels after checkpoints, and some values.

        Args:
            thread_id: the thread.
            digest: the hash of the namespace.
            checkpoint_ids: the checkpoints.
            channels: the names of the channels.
            blob_keys: the keys of the values.
        """
        here = {"thread_id": thread_id, "ns_digest": digest}
        stored = _of(CHECKPOINTS, here).where(CHECKPOINTS.c.checkpoint_id.in_(checkpoint_ids))
        writes = _of(WRITES, here).where(
            WRITES.c.checkpoint_id.in_(checkpoint_ids), WRITES.c.channel.in_(channels)
        )
        blobs = _of(BLOBS, here).where(BLOBS.c.blob_key.in_(blob_keys))
        w, b = WRITES.c, BLOBS.c
        statement = union_all(
            stored.with_only_columns(
                *(literal(_CHECKPOINT), CHECKPOINTS.c.checkpoint_id),
                *(typed_null(c.type) for c in (w.task_path, w.task_id, w.idx)),
                *(typed_null(c.type) for c in (w.channel, w.type, w.value)),
            ),
            writes.with_only_columns(
                *(literal(_WRITE), w.checkpoint_id, w.task_path, w.task_id, w.idx),
                *(w.channel, w.type, w.value),
            ),
            blobs.with_only_columns(
                *(literal(_BLOB), b.blob_key),
                *(typed_null(c.type) for c in (w.task_path, w.task_id, w.idx)),
                *(b.channel, b.type, b.value),
            ),
        )
        return _history(self.uow.execute(statement).all())


def _of(table: Table, here: Mapping[str, str]) -> Any:
    return select(table).where(*(table.c[name] == value for name, value in here.items()))


def _history(rows: Sequence[Any]) -> History:
    found = History(set(), {}, {})
    for kind, id_, task_path, task_id, idx, channel, type_, content in rows:
        if kind == _CHECKPOINT:
            found.checkpoint_ids.add(id_)
        elif kind == _WRITE:
            write = StoredWrite(task_path, task_id, idx, channel, type_, content)
            found.writes.setdefault(id_, []).append(write)
        else:
            found.blobs[id_] = StoredBlob(id_, channel, type_, content)
    for writes in found.writes.values():
        writes.sort(key=lambda write: write[:3])
    return found
