"""Histories of graphs in a form that can be compared: all but ids and times."""

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import PregelTask, StateSnapshot


def config_of(thread_id: str = "t", **more: Any) -> RunnableConfig:
    """Return the config of a thread; `more` is added beside ``configurable``."""
    return {"configurable": {"thread_id": thread_id}, **more}  # type: ignore[typeddict-item]  # and more


def comparable(snapshot: StateSnapshot) -> dict[str, Any]:
    """Return a snapshot without ids and times."""
    return {
        "values": snapshot.values,
        "next": snapshot.next,
        "metadata": _metadata(snapshot.metadata or {}),
        "has parent": snapshot.parent_config is not None,
        "tasks": [_task(task) for task in snapshot.tasks],
        "interrupts": [found.value for found in snapshot.interrupts],
    }


def comparables(snapshots: Iterable[StateSnapshot]) -> list[dict[str, Any]]:
    """Return snapshots without ids and times."""
    return [comparable(snapshot) for snapshot in snapshots]


def writes_of(tuples: Iterable[CheckpointTuple]) -> list[list[tuple[str, Any]]]:
    """Return the writes stored with checkpoints, in order, without ids of tasks."""
    return [
        [
            (channel, _interrupts(value) if channel == "__interrupt__" else value)
            for _, channel, value in found.pending_writes or ()
        ]
        for found in tuples
    ]


def spaces_of(tuples: Iterable[CheckpointTuple]) -> list[list[CheckpointTuple]]:
    """Part checkpoints by namespace, in the order of each namespace's first one."""
    found: dict[str, list[CheckpointTuple]] = {}
    for one in sorted(tuples, key=lambda one: str(one.checkpoint["id"])):
        found.setdefault(one.config["configurable"]["checkpoint_ns"], []).append(one)
    return list(found.values())


def chain_of(tuples: Iterable[CheckpointTuple]) -> list[tuple[str | None, str]]:
    """Return each checkpoint's parent and id, oldest first."""
    return [(_id_of(one.parent_config), str(one.checkpoint["id"])) for one in tuples][::-1]


def _id_of(config: RunnableConfig | None) -> str | None:
    return None if config is None else str(config["configurable"]["checkpoint_id"])


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    ids = {"run_id", "langgraph_checkpoint_ns", "checkpoint_ns"}
    found = {key: value for key, value in metadata.items() if key not in ids}
    counters = found.get("counters_since_delta_snapshot", {})
    return {
        **found,
        "parents": sorted(found.get("parents", {})),
        # A pair comes back as a list from some savers, and as a tuple from others.
        "counters_since_delta_snapshot": {name: [*pair] for name, pair in counters.items()},
    }


def _task(task: PregelTask) -> dict[str, Any]:
    state = task.state
    return {
        "name": task.name,
        "path": task.path,
        "error": repr(task.error),
        "interrupts": [found.value for found in task.interrupts],
        "state": comparable(state) if isinstance(state, StateSnapshot) else bool(state),
        "result": task.result,
    }


def _interrupts(value: Any) -> list[Any]:
    return [found.value for found in value]
