"""Checkpoints: storing one, reading one or a page of them, and reading summaries."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    CTE,
    ColumnElement,
    CompoundSelect,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    literal,
    literal_column,
    or_,
    select,
    true,
    union_all,
)

from threadlog.models.dialects.json import as_text, json_items, json_member_is
from threadlog.models.dialects.query_plans import (
    equals_item,
    force_primary_key,
    prevent_index_sort,
)
from threadlog.models.dialects.time import utc_now
from threadlog.models.dialects.types import typed_null
from threadlog.models.dialects.upsert import (
    insert_or_replace,
    insert_rows_if_absent,
)
from threadlog.models.tables import BLOBS, CHECKPOINTS, WRITES
from threadlog.repositories.base import Statement
from threadlog.repositories.graph.checkpoint_blob import NewBlob
from threadlog.repositories.graph.digests import ns_digest
from threadlog.repositories.graph.rows_of_thread import GraphRepository

_TEXT: Final = Text()

_KEY: Final = ("thread_id", "ns_digest", "checkpoint_id")
_COUNTERS: Final = "counters_since_delta_snapshot"

# Checkpoints that are read at a time.
_PAGE: Final = 25

# The kinds of rows of the one statement; an int first: asyncmy reads a row that begins with a
# value of 16 MiB as the end of the rows.
_CHECKPOINT, _BLOB, _WRITE = range(3)


# Path, task and idx of a write: the order in which the writes of a step are applied.
_ORDER: Final = itemgetter(slice(3))


class NewCheckpoint(NamedTuple):
    """A checkpoint ready to be stored."""

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str
    parent_checkpoint_id: str | None
    type: str
    checkpoint: bytes
    blob_keys: list[str]
    metadata: dict[str, Any]
    run_id: str | None


class Cursor(NamedTuple):
    """End of a page of checkpoints, newest first."""

    checkpoint_id: str
    thread_id: str
    ns_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointQuery:
    """Conditions on checkpoints; None for no condition."""

    thread_id: str | None = None
    checkpoint_ns: str | None = None
    checkpoint_id: str | None = None
    before: str | None = None
    """Only checkpoints with a smaller id."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Members that the metadata must have, with these values."""

    after: Cursor | None = None
    """Only checkpoints that follow the end of a page."""

    limit: int | None = None
    """The most checkpoints, of all pages together."""

    @property
    def page_length(self) -> int:
        """The most checkpoints of the page."""
        return _PAGE if self.limit is None else min(self.limit, _PAGE)

    def following(self, page: Sequence["StoredCheckpoint"]) -> "CheckpointQuery | None":
        """Return the query of the next page; None after the last page."""
        if len(page) < self.page_length:
            return None
        rest = None if self.limit is None else self.limit - len(page)
        return replace(self, after=page[-1].cursor, limit=rest)


class StoredBlob(NamedTuple):
    """A channel's value, not yet decoded."""

    key: str
    channel: str
    type: str
    value: bytes


class StoredWrite(NamedTuple):
    """A task's write, not yet decoded; sorts in the order in which writes are applied."""

    task_path: str
    task_id: str
    idx: int
    channel: str
    type: str
    value: bytes


@dataclass(slots=True)
class StoredCheckpoint:
    """A stored checkpoint, with its channels' values and its tasks' writes."""

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str
    parent_checkpoint_id: str | None
    type: str
    checkpoint: bytes
    metadata: str
    """The text of a JSON object."""

    blob_keys: str
    """The text of a JSON array."""

    blobs: dict[str, StoredBlob] = field(default_factory=dict)
    """Values by key, of the whole page; `blob_keys` has the keys of this checkpoint."""

    writes: list[StoredWrite] = field(default_factory=list)

    @property
    def cursor(self) -> Cursor:
        """The end of a page whose last checkpoint this is."""
        return Cursor(self.checkpoint_id, self.thread_id, ns_digest(self.checkpoint_ns))


