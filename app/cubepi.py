"""The checkpointer of cubepi's agents.

For a host that used the framework's own backend this is the whole change::

    from threadlog.cubepi import MySQLCheckpointer

It takes and gives cubepi's classes of messages, requests and data, and what it raises is
also of cubepi's exception class of the same name. The tables are the same too: either
backend reads what the other wrote.
"""

from typing import TYPE_CHECKING, Final

import threadlog
from threadlog.log.framework_imports import import_framework_types

if TYPE_CHECKING:
    from cubepi.checkpointer import CheckpointData
    from cubepi.hitl.types import HitlRequest
    from cubepi.providers.base import Message

__all__ = [
    "VOCABULARY",
    "Checkpointer",
    "MariaDBCheckpointer",
    "MySQLCheckpointer",
    "PostgresCheckpointer",
]

VOCABULARY: Final["threadlog.FrameworkTypes[Message, HitlRequest, CheckpointData]"] = (
    import_framework_types("cubepi")
)
"""cubepi's classes."""


class Checkpointer(threadlog.Checkpointer["Message", "HitlRequest", "CheckpointData"]):
    """A `threadlog.Checkpointer` that speaks cubepi's classes, on any database."""

    vocabulary = VOCABULARY


class MySQLCheckpointer(threadlog.MySQLCheckpointer["Message", "HitlRequest", "CheckpointData"]):
    """A `threadlog.MySQLCheckpointer` that speaks cubepi's classes."""

    vocabulary = VOCABULARY


class MariaDBCheckpointer(
    threadlog.MariaDBCheckpointer["Message", "HitlRequest", "CheckpointData"]
):
    """A `threadlog.MariaDBCheckpointer` that speaks cubepi's classes."""

    vocabulary = VOCABULARY


class PostgresCheckpointer(
    threadlog.PostgresCheckpointer["Message", "HitlRequest", "CheckpointData"]
):
    """A `threadlog.PostgresCheckpointer` that speaks cubepi's classes."""

    vocabulary = VOCABULARY
