"""Thread control: owners of threads and keys of appends."""

from sqlalchemy import insert

from threadlog.models.dialects.time import utc_now
from threadlog.models.tables import APPEND_KEYS, OWNERS
from threadlog.repositories.base import Repository


class OwnerRepository(Repository):
    """Statements on owners of threads, bound to one session."""

    def insert(self, thread_id: str, owner: str) -> None:
        """Store the owner of a thread that has none; the caller holds its lock."""
        self.uow.execute(insert(OWNERS), {"thread_id": thread_id, "owner": owner})


class AppendKeyRepository(Repository):
    """Statements on keys of appends, bound to one session."""

    def insert(self, thread_id: str, key: str, first_seq: int, last_seq: int) -> None:
        """Store the key of an append; the caller holds the thread's lock."""
        values = {
            "thread_id": thread_id,
            "append_key": key,
            "first_seq": first_seq,
            "last_seq": last_seq,
        }
        self.uow.execute(insert(APPEND_KEYS).values(created_at=utc_now(self.uow.dialect)), values)