class CheckpointSummary(NamedTuple):
    """Data of a checkpoint that pruning needs, without its content."""

    ns_digest: str
    checkpoint_id: str
    parent_checkpoint_id: str | None
    blob_keys: frozenset[str]
    delta_channels: tuple[str, ...]
    """Names of channels whose value is computed from the writes of ancestors."""

    old: bool


@cache
def _put(dialect: str, *, with_blobs: bool) -> Statement:
    """Return the INSERT that overwrites a checkpoint of the same id, and stores its values."""
    names = [*NewCheckpoint._fields, "ns_digest"]
    row: dict[str, Any] = {name: bindparam(name, type_=CHECKPOINTS.c[name].type) for name in names}
    row["created_at"] = utc_now(dialect, seconds_ago=bindparam("now"))
    put = insert_or_replace(CHECKPOINTS, dialect, row)
    if not with_blobs:
        return Statement(put)
    blobs, lists = insert_rows_if_absent(BLOBS, dialect, ("thread_id", "ns_digest"))
    return Statement(put.add_cte(blobs.cte("blobs")), lists)


class CheckpointRepository(GraphRepository):
    """Statements on checkpoints, bound to one session."""

    table = CHECKPOINTS
    name = "checkpoint_id"

    def put(self, new: NewCheckpoint, blobs: Sequence[NewBlob] = ()) -> None:
        """Insert a checkpoint, or overwrite the one with the same id, in one statement.

        Args:
            new: the checkpoint.
            blobs: values to store with it; only if the database's `joins_inserts` is True.
        """
        statement = _put(self.uow.dialect, with_blobs=bool(blobs))
        row = {**new._asdict(), "ns_digest": ns_digest(new.checkpoint_ns), "now": 0.0}
        columns = map(list, zip(*blobs, strict=True))
        self.uow.run(statement, {**row, **dict(zip(statement.lists, columns, strict=True))})

    def newest(self, thread_id: str, checkpoint_ns: str) -> StoredCheckpoint | None:
        """Return the newest checkpoint of a namespace, in one statement; None if not found."""
        key = {"thread_id": thread_id, "ns_digest": ns_digest(checkpoint_ns)}
        return next(iter(_assemble(self.uow.run(_newest(self.uow.dialect), key))), None)

    def one(
        self, thread_id: str, checkpoint_ns: str, checkpoint_id: str
    ) -> StoredCheckpoint | None:
        """Return a checkpoint, in one statement; None if not found."""
        key = _key(thread_id, checkpoint_ns, checkpoint_id)
        return next(iter(_assemble(self.uow.run(_one(self.uow.dialect), key))), None)

    def page(self, query: CheckpointQuery) -> list[StoredCheckpoint]:
        """Return a page of checkpoints, newest first, in one statement."""
        dialect = self.uow.dialect
        target = _targets(*_conditions(query, dialect), order=_ordering(query, dialect)).limit(
            query.page_length
        )
        if query.thread_id is not None:
            target = force_primary_key(target, CHECKPOINTS, dialect)
        return _assemble(self.uow.execute(_whole(target.cte("target"), dialect)))

    def chain(
        self, thread_id: str, checkpoint_ns: str, checkpoint_id: str, depth: int
    ) -> list[tuple[str, str | None, list[str]]]:
        """Return a checkpoint and its ancestors.

        Args:
            thread_id: the thread.
            checkpoint_ns: the namespace.
            checkpoint_id: the first checkpoint.
            depth: the most checkpoints to return.

        Returns:
            The checkpoint itself, its parent, and so on as far as they exist: each with its
            parent's id and its blob keys.
        """
        start = {**_key(thread_id, checkpoint_ns, checkpoint_id), "depth": depth}
        return [(row[1], row[2], row[3]) for row in self.uow.run(_CHAIN, start)]

    def summaries(self, thread_id: str, *, seconds_ago: float) -> list[CheckpointSummary]:
        """Return summaries of all checkpoints of a thread, without their content.

        Args:
            thread_id: the thread.
            seconds_ago: the age in seconds from which on a checkpoint is old.
        """
        dialect = self.uow.dialect
        old = CHECKPOINTS.c.created_at <= utc_now(dialect, seconds_ago=seconds_ago)
        rows = self.uow.execute(
            select(
                CHECKPOINTS.c.ns_digest,
                CHECKPOINTS.c.checkpoint_id,
                CHECKPOINTS.c.parent_checkpoint_id,
                CHECKPOINTS.c.blob_keys,
                CHECKPOINTS.c.metadata[_COUNTERS],
                old,
            ).where(CHECKPOINTS.c.thread_id == thread_id)
        )
        return [
            CheckpointSummary(ns, id_, parent, frozenset(keys), tuple(counters or ()), bool(is_old))
            for ns, id_, parent, keys, counters, is_old in rows
        ]

    def threads_of_runs(self, run_ids: Sequence[str]) -> list[str]:
        """Return the threads in which runs created checkpoints, in order."""
        column = CHECKPOINTS.c.thread_id
        wanted = select(column).distinct().where(CHECKPOINTS.c.run_id.in_(run_ids))
        return list(self.uow.execute(wanted.order_by(column)).scalars())

    def of_runs(self, thread_id: str, run_ids: Sequence[str]) -> set[tuple[str, str]]:
        """Return the checkpoints of a thread from these runs: hash of the namespace, id."""
        wanted = select(CHECKPOINTS.c.ns_digest, CHECKPOINTS.c.checkpoint_id).where(
            CHECKPOINTS.c.thread_id == thread_id, CHECKPOINTS.c.run_id.in_(run_ids)
        )
        return {(row[0], row[1]) for row in self.uow.execute(wanted)}

    def threads_with_old(self, *, seconds_ago: float, after: str | None, limit: int) -> list[str]:
        """Return a page of the threads, in order, that have a checkpoint of at least this age."""
        dialect = self.uow.dialect
        column = CHECKPOINTS.c.thread_id
        query = (
            select(column)
            .distinct()
            .where(CHECKPOINTS.c.created_at <= utc_now(dialect, seconds_ago=seconds_ago))
            .order_by(column)
            .limit(limit)
        )
        return list(
            self.uow.execute(query if after is None else query.where(column > after)).scalars()
        )


