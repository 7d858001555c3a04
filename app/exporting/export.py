"""Read threads and memories in the lines of a file, a thread at a time."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import Any, Final, Literal, Self, TypeAlias, get_args

import msgpack
from sqlalchemy import Table

from threadlog.copying.paging import batches_of_pages, page_of_rows
from threadlog.copying.row_groups import RowGroup, groups_of, has_expired, with_control
from threadlog.encoding.namespaces import stored_prefixes
from threadlog.encoding.validation import (
    check_id,
    check_ids,
    check_one_of,
)
from threadlog.encryption import Place, ValueName
from threadlog.errors import InvalidInputError, ThreadNotFoundError
from threadlog.exporting.rows import to_object
from threadlog.formats.any_format import WRITERS
from threadlog.formats.transcript import FormatName
from threadlog.log.conditions import require_control
from threadlog.log.framework_types import VOCABULARY
from threadlog.log.owners import ScopedRunner, resolve_owner
from threadlog.log.reading import load
from threadlog.models import CONTROL, MESSAGES, PARTS, STORE, SchemaPart, tables
from threadlog.repositories import UnitOfWork
from threadlog.repositories.transfer import RawRow
from threadlog.runtime.transactions import TransactionRunner
from threadlog.schema.verify import verify_schema

ExportFormat: TypeAlias = Literal["jsonl", FormatName]
"""``jsonl``: all rows, for `threadlog import`; else conversations in the form of a library."""

FORMATS: Final = get_args(ExportFormat)

HEADER: Final = "threadlog_export"
END: Final = "end"
"""The types of the first and of the last line."""

VERSION: Final = 1
"""The version of the lines, in the first of them."""

_THREADS_AT_ONCE: Final = 500
_ITEMS_AT_ONCE: Final = 100

# Lines of one thread that are in memory; more are in a temporary file.
_SPOOL_BYTES: Final = 8 * 2**20

# The keys of the messages where it is not "messages".
_LISTS: Final[Mapping[str, str]] = {"sharegpt": "conversations", "openai_responses": "input"}


@dataclass(slots=True)
class Exported:
    """The progress of an export."""

    threads: int = 0
    memories: int = 0
    lines: int = 0
    bytes: int = 0


class Export:
    """An export that is read in steps: one thread, or a page of memories, in each.

    A step is an operation of a client. Between steps no connection is held, however slowly the
    lines are used; `lines` returns those of the last step.
    """

    def __init__(
        self,
        threads: Sequence[str] | None = None,
        owner: str | None = None,
        memories: Sequence[Sequence[str]] | None = None,
        format_name: ExportFormat = "jsonl",
    ) -> None:
        """Create an export; see `Checkpointer.export`."""
        check_one_of(format_name, "format", FORMATS)
        if owner is not None:
            check_id(owner, "owner")
        self._named = None if threads is None else check_ids(threads, "threads")
        self._owner = owner
        self._prefixes = None if memories is None else stored_prefixes(memories, "memories")
        self._format: ExportFormat = format_name
        self._groups: list[RowGroup] = []
        self._lines = 0
        self._spool = SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115 - closed by `__exit__`
        self._steps = self._run()
        self._runner: TransactionRunner
        self.done = Exported()

    def __enter__(self) -> Self:
        """Return the export."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Remove the temporary file."""
        self._spool.close()

    def count(self, transactions: TransactionRunner) -> int:
        """Return the approximate number of threads to export.

        Raises:
            CubepiSchemaUninitialized: the database has none of the tables.
        """
        runner, owner = resolve_owner(transactions, self._owner)
        if self._named is not None:
            return len(self._named)

        def work(uow: UnitOfWork) -> int:
            if owner is not None:
                require_control(uow)
                return uow.owners.count(owner)
            groups = groups_of(_parts(uow))
            heads = [g.head if g.head is not None else g.tables[-1] for g in groups]
            counts = (uow.raw_rows(t).count_threads() for t in heads if "thread_id" in t.c)
            return max(counts, default=0)

        return runner.read(work)

    def step(self, transactions: TransactionRunner) -> bool:
        """Read the next lines; return False if there are no more.

        Raises:
            ThreadNotFoundError: a requested thread does not exist.
            CubepiSchemaUninitialized: the database has none of the tables.
            CubepiSchemaMismatch: a part of the schema has another version.
        """
        if isinstance(transactions, ScopedRunner) and self._prefixes:
            raise InvalidInputError(
                "Memories have no owner. Export them with a checkpointer that has no scope."
            )
        self._runner, self._owner = resolve_owner(transactions, self._owner)
        self._clear()
        goes_on = next(self._steps, False)
        self.done.lines += self._lines
        self.done.bytes += self._spool.tell()
        return goes_on

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the last step, each with its line feed."""
        self._spool.seek(0)
        yield from self._spool

    def _run(self) -> Iterator[bool]:
        """Write the lines of each step, and yield True after it."""
        parts = self._runner.read(_parts)
        groups = [group for group in groups_of(parts) if group.part is not STORE]
        if self._format != "jsonl":
            groups = [group for group in groups if group.part is MESSAGES]
        else:
            yield self._write_header(parts)
        self._groups = list(map(with_control, groups)) if CONTROL in parts else groups
        for thread_id in self._thread_ids(groups):
            if self._write_thread(thread_id):
                self.done.threads += 1
                yield True
            elif self._named is not None:
                raise ThreadNotFoundError(thread_id=thread_id)
        if self._format == "jsonl":
            for found in self._items() if STORE in parts else ():
                self.done.memories += found
                yield True
            counts = {"threads": self.done.threads, "memories": self.done.memories}
            self._write({"type": END, **counts, "lines": self.done.lines})
            yield True

    def _write_header(self, parts: Sequence[SchemaPart]) -> bool:
        now = self._runner.read(lambda uow: uow.catalogue.now())
        names = [part.name for part in parts]
        about = {"version": VERSION, "exported_at": now.isoformat(), "parts": names}
        self._write({"type": HEADER, **about})
        return True

    def _thread_ids(self, groups: Sequence[RowGroup]) -> Iterator[str]:
        """Yield the ids of the threads to export, each once."""
        if self._named is not None:
            yield from self._named
        elif self._owner is not None:
            yield from self._owned(self._owner)
        else:
            texts = [t for group in groups if not group.by_uuid for t in group.tables]
            for place, table in enumerate(texts):
                yield from self._ids_in(table, texts[:place])
            for group in groups:
                if group.by_uuid and group.head is not None:
                    for uuid in self._ids_in(group.head, ()):
                        if not self._has_rows(texts, str(uuid)):
                            yield str(uuid)

    def _owned(self, owner: str) -> Iterator[str]:
        after: str | None = None

        def read(uow: UnitOfWork) -> list[str]:
            require_control(uow)
            return uow.owners.threads(owner, after=after, limit=_THREADS_AT_ONCE)

        while page := self._runner.read(read):
            yield from page
            after = page[-1]

    def _ids_in(self, table: Table, but: Sequence[Table]) -> Iterator[Any]:
        """Yield the threads with rows in a table, but without those in other tables."""
        after: Any = None
        while page := self._runner.read(
            lambda uow: uow.raw_rows(table).thread_ids(
                after=after,  # noqa: B023 - called in this round
                limit=_THREADS_AT_ONCE,
                but=but,
            )
        ):
            yield from page
            after = page[-1]

    def _has_rows(self, in_tables: Sequence[Table], thread_id: str) -> bool:
        counts = self._runner.read(lambda uow: uow.count_rows(in_tables, thread_id))
        return any(counts.values())

    def _write_thread(self, thread_id: str) -> bool:
        """Write the lines of a thread; return False if it has no rows."""
        runner = self._runner
        if self._owner is not None:
            runner = ScopedRunner(runner, self._owner, thread_id)
        if self._format != "jsonl":
            return self._write_conversation(runner, thread_id)
        runner.read(lambda uow: self._write_rows(uow, thread_id), snapshot=True)
        return self._lines > 0

    def _write_rows(self, uow: UnitOfWork, thread_id: str) -> None:
        self._clear()  # of an earlier attempt
        for group in self._groups:
            key = group.parse(thread_id)
            if key is None or str(key) != thread_id:
                continue
            for batch in batches_of_pages(uow, group.tables, key):
                for page in batch:
                    for row in page.rows.values():
                        self._write(to_object(page.table, _in_plain_text(uow, page.table, row)))

    def _write_conversation(self, runner: TransactionRunner, thread_id: str) -> bool:
        data = load(runner, VOCABULARY, thread_id)
        if data is None:
            return False
        name: Any = self._format
        key = _LISTS.get(name, "messages")
        self._write(
            {"thread_id": thread_id, "extra": data.extra, key: WRITERS[name](data.messages)}
        )
        return True

    def _items(self) -> Iterator[int]:
        """Write pages of the memories to export, and yield the number in each."""
        prefixes = self._prefixes
        if prefixes is None:
            prefixes = [""] if self._named is None and self._owner is None else []
        for prefix in prefixes:
            after: Any = None
            while True:
                after, found = self._runner.read(partial(self._write_items, prefix, after))
                if after is None:
                    break
                yield found

    def _write_items(self, prefix: str, after: Any, uow: UnitOfWork) -> tuple[Any, int]:
        """Write a page of items; return the key of its last one, and the number of lines."""
        self._clear()  # of an earlier attempt
        now = uow.catalogue.now()
        if prefix:
            keys = uow.store_items.keys(prefix, after=after, limit=_ITEMS_AT_ONCE)
            last: Any = keys[-1] if keys else None
            rows = uow.raw_rows(tables.ITEMS).get(None, [(digest,) for _, digest in keys])
        else:
            rows = page_of_rows(uow, tables.ITEMS, after).rows
            last = max(rows, default=None)
        for row in rows.values():
            if not has_expired(row, now):
                self._write(to_object(tables.ITEMS, row))
        return last, self._lines

    def _write(self, line: Mapping[str, Any]) -> None:
        write = partial(json.dumps, line, allow_nan=False, separators=(",", ":"))
        try:
            text = write(ensure_ascii=False).encode()
        except UnicodeEncodeError:  # half of a surrogate pair
            text = write().encode()
        self._spool.write(text + b"\n")
        self._lines += 1

    def _clear(self) -> None:
        self._spool.seek(0)
        self._spool.truncate()
        self._lines = 0


def _in_plain_text(uow: UnitOfWork, table: Table, row: RawRow) -> RawRow:
    """Return a row of the log with its values decrypted, if the unit of work has the keys.

    Raises:
        EncryptionError: a value cannot be decrypted.
    """
    if uow.encryption is None:
        return row
    values, thread_id = uow.encrypted_values, row["thread_id"]
    if table is tables.MESSAGES:
        given = (row["seq"], row["metadata"], row["payload"])
        ((_, metadata, payload),) = values.decrypt_rows(thread_id, [given])
        if metadata is None:  # the copy in the payload counts
            metadata = json.dumps(msgpack.unpackb(payload, raw=False)["metadata"])
        return {**row, "metadata": metadata, "payload": payload}
    places: dict[str, Place] = {}
    if table is tables.THREADS:
        names: tuple[ValueName, ...] = ("extra", "pending_request")
        places = {name: Place(name, thread_id) for name in names}
    elif table is tables.ANSWERS:
        places["answer"] = Place("answer", thread_id, ids=(row["run_id"], row["question_id"]))
    found = ((name, row[name], place) for name, place in places.items())
    plain = {n: values.decrypt_json(text, place) for n, text, place in found if text is not None}
    return {**row, **plain}


def _parts(uow: UnitOfWork) -> list[SchemaPart]:
    """Return the parts that the database has.

    Raises:
        CubepiSchemaUninitialized: it has none.
        CubepiSchemaMismatch: a part has another version.
    """
    parts = [part for part in PARTS if uow.catalogue.has_version_table(part)]
    for part in parts or [MESSAGES]:
        verify_schema(uow, part)
    return parts
