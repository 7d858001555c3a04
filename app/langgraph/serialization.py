"""Convert LangGraph's checkpoints and writes to rows, and rows back."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from threadlog import models
from threadlog.encoding.validation import check_id, check_json_object, check_name
from threadlog.errors import CheckpointCorruptionError, InvalidInputError
from threadlog.langgraph.config import Target, config_of
from threadlog.repositories.graph.checkpoint import (
    NewCheckpoint,
    StoredBlob,
    StoredCheckpoint,
    StoredWrite,
)
from threadlog.repositories.graph.checkpoint_blob import NewBlob
from threadlog.repositories.graph.checkpoint_write import NewWrite
from threadlog.repositories.graph.digests import blob_key

_MAX_TASK_ID = 128


class Encoded(NamedTuple):
    """A checkpoint as rows."""

    checkpoint: NewCheckpoint
    blobs: list[NewBlob]


def encode_checkpoint(
    serde: SerializerProtocol,
    target: Target,
    checkpoint: Checkpoint,
    metadata: Mapping[str, Any],
    new_versions: ChannelVersions,
) -> Encoded:
    """Encode a checkpoint, and the channel values that have a new version.

    Raises:
        InvalidInputError: a value cannot be stored unchanged.
    """
    check_id(checkpoint["id"], "checkpoint id")
    check_json_object(metadata, "metadata")
    run_id = metadata.get("run_id")
    if run_id is not None:
        check_id(run_id, "run_id")
    values = checkpoint["channel_values"]
    rest = {key: value for key, value in checkpoint.items() if key != "channel_values"}
    type_, content = _dumps(serde, rest, "the checkpoint")
    return Encoded(
        NewCheckpoint(
            thread_id=target.thread_id,
            checkpoint_ns=target.checkpoint_ns,
            checkpoint_id=checkpoint["id"],
            parent_checkpoint_id=target.checkpoint_id,
            type=type_,
            checkpoint=content,
            blob_keys=_keys(checkpoint["channel_versions"]),
            metadata=dict(metadata),
            run_id=run_id,
        ),
        [
            _encode_blob(serde, channel, version, values[channel])
            for channel, version in new_versions.items()
            if channel in values
        ],
    )


def stamped(config: RunnableConfig, metadata: CheckpointMetadata) -> dict[str, Any]:
    """Return the metadata to store, with the run's configuration and id."""
    full = dict(get_serializable_checkpoint_metadata(config, metadata))
    run_id = full.get("run_id") or config.get("run_id")
    if run_id:
        full["run_id"] = str(run_id)
    return full


def encode_writes(
    serde: SerializerProtocol, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
) -> list[NewWrite]:
    """Encode a task's writes.

    Raises:
        InvalidInputError: a value cannot be stored unchanged.
    """
    check_id(task_id, "task_id", most=_MAX_TASK_ID)
    check_name(task_path, "task_path")
    rows = []
    for place, (channel, value) in enumerate(writes):
        check_name(channel, "a channel's name")
        type_, content = _dumps(serde, value, f"the write to channel {channel!r}")
        idx = WRITES_IDX_MAP.get(channel, place)
        rows.append(NewWrite(task_id, idx, task_path, channel, type_, content))
    return rows


def decode_tuple(serde: SerializerProtocol, stored: StoredCheckpoint) -> CheckpointTuple:
    """Decode a stored checkpoint to LangGraph's CheckpointTuple.

    Raises:
        CheckpointCorruptionError: a stored value cannot be decoded.
    """
    with _corruption_named(models.Checkpoint.__tablename__, stored.thread_id, stored.checkpoint_id):
        checkpoint = serde.loads_typed((stored.type, stored.checkpoint))
        metadata = json.loads(stored.metadata)
        keys = json.loads(stored.blob_keys)
    values = {
        blob.channel: decode_blob(serde, stored.thread_id, blob)
        for key in keys
        if (blob := stored.blobs.get(key)) is not None
    }
    target = Target(stored.thread_id, stored.checkpoint_ns, stored.checkpoint_id)
    parent = stored.parent_checkpoint_id
    return CheckpointTuple(
        config=config_of(target),
        checkpoint=cast("Checkpoint", {**checkpoint, "channel_values": values}),
        metadata=metadata,
        parent_config=None if parent is None else config_of(target._replace(checkpoint_id=parent)),
        pending_writes=[
            decode_write(serde, stored.thread_id, stored.checkpoint_id, write)
            for write in stored.writes
        ],
    )


def decode_blob(serde: SerializerProtocol, thread_id: str, blob: StoredBlob) -> Any:
    """Decode a channel's value.

    Raises:
        CheckpointCorruptionError: it cannot be decoded.
    """
    with _corruption_named(models.CheckpointBlob.__tablename__, thread_id, blob.key):
        return serde.loads_typed((blob.type, blob.value))


def decode_write(
    serde: SerializerProtocol, thread_id: str, checkpoint_id: str, write: StoredWrite
) -> PendingWrite:
    """Decode a task's write.

    Raises:
        CheckpointCorruptionError: it cannot be decoded.
    """
    key = f"{checkpoint_id}, {write.task_id}, {write.idx}"
    with _corruption_named(models.CheckpointWrite.__tablename__, thread_id, key):
        value = serde.loads_typed((write.type, write.value))
    return write.task_id, write.channel, value


def _keys(versions: ChannelVersions) -> list[str]:
    for channel in versions:
        check_name(channel, "a channel's name")
    return [blob_key(channel, str(version)) for channel, version in versions.items()]


def _encode_blob(serde: SerializerProtocol, channel: str, version: Any, value: Any) -> NewBlob:
    check_name(channel, "a channel's name")
    check_name(str(version), "a channel's version")
    type_, content = _dumps(serde, value, f"the value of channel {channel!r}")
    return NewBlob(blob_key(channel, str(version)), channel, str(version), type_, content)


def _dumps(serde: SerializerProtocol, value: Any, what: str) -> tuple[str, bytes]:
    try:
        return serde.dumps_typed(value)
    except Exception as error:
        raise InvalidInputError(
            f"{what} cannot be serialised: {error}. Nothing was written. Use only types that "
            "LangGraph's serialiser supports, or pass a serde that supports this type."
        ) from error


@contextmanager
def _corruption_named(table: str, thread_id: str, key: str) -> Iterator[None]:
    """Raise a serialiser's error as a CheckpointCorruptionError that names the row."""
    try:
        yield
    except Exception as error:
        raise CheckpointCorruptionError(
            table=table,
            thread_id=thread_id,
            seq=None,
            reason=f"{type(error).__name__} while reading {key}: {error}",
        ) from error