def _key(thread_id: str, checkpoint_ns: str, checkpoint_id: str) -> dict[str, str]:
    return dict(zip(_KEY, (thread_id, ns_digest(checkpoint_ns), checkpoint_id), strict=True))


def _ordering(query: CheckpointQuery, dialect: str) -> Sequence[ColumnElement[Any]]:
    """Return a total order of the checkpoints.

    Within one namespace of a thread it is the id alone: with further columns, which are equal
    in all rows, MariaDB would sort.
    """
    newest = CHECKPOINTS.c.checkpoint_id
    if query.thread_id is None:
        return newest, CHECKPOINTS.c.thread_id, CHECKPOINTS.c.ns_digest
    if query.checkpoint_ns is None:
        return prevent_index_sort(newest, dialect), CHECKPOINTS.c.ns_digest
    return (newest,)


def _targets(
    *conditions: ColumnElement[bool],
    order: Sequence[ColumnElement[Any]] = (CHECKPOINTS.c.checkpoint_id,),
) -> Select[Any]:
    """Select the keys of checkpoints, newest first.

    All columns in descending order, so that the index on checkpoint_id is scanned backwards.
    """
    return (
        select(*(CHECKPOINTS.c[name] for name in _KEY), CHECKPOINTS.c.blob_keys)
        .where(*conditions)
        .order_by(*(column.desc() for column in order))
    )


