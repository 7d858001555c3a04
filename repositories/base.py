"""What is alike for the rows of several tables."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import CursorResult, Executable, Result, Table, delete, insert, literal, select
from sqlalchemy.orm import Session


def rowcount(result: Result[Any]) -> int:
    """Give how many rows an UPDATE or DELETE matched, or an INSERT made.

    MySQL counts rows that an UPDATE leaves unchanged too on connections with FOUND_ROWS,
    which SQLAlchemy's dialects for it set. An INSERT needs the option ``preserve_rowcount``:
    psycopg forgets the number when its cursor is closed.
    """
    return cast("CursorResult[Any]", result).rowcount


def execute_in_order(
    session: Session, statements: Sequence[Executable], parameters: Mapping[str, Any]
) -> Sequence[Any] | None:
    """Run the statements of a `LockingRead`; gives what the last one reads, if all find a row.

    Args:
        session: what they run on.
        statements: the statements.
        parameters: those of all of them.
    """
    row: Sequence[Any] | None = None
    for statement in statements:
        row = session.execute(statement, parameters).first()
        if row is None:
            break
    return row


def copy_thread(
    session: Session, table: Table, source: str, target: str, *, lock: bool = False
) -> None:
    """Copy a thread's rows inside the database, in one statement; the target has none.

    Args:
        session: what the statement runs on.
        table: any with a column ``thread_id``.
        source: the thread whose rows are read.
        target: the thread that gets them.
        lock: whether the source's rows are locked against deletion.
    """
    others = [column for column in table.columns if column.name != "thread_id"]
    rows = select(literal(target, table.c.thread_id.type), *others).where(
        table.c.thread_id == source
    )
    if lock:
        rows = rows.with_for_update(read=True)
    names = ["thread_id", *(column.name for column in others)]
    session.execute(insert(table).from_select(names, rows))


def delete_thread(session: Session, table: Table, thread_id: str) -> int:
    """Delete a thread's rows; gives how many there were."""
    return rowcount(session.execute(delete(table).where(table.c.thread_id == thread_id)))
