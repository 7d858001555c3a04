"""Statements that the tables of graph state have in common."""

from collections.abc import Sequence
from typing import ClassVar

from sqlalchemy import Table, delete, insert, literal, select

from threadlog.repositories.base import Repository, rowcount


class GraphRepository(Repository):
    """Statements on a table whose rows belong to a namespace of a thread's graph."""

    table: ClassVar[Table]
    name: ClassVar[str]
    """The column by which rows of a namespace are deleted."""

    def delete(self, thread_id: str, digest: str, names: Sequence[str]) -> int:
        """Delete rows of a namespace, and return their number.

        Args:
            thread_id: the thread.
            digest: the hash of the namespace.
            names: the values that the column `name` has in these rows.
        """
        columns = self.table.c
        is_row = (columns.thread_id == thread_id, columns.ns_digest == digest)
        statement = delete(self.table).where(*is_row, columns[self.name].in_(names))
        return rowcount(self.uow.execute(statement))

    def delete_thread(self, thread_id: str) -> int:
        """Delete a thread's rows, and return their number."""
        statement = delete(self.table).where(self.table.c.thread_id == thread_id)
        return rowcount(self.uow.execute(statement))

    def copy(self, source_thread_id: str, target_thread_id: str, *, lock: bool = False) -> None:
        """Copy a thread's rows inside the database, in one statement; the target must have none.

        Args:
            source_thread_id: the thread whose rows are read.
            target_thread_id: the thread that gets them.
            lock: whether the source's rows are locked against deletion.
        """
        thread_id = self.table.c.thread_id
        others = [column for column in self.table.columns if column is not thread_id]
        rows = select(literal(target_thread_id, thread_id.type), *others).where(
            thread_id == source_thread_id
        )
        if lock:
            rows = rows.with_for_update(read=True)
        names = [thread_id.name, *(column.name for column in others)]
        self.uow.execute(insert(self.table).from_select(names, rows))
