"""Store, read, copy and delete the checkpoints of graphs, as rows."""

import json
from collections.abc import Iterator, Sequence
from typing import Final

from threadlog.encoding.statement_size import (
    ROW_OVERHEAD,
    STATEMENT_OVERHEAD,
    Batch,
    batches,
    check_row,
    row_size,
)
from threadlog.errors import StorageError, ThreadAlreadyExistsError
from threadlog.graph.ownership import check_owner
from threadlog.graph.pruning import delete_all
from threadlog.repositories import UnitOfWork
from threadlog.repositories.graph.checkpoint import CheckpointQuery, NewCheckpoint, StoredCheckpoint
from threadlog.repositories.graph.checkpoint_blob import NewBlob
from threadlog.repositories.graph.checkpoint_write import History, NewWrite
from threadlog.repositories.graph.digests import DIGITS, channel_digest, ns_digest
from threadlog.runtime.transactions import TransactionRunner

# Ancestors that are read at a time; MySQL itself stops at 1,000 (cte_max_recursion_depth).
_DEPTH: Final = 500

# Characters of the longest id, and the most bytes of a character in a statement.
_ID: Final = 255
_ESCAPED_CHARACTER: Final = 8

# Bytes of a key of a value, and of a row beside its names and its value.
_KEY: Final = 72
_ROW: Final = 400

# How often a walk along ancestors is begun again because some were deleted meanwhile.
_WALKS: Final = 5


def put_checkpoint(
    transactions: TransactionRunner,
    new: NewCheckpoint,
    blobs: Sequence[NewBlob],
    owner_token: int | None = None,
) -> None:
    """Store a checkpoint and the values that have a new version, in one transaction.

    Raises:
        WriteOwnershipLostError: `owner_token` is not that of the thread's owner.
        TooLargeError: a row does not fit into a statement.
    """
    limit = transactions.statement_limit
    _check_size(new, limit)
    blob_batches = _divide_blobs(new.thread_id, blobs, limit)
    digest = ns_digest(new.checkpoint_ns)

    single = not blobs or (transactions.backend.joins_inserts and len(blob_batches) == 1)

    def put(uow: UnitOfWork) -> None:
        if owner_token is not None:
            check_owner(uow, new.thread_id, owner_token)
        if single:
            uow.checkpoints.put(new, blobs)
            return
        for batch in blob_batches:
            uow.checkpoint_blobs.put(new.thread_id, digest, batch.rows)
        uow.checkpoints.put(new)

    transactions.write(put, idempotent=True, single=single and owner_token is None)


def put_writes(
    transactions: TransactionRunner,
    thread_id: str,
    checkpoint_ns: str,
    checkpoint_id: str,
    writes: Sequence[NewWrite],
    owner_token: int | None = None,
) -> None:
    """Store a task's writes, in one transaction.

    Raises:
        WriteOwnershipLostError: `owner_token` is not that of the thread's owner.
        TooLargeError: a row does not fit into a statement.
    """
    write_batches = _divide_writes(thread_id, checkpoint_id, writes, transactions.statement_limit)
    key = {
        "thread_id": thread_id,
        "ns_digest": ns_digest(checkpoint_ns),
        "checkpoint_id": checkpoint_id,
    }

    def put(uow: UnitOfWork) -> None:
        if owner_token is not None:
            check_owner(uow, thread_id, owner_token)
        for batch in write_batches:
            uow.checkpoint_writes.put(key, batch.rows)

    if write_batches:
        # SQLite inserts row by row.
        single = len(writes) == 1 or not transactions.backend.embedded
        single = single and len(write_batches) == 1 and owner_token is None
        transactions.write(put, idempotent=True, single=single)


def read_checkpoint(
    transactions: TransactionRunner, thread_id: str, checkpoint_ns: str, checkpoint_id: str | None
) -> StoredCheckpoint | None:
    """Read a checkpoint, or the newest of its namespace, in one statement."""
    if checkpoint_id is None:
        return transactions.read(lambda uow: uow.checkpoints.newest(thread_id, checkpoint_ns))
    return transactions.read(
        lambda uow: uow.checkpoints.one(thread_id, checkpoint_ns, checkpoint_id)
    )


