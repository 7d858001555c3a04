"""What a `RunnableConfig` says of a checkpoint."""

from typing import Any, NamedTuple, cast

from langchain_core.runnables import RunnableConfig

from threadlog.encoding.validation import check_id, check_name
from threadlog.errors import InvalidInputError


class Target(NamedTuple):
    """Which checkpoint is meant."""

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str | None
    """None for the newest."""


def target_of(config: RunnableConfig) -> Target:
    """Read which checkpoint a config means.

    Raises:
        InvalidInputError: it names no thread, or an id cannot be a key.
    """
    configurable = configurable_of(config)
    checkpoint_ns = configurable.get("checkpoint_ns") or ""
    check_name(checkpoint_ns, "checkpoint_ns")
    return Target(thread_id_of(config), checkpoint_ns, checkpoint_id_of(config))


def thread_id_of(config: RunnableConfig) -> str:
    """Read which thread a config means; an id that is a number or UUID counts as its text.

    Raises:
        InvalidInputError: it names none, or the id cannot be a key.
    """
    thread_id = configurable_of(config).get("thread_id")
    if thread_id is None:
        raise InvalidInputError(
            'The config names no thread. Write config={"configurable": {"thread_id": "…"}}.'
        )
    return checked_thread_id(thread_id)


def checked_thread_id(thread_id: Any) -> str:
    """Give a thread's id as text.

    Raises:
        InvalidIdError: it cannot be a key.
    """
    check_id(str(thread_id))
    return str(thread_id)


def checkpoint_id_of(config: RunnableConfig) -> str | None:
    """Read which checkpoint a config names; None where it names none.

    Raises:
        InvalidIdError: it cannot be a key.
    """
    checkpoint_id = configurable_of(config).get("checkpoint_id")
    if not checkpoint_id:
        return None
    check_id(checkpoint_id, "checkpoint_id")
    return str(checkpoint_id)


def configurable_of(config: RunnableConfig) -> dict[str, Any]:
    """Give a config's part for savers."""
    return config.get("configurable") or {}


def config_of(target: Target) -> RunnableConfig:
    """Make the config that means a checkpoint."""
    return cast("RunnableConfig", {"configurable": target._asdict()})
