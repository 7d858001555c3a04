"""Delete unneeded checkpoints with their writes and values."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, TypeAlias, cast, get_args

from threadlog.errors import InvalidInputError
from threadlog.repositories import UnitOfWork
from threadlog.repositories.graph.checkpoint import CheckpointSummary
from threadlog.repositories.graph.digests import DIGITS, channel_digest
from threadlog.runtime.transactions import TransactionRunner

Strategy: TypeAlias = Literal["keep_latest", "delete"]
"""``keep_latest`` keeps the newest checkpoint of each namespace, ``delete`` keeps none."""

# Ids in one statement, within the limit of every server.
_IDS_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Pruned:
    """Counts of deleted rows, or with a dry run of rows to delete."""

    threads: int = 0
    """Threads with deleted rows."""

    checkpoints: int = 0
    writes: int = 0
    """Writes of tasks; 0 in a dry run."""

    blobs: int = 0
    """Values of channels; 0 in a dry run."""

    def __add__(self, other: "Pruned") -> "Pruned":
        """Return the sum of the counts."""
        return Pruned(
            self.threads + other.threads,
            self.checkpoints + other.checkpoints,
            self.writes + other.writes,
            self.blobs + other.blobs,
        )


def prune(transactions: TransactionRunner, thread_id: str, strategy: Strategy) -> Pruned:
    """Prune a thread in one transaction; see `Saver.prune`."""
    check_strategy(strategy)
    run = delete_all if strategy == "delete" else prune_thread
    return transactions.write(lambda uow: run(uow, thread_id), idempotent=True)


def prune_older(
    transactions: TransactionRunner,
    thread_id: str,
    age: timedelta,
    strategy: Strategy,
    *,
    dry_run: bool,
) -> Pruned:
    """Prune a thread by age in one transaction; see `Saver.prune_older_than`.

    ``keep_latest`` deletes its old checkpoints except the newest of each namespace; ``delete``
    the whole thread, if all of its checkpoints are old.
    """
    check_strategy(strategy)
    seconds = seconds_of(age)

    def plan(uow: UnitOfWork) -> Pruned:
        outlines = uow.checkpoints.outline(thread_id, seconds_ago=seconds)
        if strategy == "delete":
            if not all(outline.old for outline in outlines):
                return Pruned()
            doomed = len(outlines)
            return Pruned(1, doomed) if dry_run else delete_all(uow, thread_id)
        kept = _kept(uow, thread_id, outlines, lambda outline: not outline.old)
        if dry_run:
            count = len(outlines) - len(kept)
            return Pruned(min(count, 1), count)
        return _delete_others(uow, thread_id, outlines, kept)

    return transactions.read(plan) if dry_run else transactions.write(plan, idempotent=True)


def old_threads(
    transactions: TransactionRunner, age: timedelta, *, after: str | None, limit: int
) -> list[str]:
    """Return a page of the ids of threads with an old checkpoint, in the order of ids."""
    seconds = seconds_of(age)
    return transactions.read(
        lambda uow: uow.checkpoints.threads_with_old(seconds_ago=seconds, after=after, limit=limit)
    )


def delete_for_run(
    transactions: TransactionRunner, thread_id: str, run_ids: Sequence[str]
) -> Pruned:
    """Delete the checkpoints of runs in one thread and transaction; see `Saver.delete_for_runs`."""

    def delete(uow: UnitOfWork) -> Pruned:
        doomed = uow.checkpoints.of_runs(thread_id, run_ids)
        outlines = uow.checkpoints.outline(thread_id, seconds_ago=0)
        kept = [o for o in outlines if (o.ns_digest, o.checkpoint_id) not in doomed]
        return _delete_others(uow, thread_id, outlines, kept)

    return transactions.write(delete, idempotent=True)


def threads_of_runs(transactions: TransactionRunner, run_ids: Sequence[str]) -> list[str]:
    """Return the ids of threads in which runs stored checkpoints."""
    return transactions.read(lambda uow: uow.checkpoints.threads_of_runs(run_ids))


def delete_all(uow: UnitOfWork, thread_id: str) -> Pruned:
    """Delete all graph state of a thread."""
    checkpoints = uow.checkpoints.delete_thread(thread_id)
    writes = uow.checkpoint_writes.delete_thread(thread_id)
    blobs = uow.checkpoint_blobs.delete_thread(thread_id)
    return Pruned(1 if checkpoints or writes or blobs else 0, checkpoints, writes, blobs)


def prune_thread(uow: UnitOfWork, thread_id: str) -> Pruned:
    """Delete checkpoints, except the newest of each namespace and the ancestors it needs."""
    outlines = uow.checkpoints.outline(thread_id, seconds_ago=0)
    kept = _kept(uow, thread_id, outlines, lambda _: False)
    return _delete_others(uow, thread_id, outlines, kept)


def check_strategy(strategy: object) -> Strategy:
    """Return `strategy`.

    Raises:
        InvalidInputError: it is not a strategy.
    """
    for known in get_args(Strategy):
        if strategy == known:
            return cast("Strategy", known)
    raise InvalidInputError(f"strategy must be 'keep_latest' or 'delete', not {strategy!r}.")


def seconds_of(age: object) -> float:
    """Return an age in seconds.

    Raises:
        InvalidInputError: it is not a timedelta, or negative.
    """
    if not isinstance(age, timedelta) or age < timedelta(0):
        raise InvalidInputError(f"The age must be a timedelta that is not negative, not {age!r}.")
    return age.total_seconds()


def _kept(
    uow: UnitOfWork,
    thread_id: str,
    outlines: Sequence[CheckpointSummary],
    wanted: Callable[[CheckpointSummary], bool],
) -> list[CheckpointSummary]:
    """Return the checkpoints to keep: wanted, newest of a namespace, or needed by one of these.

    A delta channel's value is computed from the writes of the checkpoint's ancestors, back to
    the nearest one with a value for the channel: those ancestors are kept too.
    """
    spaces: dict[str, dict[str, CheckpointSummary]] = defaultdict(dict)
    for outline in outlines:
        spaces[outline.ns_digest][outline.checkpoint_id] = outline
    kept = {(space, max(found)) for space, found in spaces.items()}
    kept |= {(o.ns_digest, o.checkpoint_id) for o in outlines if wanted(o)}
    # Of the whole namespace: a checkpoint stored after a deployment in which a channel stopped
    # being a delta channel no longer lists it.
    deltas = {
        space: {channel_digest(name) for o in found.values() for name in o.delta_channels}
        for space, found in spaces.items()
    }
    if channels := set[str]().union(*deltas.values()):
        valued = uow.checkpoint_blobs.of_channels(thread_id, channels)
        for space, id_ in [key for key in kept if deltas[key[0]]]:
            found = spaces[space]
            kept |= {(space, one) for one in _support(found[id_], found, deltas[space], valued)}
    return [o for o in outlines if (o.ns_digest, o.checkpoint_id) in kept]


def _support(
    outline: CheckpointSummary,
    found: dict[str, CheckpointSummary],
    deltas: Collection[str],
    valued: Collection[tuple[str, str]],
) -> Iterator[str]:
    """Yield ids of the ancestors that a checkpoint's delta channels are computed from.

    Args:
        outline: the checkpoint.
        found: all checkpoints of its namespace, by id.
        deltas: hashes of the names of delta channels.
        valued: hash of the namespace and key of each stored value of a delta channel.
    """
    # A channel that was never written has no version, and needs no ancestors.
    missing = {key[:DIGITS] for key in outline.blob_keys}.intersection(deltas)
    step: CheckpointSummary | None = outline
    seen = set[str]()
    while step is not None and step.checkpoint_id not in seen:
        seen.add(step.checkpoint_id)
        missing -= {key[:DIGITS] for key in step.blob_keys if (step.ns_digest, key) in valued}
        if not missing:
            return
        step = found.get(step.parent_checkpoint_id or "")
        if step is not None:
            yield step.checkpoint_id


def _delete_others(
    uow: UnitOfWork,
    thread_id: str,
    outlines: Sequence[CheckpointSummary],
    kept: Sequence[CheckpointSummary],
) -> Pruned:
    """Delete checkpoints that are not kept, their writes, and the values that only they have.

    Other values may belong to a checkpoint that a run is storing at the same time.
    """
    staying = {(o.ns_digest, o.checkpoint_id) for o in kept}
    needed = {(o.ns_digest, key) for o in kept for key in o.blob_keys}
    doomed: dict[str, list[str]] = defaultdict(list)
    garbage: dict[str, set[str]] = defaultdict(set)
    for outline in outlines:
        space = outline.ns_digest
        if (space, outline.checkpoint_id) not in staying:
            doomed[space].append(outline.checkpoint_id)
            garbage[space] |= {key for key in outline.blob_keys if (space, key) not in needed}
    checkpoints = writes = blobs = 0
    for space, ids in doomed.items():
        for some in _some(sorted(ids)):
            writes += uow.checkpoint_writes.delete(thread_id, space, some)
            checkpoints += uow.checkpoints.delete(thread_id, space, some)
        for some in _some(sorted(garbage[space])):
            blobs += uow.checkpoint_blobs.delete(thread_id, space, some)
    return Pruned(1 if checkpoints else 0, checkpoints, writes, blobs)


def _some(items: Sequence[str]) -> Iterable[Sequence[str]]:
    return (items[i : i + _IDS_AT_ONCE] for i in range(0, len(items), _IDS_AT_ONCE))