def list_checkpoints(
    transactions: TransactionRunner, query: CheckpointQuery
) -> list[StoredCheckpoint]:
    """Read a page of checkpoints, newest first, in one statement."""
    return transactions.read(lambda uow: uow.checkpoints.page(query))


def delete_graph_thread(transactions: TransactionRunner, thread_id: str) -> None:
    """Delete all that is stored of a thread's graphs, in one transaction."""
    transactions.write(lambda uow: delete_all(uow, thread_id), idempotent=True)


def copy_thread(
    transactions: TransactionRunner, source_thread_id: str, target_thread_id: str
) -> None:
    """Copy all that is stored of a thread's graphs, inside the database.

    Raises:
        ThreadAlreadyExistsError: something is stored of the target.
    """

    def copy(uow: UnitOfWork) -> None:
        if uow.checkpoints.summaries(target_thread_id, seconds_ago=0):
            raise ThreadAlreadyExistsError(thread_id=target_thread_id)
        # Locked: no other transaction deletes them, or the values and writes that are copied next.
        uow.checkpoints.copy(source_thread_id, target_thread_id, lock=True)
        uow.checkpoint_blobs.copy(source_thread_id, target_thread_id)
        uow.checkpoint_writes.copy(source_thread_id, target_thread_id)

    transactions.write(copy)


class Ancestry:
    """The ancestors of a checkpoint from which delta channels' values add up."""

    def __init__(self, channels: Sequence[str]) -> None:
        """Begin with no ancestor seen."""
        self.ancestors: list[str] = []
        """Their ids, the nearest first."""

        self.seeds: dict[str, tuple[int, str]] = {}
        """By channel: the place in `ancestors` of the nearest one that has a value for it, and
        the value's key.
        """

        self._digests = {channel: channel_digest(channel) for channel in channels}

    def keys_of(self, blob_keys: Sequence[str]) -> dict[str, str]:
        """Return the keys that a checkpoint has for channels without a seed, by channel."""
        by_digest = {key[:DIGITS]: key for key in blob_keys}
        return {
            channel: by_digest[digest]
            for channel, digest in self._digests.items()
            if channel not in self.seeds and digest in by_digest
        }

    @property
    def is_complete(self) -> bool:
        """Whether every channel has its seed."""
        return len(self.seeds) == len(self._digests)

    @property
    def needed(self) -> list[str]:
        """Those of the ancestors whose writes are needed."""
        if not self.is_complete:
            return self.ancestors
        return self.ancestors[: 1 + max(place for place, _ in self.seeds.values())]


def read_history(
    transactions: TransactionRunner,
    thread_id: str,
    checkpoint_ns: str,
    checkpoint_id: str | None,
    channels: Sequence[str],
) -> tuple[Ancestry, History]:
    """Read what delta channels' values add up from.

    The ancestors are found first, then all of their writes are read in one statement, which
    also shows whether they still exist: if one was pruned meanwhile it begins again.

    Args:
        transactions: runs the transactions.
        thread_id: the thread.
        checkpoint_ns: the namespace.
        checkpoint_id: the checkpoint; None for the newest.
        channels: the names of the channels.

    Raises:
        StorageError: they were deleted again and again.
    """
    if checkpoint_id is None:
        newest = read_checkpoint(transactions, thread_id, checkpoint_ns, None)
        if newest is None:
            return Ancestry(channels), History(set(), {}, {})
        checkpoint_id = newest.checkpoint_id

    def read(uow: UnitOfWork) -> tuple[Ancestry, History] | None:
        ancestry = _walk(uow, thread_id, checkpoint_ns, checkpoint_id, channels)
        history = uow.checkpoint_writes.history(
            thread_id,
            ns_digest(checkpoint_ns),
            checkpoint_ids=ancestry.needed,
            channels=channels,
            blob_keys=[key for _, key in ancestry.seeds.values()],
        )
        whole = history.checkpoint_ids.issuperset(ancestry.needed)
        return (ancestry, history) if whole else None

    for _ in range(_WALKS):
        if (found := transactions.read(read)) is not None:
            return found
    raise StorageError(
        f"Ancestors of checkpoint {checkpoint_id!r} of thread {thread_id!r} were deleted each time "
        "while they were read. Run the call again"
    )


