"""Delete unneeded checkpoints with their writes and values."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import timedelta
from operator import add
from typing import Final, Literal, TypeAlias, cast, get_args

from threadlog.errors import InvalidInputError
from threadlog.repositories import UnitOfWork
from threadlog.repositories.base import chunks
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
        return Pruned(*map(add, astuple(self), astuple(other)))


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
        summaries = uow.checkpoints.summaries(thread_id, seconds_ago=seconds)
        if strategy == "delete":
            if not all(summary.old for summary in summaries):
                return Pruned()
            if dry_run:
                return Pruned(1, len(summaries))
            return delete_all(uow, thread_id)
        kept = _kept(uow, thread_id, summaries, lambda summary: not summary.old)
        if dry_run:
            count = len(summaries) - len(kept)
            return Pruned(min(count, 1), count)
        return _delete_others(uow, thread_id, summaries, kept)

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
        of_runs = uow.checkpoints.of_runs(thread_id, run_ids)
        summaries = uow.checkpoints.summaries(thread_id, seconds_ago=0)
        kept = [s for s in summaries if (s.ns_digest, s.checkpoint_id) not in of_runs]
        return _delete_others(uow, thread_id, summaries, kept)

    return transactions.write(delete, idempotent=True)


def threads_of_runs(transactions: TransactionRunner, run_ids: Sequence[str]) -> list[str]:
    """Return the ids of threads in which runs stored checkpoints."""
    return transactions.read(lambda uow: uow.checkpoints.threads_of_runs(run_ids))


def delete_all(uow: UnitOfWork, thread_id: str) -> Pruned:
    """Delete all graph state of a thread; whoever owned its writes loses them."""
    checkpoints = uow.checkpoints.delete_thread(thread_id)
    writes = uow.checkpoint_writes.delete_thread(thread_id)
    blobs = uow.checkpoint_blobs.delete_thread(thread_id)
    uow.write_owners.delete_thread(thread_id)
    return Pruned(1 if checkpoints or writes or blobs else 0, checkpoints, writes, blobs)


def prune_thread(uow: UnitOfWork, thread_id: str) -> Pruned:
    """Delete a thread's checkpoints but for the newest of each namespace, and what that needs."""
    summaries = uow.checkpoints.summaries(thread_id, seconds_ago=0)
    kept = _kept(uow, thread_id, summaries, lambda _: False)
    return _delete_others(uow, thread_id, summaries, kept)


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
    summaries: Sequence[CheckpointSummary],
    wanted: Callable[[CheckpointSummary], bool],
) -> list[CheckpointSummary]:
    """Return the checkpoints to keep: wanted, newest of a namespace, or needed by one of these.

    A delta channel's value is computed from the writes of the checkpoint's ancestors, back to
    the nearest one with a value for the channel: those ancestors are kept too.
    """
    spaces: dict[str, dict[str, CheckpointSummary]] = defaultdict(dict)
    for summary in summaries:
        spaces[summary.ns_digest][summary.checkpoint_id] = summary
    kept = {(space, max(found)) for space, found in spaces.items()}
    kept |= {(s.ns_digest, s.checkpoint_id) for s in summaries if wanted(s)}
    # Of the whole namespace, not of each checkpoint: one that was stored after a deployment in
    # which a channel stopped being a delta channel does not say any more that it was one.
    deltas = {
        space: {channel_digest(name) for s in found.values() for name in s.delta_channels}
        for space, found in spaces.items()
    }
    if channels := set[str]().union(*deltas.values()):
        valued = uow.checkpoint_blobs.of_channels(thread_id, channels)
        for space, id_ in [key for key in kept if deltas[key[0]]]:
            found = spaces[space]
            kept |= {(space, one) for one in _support(found[id_], found, deltas[space], valued)}
    return [s for s in summaries if (s.ns_digest, s.checkpoint_id) in kept]


def _support(
    summary: CheckpointSummary,
    found: dict[str, CheckpointSummary],
    deltas: Collection[str],
    valued: Collection[tuple[str, str]],
) -> Iterator[str]:
    """Yield ids of the ancestors that a checkpoint's delta channels are computed from.

    Args:
        summary: the checkpoint.
        found: all checkpoints of its namespace, by id.
        deltas: hashes of the names of delta channels.
        valued: hash of the namespace and key of each stored value of a delta channel.
    """
    # A channel that was never written has no version, and adds up from nothing.
    missing = {key[:DIGITS] for key in summary.blob_keys}.intersection(deltas)
    step: CheckpointSummary | None = summary
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
    summaries: Sequence[CheckpointSummary],
    kept: Sequence[CheckpointSummary],
) -> Pruned:
    """Delete checkpoints that are not kept, their writes, and the values that only they have.

    Other values may belong to a checkpoint that a run is storing at the same time.
    """
    staying = {(s.ns_digest, s.checkpoint_id) for s in kept}
    needed = {(s.ns_digest, key) for s in kept for key in s.blob_keys}
    to_delete: dict[str, list[str]] = defaultdict(list)
    garbage: dict[str, set[str]] = defaultdict(set)
    for summary in summaries:
        space = summary.ns_digest
        if (space, summary.checkpoint_id) not in staying:
            to_delete[space].append(summary.checkpoint_id)
            garbage[space] |= {key for key in summary.blob_keys if (space, key) not in needed}
    checkpoints = writes = blobs = 0
    for space, ids in to_delete.items():
        for some in chunks(sorted(ids), _IDS_AT_ONCE):
            writes += uow.checkpoint_writes.delete(thread_id, space, some)
            checkpoints += uow.checkpoints.delete(thread_id, space, some)
        for some in chunks(sorted(garbage[space]), _IDS_AT_ONCE):
            blobs += uow.checkpoint_blobs.delete(thread_id, space, some)
    return Pruned(1 if checkpoints else 0, checkpoints, writes, blobs)
