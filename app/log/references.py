"""Foreign keys of the application that keep threads from being deleted."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Table
from sqlalchemy.exc import IntegrityError

from threadlog.errors import StorageError, ThreadReferencedError
from threadlog.runtime.transactions import TransactionRunner


@contextmanager
def name_referring_table(
    transactions: TransactionRunner, thread_id: str, tables: Sequence[Table]
) -> Iterator[None]:
    """Raise `ThreadReferencedError` for a deletion that a foreign key forbids, also at the COMMIT.

    Args:
        transactions: runs the deletion in the block, and then reads the keys.
        thread_id: the thread.
        tables: the tables that rows are deleted from.
    """
    try:
        yield
    except StorageError as error:
        cause = error.__cause__
        if not isinstance(cause, IntegrityError):
            raise
        names = [table.name for table in tables]
        table = transactions.read(
            lambda uow: transactions.backend.referring_table(uow, cause, names)
        )
        if not table:  # a trigger refused, on SQLite
            raise
        raise ThreadReferencedError(thread_id=thread_id, table=table) from cause