def _walk(
    uow: UnitOfWork,
    thread_id: str,
    checkpoint_ns: str,
    checkpoint_id: str,
    channels: Sequence[str],
) -> Ancestry:
    """Follow parents until every channel has its seed, or there are no more."""
    ancestry = Ancestry(channels)
    digest, seen = ns_digest(checkpoint_ns), {checkpoint_id}
    step: str | None = checkpoint_id
    while step is not None and not ancestry.is_complete:
        # One more than is new: each part of the way begins where the last one ended.
        chain = uow.checkpoints.chain(thread_id, checkpoint_ns, step, _DEPTH + 1)
        new = chain[1:]
        candidates = {key for _, _, keys in new for key in ancestry.keys_of(keys).values()}
        valued: set[str] = set()
        if candidates:
            valued = uow.checkpoint_blobs.existing(thread_id, digest, sorted(candidates))
        for id_, _, keys in new:
            if id_ in seen:  # its own ancestor: nothing is to be found behind it
                return ancestry
            seen.add(id_)
            for channel, key in ancestry.keys_of(keys).items():
                if key in valued:
                    ancestry.seeds[channel] = (len(ancestry.ancestors), key)
            ancestry.ancestors.append(id_)
        step = new[-1][0] if len(new) == _DEPTH else None
    return ancestry


# The three functions below compute a bound of the bytes that rows have in a statement: every
# byte escaped, every character of four bytes. Exact sizes are computed only where it is too high.


def _check_size(new: NewCheckpoint, limit: int) -> None:
    names = 5 * _ID + len(new.checkpoint_ns)
    size = len(new.checkpoint) + len(json.dumps(new.metadata)) + _KEY * len(new.blob_keys)
    if 2 * size + _ESCAPED_CHARACTER * names + ROW_OVERHEAD > limit - STATEMENT_OVERHEAD:
        texts = (
            value if isinstance(value, bytes | str) else json.dumps(value)
            for value in new
            if value is not None
        )
        check_row("the checkpoint", *texts, limit=limit)


def _divide_blobs(thread_id: str, blobs: Sequence[NewBlob], limit: int) -> Sequence[Batch[NewBlob]]:
    bound = 0
    for blob in blobs:
        names = len(thread_id) + len(blob.channel) + len(blob.version)
        bound += 2 * len(blob.value) + _ESCAPED_CHARACTER * names + _ROW
    if not blobs or bound <= limit - STATEMENT_OVERHEAD:
        return [Batch(list(blobs), bound)] if blobs else []
    return batches(_sized_blobs(thread_id, blobs), limit)


def _sized_blobs(thread_id: str, blobs: Sequence[NewBlob]) -> Iterator[tuple[NewBlob, str, int]]:
    """Yield values with their names in errors and their sizes in a statement."""
    for blob in blobs:
        size = row_size(thread_id, *blob) + _ROW
        yield blob, f"the value of channel {blob.channel!r}", size


def _divide_writes(
    thread_id: str, checkpoint_id: str, writes: Sequence[NewWrite], limit: int
) -> Sequence[Batch[NewWrite]]:
    bound = 0
    for write in writes:
        names = len(thread_id) + len(checkpoint_id) + len(write.task_id)
        names += len(write.task_path) + len(write.channel)
        bound += 2 * len(write.value) + _ESCAPED_CHARACTER * names + _ROW
    if not writes or bound <= limit - STATEMENT_OVERHEAD:
        return [Batch(list(writes), bound)] if writes else []
    return batches(_sized_writes(thread_id, checkpoint_id, writes), limit)


def _sized_writes(
    thread_id: str, checkpoint_id: str, writes: Sequence[NewWrite]
) -> Iterator[tuple[NewWrite, str, int]]:
    """Yield writes with their names in errors and their sizes in a statement."""
    for write in writes:
        names = (thread_id, checkpoint_id, write.task_id, write.task_path, write.channel)
        size = row_size(*names, write.type, write.value) + _ROW
        yield write, f"the write to channel {write.channel!r}", size
