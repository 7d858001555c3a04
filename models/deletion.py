"""The tables whose rows belong to threads: their order, and the deletion of a thread."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, bindparam, delete, event, inspect

from threadlog.models.dialects.ddl import enforces_foreign_keys
from threadlog.models.dialects.locking import lock_thread
from threadlog.models.dialects.names import dialect_name
from threadlog.models.tables import OF_CONTROL, OF_THREAD, SEARCH, THREADS
from threadlog.models.thread import Thread

_THREAD_ID: Final = bindparam("thread_id", type_=THREADS.c.thread_id.type)

# The order of their creation: no foreign key of the models gives it.
for _table in OF_THREAD:
    _table.add_is_dependent_on(THREADS)


def tables_of_thread(connection: Connection) -> Sequence[Table]:
    """Return the tables whose rows are to be deleted before their thread.

    The database deletes the rows of thread control and of the search index, unless the connection
    enforces no foreign keys: then those of their tables that exist are among them.
    """
    if enforces_foreign_keys(connection.dialect.name):
        return OF_THREAD
    schemas = connection.get_execution_options().get("schema_translate_map") or {}
    existing = inspect(connection).get_table_names(schemas.get(None))
    return (*(table for table in (*OF_CONTROL, SEARCH) if table.name in existing), *OF_THREAD)


@event.listens_for(Thread, "before_delete", propagate=True)
def delete_rows_of_thread(_: Any, connection: Connection, thread: Thread) -> None:
    """Delete a thread's rows before ``session.delete(thread)`` deletes the thread.

    Not every database can have foreign keys to do it. The lock keeps appends out meanwhile.
    """
    key = {"thread_id": thread.thread_id}
    lock = lock_thread(THREADS, _THREAD_ID, dialect_name(connection.dialect))
    connection.execute(lock, key).first()
    for table in tables_of_thread(connection):
        connection.execute(delete(table).where(table.c.thread_id == thread.thread_id))
