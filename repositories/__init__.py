"""All SQL statements: a unit of work and one repository per aggregate."""

from threadlog.repositories.catalog.schema_version import SchemaVersionRepository
from threadlog.repositories.log.message import MessageRepository
from threadlog.repositories.log.thread import ThreadRepository
from threadlog.repositories.unit_of_work import (
    JoinedUnitOfWork,
    OwnedUnitOfWork,
    UnitOfWork,
)

__all__ = [
    "JoinedUnitOfWork",
    "MessageRepository",
    "OwnedUnitOfWork",
    "SchemaVersionRepository",
    "ThreadRepository",
    "UnitOfWork",
]
