"""Convert LangGraph's configs, checkpoints and writes to rows, and rows back."""

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
    DeltaChannelHistory,
    PendingWrite,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from threadlog import models
from threadlog.encoding.validation import check_count, check_id, check_json_object, check_name
from threadlog.errors import CheckpointCorruptionError, InvalidInputError
from threadlog.graph.checkpoints import Ancestry
from threadlog.repositories.graph.checkpoint import (
    CheckpointQuery,
    NewCheckpoint,
    StoredBlob,
    StoredCheckpoint,
    StoredWrite,
)
from threadlog.repositories.graph.checkpoint_blob import NewBlob, blob_key
from threadlog.repositories.graph.checkpoint_write import History, NewWrite

_MAX_TASK_ID = 128


class Target(NamedTuple):
    """The checkpoint that a config names."""

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str | None
    """None for the newest."""


def target_of(config: RunnableConfig) -> Target:
    """Return the checkpoint that a config names.

    A thread's id that is a number or UUID counts as its text.

    Raises:
        InvalidInputError: the config names no thread, or an id cannot be a key.
    """
    configurable = config.get("configurable") or {}
    thread_id = configurable.get("thread_id")
    if thread_id is None:
        raise InvalidInputError(
            'The config names no thread. Write config={"configurable": {"thread_id": "…"}}.'
        )
    thread_id = str(thread_id)
    check_id(thread_id)
    checkpoint_ns = configurable.get("checkpoint_ns") or ""
    check_name(checkpoint_ns, "checkpoint_ns")
    checkpoint_id = configurable.get("checkpoint_id")
    if not checkpoint_id:
        return Target(thread_id, checkpoint_ns, None)
    check_id(checkpoint_id, "checkpoint_id")
    return Target(thread_id, checkpoint_ns, str(checkpoint_id))


def config_of(target: Target) -> RunnableConfig:
    """Return the config that names a checkpoint."""
    return cast("RunnableConfig", {"configurable": target._asdict()})


def checked_thread_id(thread_id: Any) -> str:
    """Return a thread's id as text.

    Raises:
        InvalidIdError: it cannot be a key.
    """
    check_id(str(thread_id))
    return str(thread_id)


def query_of(
    config: RunnableConfig | None,
    metadata: dict[str, Any] | None,
    before: RunnableConfig | None,
    limit: int | None,
) -> CheckpointQuery:
    """Convert the arguments of `Saver.list`.

    Raises:
        InvalidInputError: an id cannot be a key, `metadata` is not JSON, or `limit` is no count.
    """
    check_json_object(metadata or {}, "filter")
    if limit is not None:
        check_count(limit, "limit", least=0)
    # As in LangGraph's own savers, {} is like None.
    target = target_of(config) if config else None
    return CheckpointQuery(
        thread_id=None if target is None else target.thread_id,
        checkpoint_ns=config["configurable"].get("checkpoint_ns") if config else None,
        checkpoint_id=None if target is None else target.checkpoint_id,
        before=None if before is None else _checkpoint_id_of(before),
        metadata=metadata or {},
        limit=limit,
    )


def _checkpoint_id_of(config: RunnableConfig) -> str | None:
    checkpoint_id = (config.get("configurable") or {}).get("checkpoint_id")
    if not checkpoint_id:
        return None
    check_id(checkpoint_id, "checkpoint_id")
    return str(checkpoint_id)


def encode_checkpoint(
    serde: SerializerProtocol,
    config: RunnableConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    new_versions: ChannelVersions,
) -> tuple[NewCheckpoint, list[NewBlob]]:
    """Encode the arguments of `Saver.put`.

    Returns:
        The checkpoint's row, and the rows of those channels' values that have a new version.

    Raises:
        InvalidInputError: something cannot be stored as it is.
    """
    thread_id, checkpoint_ns, parent_id = target_of(config)
    checkpoint_id = checkpoint["id"]
    check_id(checkpoint_id, "checkpoint id")
    stored = stored_metadata(config, metadata)
    check_json_object(stored, "metadata")
    run_id = stored.get("run_id")
    if run_id == "":  # no run
        run_id = None
    elif run_id is not None:
        check_id(run_id, "run_id")
    values = checkpoint["channel_values"]
    rest = {**checkpoint}
    del rest["channel_values"]
    type_, content = _serialize(serde, rest, "the checkpoint")
    keys, blobs = {}, []
    for channel, version in checkpoint["channel_versions"].items():
        check_name(channel, "a channel's name")
        keys[channel] = blob_key(channel, str(version))
    for channel, version in new_versions.items():
        if channel not in values:
            continue
        check_name(channel, "a channel's name")
        check_name(str(version), "a channel's version")
        key = blob_key(channel, str(version))
        value_type, value = _serialize(serde, values[channel], f"the value of channel {channel!r}")
        blobs.append(NewBlob(key, channel, str(version), value_type, value))
    new = NewCheckpoint(
        thread_id=thread_id,
        checkpoint_ns=checkpoint_ns,
        checkpoint_id=checkpoint_id,
        parent_checkpoint_id=parent_id,
        type=type_,
        checkpoint=content,
        blob_keys=list(keys.values()),
        metadata=stored,
        run_id=run_id,
    )
    return new, blobs


