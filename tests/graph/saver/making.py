"""Checkpoints for tests, and comparing them."""

import random
from collections.abc import AsyncIterable, Mapping
from typing import Any
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.base.id import uuid6


def config_for(
    thread_id: str, checkpoint_ns: str = "", checkpoint_id: str | None = None
) -> RunnableConfig:
    """Create a config that names a checkpoint, or the newest."""
    names = {"thread_id": thread_id, "checkpoint_ns": checkpoint_ns}
    if checkpoint_id is not None:
        names["checkpoint_id"] = checkpoint_id
    return {"configurable": names}


def checkpoint_of(
    values: Mapping[str, Any] | None = None,
    versions: Mapping[str, Any] | None = None,
    checkpoint_id: str | None = None,
) -> Checkpoint:
    """Create a checkpoint; each value has version 1 unless others are given."""
    values = dict(values or {})
    return Checkpoint(
        v=4,
        id=checkpoint_id or str(uuid6()),
        ts="2026-11-24T12:00:00+00:00",
        channel_values=values,
        channel_versions=dict(versions if versions is not None else dict.fromkeys(values, "1")),
        versions_seen={"node": {"a": "1"}},
        updated_channels=None,
    )


def metadata_of(step: int = 0, **more: Any) -> CheckpointMetadata:
    """Create metadata."""
    return {"source": "loop", "step": step, "parents": {}, **more}  # type: ignore[typeddict-item]  # and more


async def put_chain(
    saver: Any, thread_id: str, length: int, checkpoint_ns: str = "", **more: Any
) -> list[RunnableConfig]:
    """Write consecutive checkpoints, each with a new value of one channel."""
    config, found = config_for(thread_id, checkpoint_ns), []
    for step in range(length):
        new = {"step": f"{step + 1:032}.{random.random():016}"}
        checkpoint = checkpoint_of({"step": step, "same": "x"}, {**new, "same": "1"})
        versions = {**new, "same": "1"} if step == 0 else new
        config = await saver.aput(config, checkpoint, metadata_of(step, **more), versions)
        found.append(config)
    return found


async def ids(tuples: AsyncIterable[CheckpointTuple]) -> list[str]:
    """Return the ids of listed checkpoints."""
    return [found.config["configurable"]["checkpoint_id"] async for found in tuples]


def id_of(config: RunnableConfig) -> str:
    """Return the id of the checkpoint that a config names."""
    return str(config["configurable"]["checkpoint_id"])


def thread() -> str:
    """Return a new thread's id."""
    return f"thread-{uuid4()}"
