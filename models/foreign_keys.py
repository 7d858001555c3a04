"""Foreign keys of threadlog's own tables to the tables of the message log."""

from sqlalchemy import ForeignKey

from threadlog.models.thread import Thread


def thread_key() -> ForeignKey:
    """Return a foreign key to the thread, which deletes the row with the thread.

    By the column itself, as the tables are in different metadata.
    """
    return ForeignKey(Thread.__table__.c.thread_id, ondelete="CASCADE")
