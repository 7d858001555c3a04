"""The checkpointer of cubeloop's agents.

An application that used the framework's own backend only changes the import::

    from threadlog.cubeloop import MySQLCheckpointer

Its methods accept and return cubeloop's classes of messages, requests and data, and its errors
are also instances of cubeloop's exception class of the same name. The tables are the same:
each backend reads the rows of the other.
"""

from typing import TYPE_CHECKING, Final

import threadlog
from threadlog.log.framework_imports import import_framework_types

if TYPE_CHECKING:
    from cubeloop.checkpointer import CheckpointData
    from cubeloop.hitl.types import HitlRequest
    from cubeloop.providers.base import Message

__all__ = [
    "VOCABULARY",
    "Checkpointer",
    "MariaDBCheckpointer",
    "MySQLCheckpointer",
    "PostgresCheckpointer",
]

VOCABULARY: Final["threadlog.FrameworkTypes[Message, HitlRequest, CheckpointData]"] = (
    import_framework_types("cubeloop")
)
"""cubeloop's classes."""


class Checkpointer(threadlog.Checkpointer["Message", "HitlRequest", "CheckpointData", None]):
    """A `threadlog.Checkpointer` with cubeloop's classes, on any database."""

    vocabulary = VOCABULARY


class MySQLCheckpointer(
    threadlog.MySQLCheckpointer["Message", "HitlRequest", "CheckpointData", None]
):
    """A `threadlog.MySQLCheckpointer` with cubeloop's classes."""

    vocabulary = VOCABULARY


class MariaDBCheckpointer(
    threadlog.MariaDBCheckpointer["Message", "HitlRequest", "CheckpointData", None]
):
    """A `threadlog.MariaDBCheckpointer` with cubeloop's classes."""

    vocabulary = VOCABULARY


class PostgresCheckpointer(
    threadlog.PostgresCheckpointer["Message", "HitlRequest", "CheckpointData", None]
):
    """A `threadlog.PostgresCheckpointer` with cubeloop's classes."""

    vocabulary = VOCABULARY
