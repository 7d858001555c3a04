"""The checkpointer of cubepi's agents.

For a host that used the framework's own backend this is the whole change::

    from threadlog.cubepi import MySQLCheckpointer

It takes and gives cubepi's classes of messages, requests and data, and what it raises is
also of cubepi's exception class of the same name. The tables are the same too: either
backend reads what the other wrote.
"""

from typing import Final

import threadlog
from threadlog.codec import MessageCodec
from threadlog.errors import MissingExtraError

try:
    from cubepi.checkpointer import CheckpointData, exceptions
    from cubepi.hitl.types import HitlRequest
    from cubepi.providers.base import (
        AssistantMessage,
        Message,
        ToolResultMessage,
        UserMessage,
    )
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "cubepi", "cubepi") from error

__all__ = ["VOCABULARY", "Checkpointer", "MySQLCheckpointer"]

VOCABULARY: Final = threadlog.Vocabulary[Message, HitlRequest, CheckpointData](
    messages=MessageCodec(UserMessage, AssistantMessage, ToolResultMessage),
    request=HitlRequest,
    data=CheckpointData,
    exceptions=exceptions,
    brand="Cubepi",
)
"""cubepi's classes."""


class Checkpointer(threadlog.Checkpointer[Message, HitlRequest, CheckpointData]):
    """A `threadlog.Checkpointer` that speaks cubepi's classes, on any database."""

    vocabulary = VOCABULARY


class MySQLCheckpointer(threadlog.MySQLCheckpointer[Message, HitlRequest, CheckpointData]):
    """A `threadlog.MySQLCheckpointer` that speaks cubepi's classes."""

    vocabulary = VOCABULARY
