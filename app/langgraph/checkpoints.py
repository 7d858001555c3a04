"""What the saver does, each verb once, as synchronous functions over a store.

A function encodes before it opens its unit of work and decodes after it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from threadlog.encoding.statement_size import batches, check_row, row_size
from threadlog.errors import InvalidInputError
from threadlog.graph import checkpoints as graph
from threadlog.langgraph.config import config_of, target_of
from threadlog.langgraph.serialization import (
    decode_blob,
    decode_tuple,
    decode_write,
    encode_checkpoint,
    encode_writes,
    stamped,
)
from threadlog.repositories.graph.checkpoint import CheckpointQuery, Cursor, NewCheckpoint
from threadlog.repositories.graph.checkpoint_blob import NewBlob
from threadlog.repositories.graph.checkpoint_write import NewWrite
from threadlog.runtime.transactions import TransactionRunner


def put(
    transactions: TransactionRunner,
    serde: SerializerProtocol,
    config: RunnableConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    new_versions: ChannelVersions,
) -> RunnableConfig:
    """Store a checkpoint; see `Saver.put`."""
    target = target_of(config)
    full = stamped(config, metadata)
    new, blobs = encode_checkpoint(serde, target, checkpoint, full, new_versions)
    limit = transactions.statement_limit
    check_row("the checkpoint", *_texts(new), limit=limit)
    graph.put_checkpoint(
        transactions,
        new,
        batches(((blob, *_sized_blob(target.thread_id, blob)) for blob in blobs), limit),
    )
    return config_of(target._replace(checkpoint_id=new.checkpoint_id))


def put_writes(
    transactions: TransactionRunner,
    serde: SerializerProtocol,
    config: RunnableConfig,
    writes: Sequence[tuple[str, Any]],
    task_id: str,
    task_path: str,
) -> None:
    """Store a task's writes; see `Saver.put_writes`."""
    thread_id, checkpoint_ns, checkpoint_id = target_of(config)
    if checkpoint_id is None:
        raise InvalidInputError(
            "The config names no checkpoint_id. Writes belong to a checkpoint: use the config "
            "that put() gave."
        )
    rows = encode_writes(serde, writes, task_id, task_path)
    sized = ((row, *_sized_write(thread_id, checkpoint_id, row)) for row in rows)
    parts = batches(sized, transactions.statement_limit)
    if parts:
        graph.put_writes(transactions, thread_id, checkpoint_ns, checkpoint_id, parts)


def get_tuple(
    transactions: TransactionRunner, serde: SerializerProtocol, config: RunnableConfig
) -> CheckpointTuple | None:
    """Read a checkpoint; see `Saver.get_tuple`."""
    stored = graph.read_checkpoint(transactions, *target_of(config))
    return None if stored is None else decode_tuple(serde, stored)


def list_page(
    transactions: TransactionRunner, serde: SerializerProtocol, query: CheckpointQuery, limit: int
) -> list[tuple[Cursor, CheckpointTuple]]:
    """Read a page of checkpoints, each with its place; see `Saver.list`."""
    found = graph.list_checkpoints(transactions, query, limit)
    return [(stored.place, decode_tuple(serde, stored)) for stored in found]


def delta_channel_history(
    transactions: TransactionRunner,
    serde: SerializerProtocol,
    config: RunnableConfig,
    channels: Sequence[str],
) -> Mapping[str, DeltaChannelHistory]:
    """Read what delta channels' values add up from; see `Saver.get_delta_channel_history`."""
    thread_id, checkpoint_ns, checkpoint_id = target_of(config)
    if checkpoint_id is None:
        newest = graph.read_checkpoint(transactions, thread_id, checkpoint_ns, None)
        if newest is None:
            return {channel: {"writes": []} for channel in channels}
        checkpoint_id = newest.checkpoint_id
    ancestry, history = graph.read_history(
        transactions, thread_id, checkpoint_ns, checkpoint_id, channels
    )
    result: dict[str, DeltaChannelHistory] = {}
    for channel in channels:
        place, key = ancestry.seeds.get(channel, (len(ancestry.ancestors), ""))
        entry: DeltaChannelHistory = {
            "writes": [
                decode_write(serde, thread_id, id_, write)
                for id_ in reversed(ancestry.ancestors[: place + 1])
                for write in history.writes.get(id_, ())
                if write.channel == channel
            ]
        }
        if key:
            entry["seed"] = decode_blob(serde, thread_id, history.blobs[key])
        result[channel] = entry
    return result


def _texts(new: NewCheckpoint) -> Iterator[bytes | str]:
    """Give what a checkpoint's row holds as it is sent."""
    for value in new:
        if isinstance(value, bytes | str):
            yield value
        elif value is not None:
            yield json.dumps(value)


def _sized_blob(thread_id: str, blob: NewBlob) -> tuple[str, int]:
    return f"the value of channel {blob.channel!r}", row_size(thread_id, *blob)


def _sized_write(thread_id: str, checkpoint_id: str, row: NewWrite) -> tuple[str, int]:
    size = row_size(
        thread_id, checkpoint_id, row.task_id, row.task_path, row.channel, row.type, row.value
    )
    return f"the write to channel {row.channel!r}", size
