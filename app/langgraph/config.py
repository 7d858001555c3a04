"""Convert between a `RunnableConfig` and the ids of a checkpoint."""

from typing import Any, NamedTuple, cast

from langchain_core.runnables import RunnableConfig

from threadlog.encoding.validation import check_id, check_name
from threadlog.errors import InvalidInputError


class Target(NamedTuple):
    """The ids of a checkpoint."""

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str | None
    """None for the newest."""


def target_of(config: RunnableConfig) -> Target:
    """Return the ids of a config's checkpoint.

    Raises:
        InvalidInputError: the config has no thread_id, or an id cannot be a key.
    """
    configurable = configurable_of(config)
    checkpoint_ns = configurable.get("checkpoint_ns") or ""
    check_name(checkpoint_ns, "checkpoint_ns")
    return Target(thread_id_of(config), checkpoint_ns, checkpoint_id_of(config))


def thread_id_of(config: RunnableConfig) -> str:
    """Return a config's thread id; a number or UUID is converted to text.

    Raises:
        InvalidInputError: the config has no thread_id, or it cannot be a key.
    """
    thread_id = configurable_of(config).get("thread_id")
    if thread_id is None:
        raise InvalidInputError(
            'The config names no thread. Write config={"configurable": {"thread_id": "…"}}.'
        )
    return checked_thread_id(thread_id)


def checked_thread_id(thread_id: Any) -> str:
    """Return a thread's id as text.

    Raises:
        InvalidIdError: it cannot be a key.
    """
    check_id(str(thread_id))
    return str(thread_id)


def checkpoint_id_of(config: RunnableConfig) -> str | None:
    """Return a config's checkpoint id. Return None if it has none.

    Raises:
        InvalidIdError: it cannot be a key.
    """
    checkpoint_id = configurable_of(config).get("checkpoint_id")
    if not checkpoint_id:
        return None
    check_id(checkpoint_id, "checkpoint_id")
    return str(checkpoint_id)


def configurable_of(config: RunnableConfig) -> dict[str, Any]:
    """Return the config's ``configurable``, empty if missing."""
    return config.get("configurable") or {}


def config_of(target: Target) -> RunnableConfig:
    """Return the config of a checkpoint."""
    return cast("RunnableConfig", {"configurable": target._asdict()})
