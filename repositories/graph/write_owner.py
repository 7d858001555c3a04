"""Write ownership: the latest owner of a thread's writes, and refusing the others."""

from typing import Final

from sqlalchemy import bindparam, delete, select

from threadlog.models.dialects.upsert import insert_or_replace
from threadlog.models.tables import WRITE_OWNERS
from threadlog.repositories.base import Repository, Statement

_OF_THREAD: Final = WRITE_OWNERS.c.thread_id == bindparam("thread_id")

# A shared lock: writes of one owner do not wait for each other.
_LOCK: Final = Statement(
    select(WRITE_OWNERS.c.token)
    .where(_OF_THREAD, WRITE_OWNERS.c.token == bindparam("token"))
    .with_for_update(read=True)
)


class WriteOwnerRepository(Repository):
    """Statements on owners of writes, bound to one session."""

    def put(self, thread_id: str, token: int) -> None:
        """Set the owner of a thread; waits for the transactions in which its owner writes."""
        row = {"thread_id": thread_id, "token": token}
        self.uow.execute(insert_or_replace(WRITE_OWNERS, self.uow.dialect, row))

    def lock(self, thread_id: str, token: int) -> bool:
        """Return True if the token is that of the thread's owner, which then stays the owner.

        No other transaction replaces it until this one ends.
        """
        return bool(self.uow.run(_LOCK, {"thread_id": thread_id, "token": token}))

    def delete_thread(self, thread_id: str) -> None:
        """Delete the owner of a thread."""
        self.uow.execute(delete(WRITE_OWNERS).where(_OF_THREAD), {"thread_id": thread_id})