def stored_metadata(config: RunnableConfig, metadata: CheckpointMetadata) -> dict[str, Any]:
    """Return the metadata to store: with the configuration of the run, and its id."""
    stored = dict(get_serializable_checkpoint_metadata(config, metadata))
    run_id = stored.get("run_id") or config.get("run_id")
    if run_id:
        stored["run_id"] = str(run_id)
    return stored


def encode_writes(
    serde: SerializerProtocol, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
) -> list[NewWrite]:
    """Encode the arguments of `Saver.put_writes`.

    Raises:
        InvalidInputError: something cannot be stored as it is.
    """
    check_id(task_id, "task_id", most=_MAX_TASK_ID)
    check_name(task_path, "task_path")
    rows = []
    for place, (channel, value) in enumerate(writes):
        check_name(channel, "a channel's name")
        type_, content = _serialize(serde, value, f"the write to channel {channel!r}")
        idx = WRITES_IDX_MAP.get(channel, place)
        rows.append(NewWrite(task_id, idx, task_path, channel, type_, content))
    return rows


def checkpoint_of_writes(config: RunnableConfig) -> tuple[str, str, str]:
    """Return thread, namespace and checkpoint that writes belong to.

    Raises:
        InvalidInputError: the config names no checkpoint.
    """
    thread_id, checkpoint_ns, checkpoint_id = target_of(config)
    if checkpoint_id is None:
        raise InvalidInputError(
            "The config names no checkpoint_id. Writes belong to a checkpoint: use the config "
            "that put() returned."
        )
    return thread_id, checkpoint_ns, checkpoint_id


def decode_history(
    serde: SerializerProtocol,
    thread_id: str,
    channels: Sequence[str],
    ancestry: Ancestry,
    history: History,
) -> Mapping[str, DeltaChannelHistory]:
    """Return the writes and the seed of each delta channel.

    Raises:
        CheckpointCorruptionError: something stored cannot be read.
    """
    result: dict[str, DeltaChannelHistory] = {}
    for channel in channels:
        place, key = ancestry.seeds.get(channel, (len(ancestry.ancestors), ""))
        entry: DeltaChannelHistory = {
            "writes": [
                _decode_write(serde, thread_id, id_, write)
                for id_ in reversed(ancestry.ancestors[: place + 1])
                for write in history.writes.get(id_, ())
                if write.channel == channel
            ]
        }
        if key:
            entry["seed"] = _decode_blob(serde, thread_id, history.blobs[key])
        result[channel] = entry
    return result


def decode_tuple(serde: SerializerProtocol, stored: StoredCheckpoint) -> CheckpointTuple:
    """Convert a stored checkpoint to LangGraph's tuple.

    Raises:
        CheckpointCorruptionError: something stored cannot be read.
    """
    thread_id, id_ = stored.thread_id, stored.checkpoint_id
    with _corruption(models.Checkpoint.__tablename__, thread_id, id_):
        checkpoint = serde.loads_typed((stored.type, stored.checkpoint))
        metadata = json.loads(stored.metadata)
        keys = json.loads(stored.blob_keys)
    values, writes = {}, []
    for key in keys:
        if (blob := stored.blobs.get(key)) is not None:
            values[blob.channel] = _decode_blob(serde, thread_id, blob)
    for write in stored.writes:
        writes.append(_decode_write(serde, thread_id, id_, write))  # noqa: PERF401 - a frame less
    target = Target(thread_id, stored.checkpoint_ns, id_)
    parent = stored.parent_checkpoint_id
    return CheckpointTuple(
        config=config_of(target),
        checkpoint=cast("Checkpoint", {**checkpoint, "channel_values": values}),
        metadata=metadata,
        parent_config=None if parent is None else config_of(target._replace(checkpoint_id=parent)),
        pending_writes=writes,
    )


def _decode_blob(serde: SerializerProtocol, thread_id: str, blob: StoredBlob) -> Any:
    """Read a channel's value.

    Raises:
        CheckpointCorruptionError: it cannot be read.
    """
    with _corruption(models.CheckpointBlob.__tablename__, thread_id, blob.key):
        return serde.loads_typed((blob.type, blob.value))


def _decode_write(
    serde: SerializerProtocol, thread_id: str, checkpoint_id: str, write: StoredWrite
) -> PendingWrite:
    """Read a task's write.

    Raises:
        CheckpointCorruptionError: it cannot be read.
    """
    key = f"{checkpoint_id}, {write.task_id}, {write.idx}"
    with _corruption(models.CheckpointWrite.__tablename__, thread_id, key):
        value = serde.loads_typed((write.type, write.value))
    return write.task_id, write.channel, value


def _serialize(serde: SerializerProtocol, value: Any, what: str) -> tuple[str, bytes]:
    try:
        return serde.dumps_typed(value)
    except Exception as error:
        raise InvalidInputError(
            f"{what} cannot be serialised: {error}. Nothing was written. Keep in the state what "
            "LangGraph's serialiser knows, or give the saver a serde that knows more."
        ) from error


@contextmanager
def _corruption(table: str, thread_id: str, key: str) -> Iterator[None]:
    """Name the row that a serialiser fails on."""
    try:
        yield
    except Exception as error:
        raise CheckpointCorruptionError(
            table=table,
            thread_id=thread_id,
            reason=f"{type(error).__name__} while reading {key}: {error}",
        ) from error
