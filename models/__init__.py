"""What is stored: the ORM classes of schema version 5.

Hosts query these classes with their own sessions and hand `cubepi_metadata` to Alembic::

    select(Message).where(Message.metadata_["user"].as_string() == "u1")
"""

from threadlog.models.base import EXPECTED_SCHEMA_VERSION, Base, cubepi_metadata
from threadlog.models.dialects import PARTITION_COUNT
from threadlog.models.hitl_answer import HitlAnswer
from threadlog.models.message import Message
from threadlog.models.metadata_column import metadata_column
from threadlog.models.run import Run
from threadlog.models.schema_version import SchemaVersion
from threadlog.models.thread import Thread

__all__ = [
    "EXPECTED_SCHEMA_VERSION",
    "PARTITION_COUNT",
    "Base",
    "HitlAnswer",
    "Message",
    "Run",
    "SchemaVersion",
    "Thread",
    "cubepi_metadata",
    "metadata_column",
]