def _whole(
    target: CTE, dialect: str, *, namespace: Sequence[ColumnElement[bool]] = ()
) -> CompoundSelect[Any]:
    """Return the one statement that reads checkpoints with their values and writes.

    One statement reads one snapshot: a concurrent write is seen completely or not at all.

    Args:
        target: the keys of the checkpoints.
        dialect: the name of the session's dialect.
        namespace: if all are of one namespace, the conditions on their values' rows.
    """
    items = json_items(target.c.blob_keys, "items")
    # Checkpoints share values; each value is read once.
    wanted = (
        select(target.c.thread_id, target.c.ns_digest, items.c.value)
        .select_from(target.join(items, true()))
        .distinct()
        .subquery("wanted")
    )
    checkpoints = select(
        literal(_CHECKPOINT).label("kind"),
        *(CHECKPOINTS.c[name] for name in _KEY),
        CHECKPOINTS.c.checkpoint_ns.label("name"),
        CHECKPOINTS.c.parent_checkpoint_id.label("parent"),
        typed_null(WRITES.c.idx.type).label("idx"),
        CHECKPOINTS.c.type,
        CHECKPOINTS.c.checkpoint.label("content"),
        # As text: a row with invalid JSON must be reported by its key, not fail in the driver.
        as_text(CHECKPOINTS.c.metadata).label("metadata"),
        as_text(CHECKPOINTS.c.blob_keys).label("keys"),
    ).join(target, _same_key(CHECKPOINTS, target))
    blobs = select(
        literal(_BLOB),
        *(BLOBS.c.thread_id, BLOBS.c.ns_digest, BLOBS.c.blob_key, BLOBS.c.channel),
        *(typed_null(_TEXT), typed_null(WRITES.c.idx.type), BLOBS.c.type, BLOBS.c.value),
        *(typed_null(_TEXT), typed_null(_TEXT)),
    )
    keys = select(items.c.value).select_from(target.join(items, true()))
    is_key = equals_item(BLOBS.c.blob_key, keys, dialect) if namespace else None
    if is_key is not None:
        blobs = blobs.where(*namespace, is_key)
    else:
        blobs = blobs.join(
            wanted,
            and_(
                BLOBS.c.thread_id == wanted.c.thread_id,
                BLOBS.c.ns_digest == wanted.c.ns_digest,
                BLOBS.c.blob_key == wanted.c.value,
            ),
        )
    writes = select(
        literal(_WRITE),
        *(WRITES.c[name] for name in _KEY),
        *(WRITES.c.channel, WRITES.c.task_id, WRITES.c.idx, WRITES.c.type, WRITES.c.value),
        *(WRITES.c.task_path, typed_null(_TEXT)),
    ).join(target, _same_key(WRITES, target))
    return union_all(checkpoints, blobs, writes)


def _same_key(table: Table, target: CTE) -> ColumnElement[bool]:
    return and_(*(table.c[name] == target.c[name] for name in _KEY))


def _of_namespace(table: Table) -> Sequence[ColumnElement[bool]]:
    return table.c.thread_id == bindparam("thread_id"), table.c.ns_digest == bindparam("ns_digest")


_OF_NAMESPACE: Final = _of_namespace(CHECKPOINTS)
_IS_CHECKPOINT: Final = CHECKPOINTS.c.checkpoint_id == bindparam("checkpoint_id")
# A constant: for a parameter PostgreSQL would estimate a tenth of the rows, not one.
_ONE_ROW: Final[ColumnElement[int]] = literal_column("1")


@cache
def _newest(dialect: str) -> Statement:
    return _of_one(_targets(*_OF_NAMESPACE), dialect)


@cache
def _one(dialect: str) -> Statement:
    return _of_one(_targets(*_OF_NAMESPACE, _IS_CHECKPOINT), dialect)


def _of_one(targets: Select[Any], dialect: str) -> Statement:
    # The limit prevents MySQL from merging the CTE, which fails with JSON_TABLE on a single row
    # (error 1210).
    target = targets.limit(_ONE_ROW).cte("target")
    return Statement(_whole(target, dialect, namespace=_of_namespace(BLOBS)))


def _chain() -> Select[Any]:
    """Return the recursive statement that reads a checkpoint and its ancestors."""
    columns = (
        CHECKPOINTS.c.checkpoint_id,
        CHECKPOINTS.c.parent_checkpoint_id,
        CHECKPOINTS.c.blob_keys,
    )
    chain = (
        select(literal(1).label("place"), *columns)
        .where(*_OF_NAMESPACE, _IS_CHECKPOINT)
        .cte("chain", recursive=True)
    )
    parent = CHECKPOINTS.c.checkpoint_id == chain.c.parent_checkpoint_id
    chain = chain.union_all(
        select(chain.c.place + 1, *columns).where(
            *_OF_NAMESPACE, parent, chain.c.place < bindparam("depth")
        )
    )
    return select(*chain.c).order_by(chain.c.place)


_CHAIN: Final = Statement(_chain())


def _conditions(query: CheckpointQuery, dialect: str) -> Iterable[ColumnElement[bool]]:
    checkpoint_id = CHECKPOINTS.c.checkpoint_id
    if query.thread_id is not None:
        yield CHECKPOINTS.c.thread_id == query.thread_id
    if query.checkpoint_ns is not None:
        yield CHECKPOINTS.c.ns_digest == ns_digest(query.checkpoint_ns)
    if query.checkpoint_id is not None:
        yield checkpoint_id == query.checkpoint_id
    if query.before is not None:
        yield checkpoint_id < query.before
    for key, value in query.metadata.items():
        yield json_member_is(CHECKPOINTS.c.metadata, key, value, dialect)
    if query.after is not None:
        yield from _after(query.after)


def _after(cursor: Cursor) -> Iterable[ColumnElement[bool]]:
    columns = (CHECKPOINTS.c.checkpoint_id, CHECKPOINTS.c.thread_id, CHECKPOINTS.c.ns_digest)
    id_, thread, digest = columns
    yield id_ <= cursor.checkpoint_id  # a range of the index
    yield or_(
        id_ < cursor.checkpoint_id,
        and_(
            id_ == cursor.checkpoint_id,
            or_(
                thread < cursor.thread_id,
                and_(thread == cursor.thread_id, digest < cursor.ns_digest),
            ),
        ),
    )


def _assemble(rows: Iterable[Any]) -> list[StoredCheckpoint]:
    """Return the checkpoints from the rows of the one statement."""
    found: dict[tuple[str, str, str], StoredCheckpoint] = {}
    blobs: dict[tuple[str, str], dict[str, StoredBlob]] = {}
    writes: list[tuple[tuple[str, str, str], StoredWrite]] = []
    for kind, thread_id, digest, id_, name, extra, idx, type_, content, text, keys in rows:
        if kind == _CHECKPOINT:
            found[thread_id, digest, id_] = StoredCheckpoint(
                thread_id, name, id_, extra, type_, content, text, keys
            )
        elif kind == _BLOB:
            blob = StoredBlob(id_, name, type_, content)
            blobs.setdefault((thread_id, digest), {})[id_] = blob
        else:
            write = StoredWrite(text, extra, idx, name, type_, content)
            writes.append(((thread_id, digest, id_), write))
    for (thread_id, digest, _), checkpoint in found.items():
        checkpoint.blobs = blobs.get((thread_id, digest), {})
    for key, write in writes:
        found[key].writes.append(write)
    for checkpoint in found.values():
        checkpoint.writes.sort(key=_ORDER)
    if len(found) < 2:  # noqa: PLR2004 - nothing to sort
        return list(found.values())
    return sorted(found.values(), key=_newest_first, reverse=True)


def _newest_first(checkpoint: StoredCheckpoint) -> Cursor:
    return checkpoint.cursor
