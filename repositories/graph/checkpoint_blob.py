"""Values of channels: storing each version once, and deleting unreferenced values."""

from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from typing import Final, NamedTuple

from sqlalchemy import Table, delete, or_, select

from threadlog.models import CheckpointBlob
from threadlog.models.dialects.upsert import JOINED_BYTES, insert_if_absent, many_rows
from threadlog.repositories.base import (
    Repository,
    Statement,
    copy_thread,
    delete_thread,
    rowcount,
)
from threadlog.repositories.graph.digests import DIGITS, channel_digest

_BLOBS: Final[Table] = CheckpointBlob.metadata.tables[CheckpointBlob.__tablename__]


class NewBlob(NamedTuple):
    """A channel's value ready to be stored."""

    blob_key: str
    channel: str
    version: str
    type: str
    value: bytes


def blob_key(channel: str, version: str) -> str:
    """Return the key of a channel's value: the hash of its name, then that of its version."""
    return channel_digest(channel) + sha256(version.encode()).hexdigest()[:DIGITS]


@cache
def _put(dialect: str) -> Statement:
    """Return the INSERT that keeps a value that is stored already."""
    return Statement(insert_if_absent(_BLOBS, dialect))


class CheckpointBlobRepository(Repository):
    """Statements on values of channels, bound to one session."""

    def put(self, thread_id: str, digest: str, batch: Sequence[NewBlob], size: int) -> None:
        """Insert values in one statement; a version that is stored already is not changed.

        Args:
            thread_id: the thread.
            digest: the hash of the namespace.
            batch: the values.
            size: approximate size of the values in a statement, in bytes.
        """
        key = {"thread_id": thread_id, "ns_digest": digest}
        rows = []
        for new in batch:
            rows.append({**key, **new._asdict()})  # noqa: PERF401 - one frame fewer
        dialect = self.uow.dialect
        if size > JOINED_BYTES:
            self.uow.execute(*many_rows(insert_if_absent(_BLOBS, dialect), rows, dialect))
        else:
            self.uow.run(_put(dialect), rows)

    def existing(self, thread_id: str, digest: str, keys: Sequence[str]) -> set[str]:
        """Return the keys, among `keys`, that have a value."""
        found = select(_BLOBS.c.blob_key).where(
            _BLOBS.c.thread_id == thread_id,
            _BLOBS.c.ns_digest == digest,
            _BLOBS.c.blob_key.in_(keys),
        )
        return set(self.uow.execute(found).scalars())

    def of_channels(self, thread_id: str, channels: Iterable[str]) -> set[tuple[str, str]]:
        """Return the keys of channels' values in all of a thread's namespaces.

        Args:
            thread_id: the thread.
            channels: hashes of the channels' names.

        Returns:
            Pairs of the namespace's hash and the key.
        """
        begins = [_BLOBS.c.blob_key.startswith(channel) for channel in channels]
        found = select(_BLOBS.c.ns_digest, _BLOBS.c.blob_key).where(
            _BLOBS.c.thread_id == thread_id, or_(*begins)
        )
        return {(digest, key) for digest, key in self.uow.execute(found)}

    def delete(self, thread_id: str, digest: str, keys: Sequence[str]) -> int:
        """Delete values, and return their number."""
        return rowcount(
            self.uow.execute(
                delete(_BLOBS).where(
                    _BLOBS.c.thread_id == thread_id,
                    _BLOBS.c.ns_digest == digest,
                    _BLOBS.c.blob_key.in_(keys),
                )
            )
        )

    def delete_thread(self, thread_id: str) -> int:
        """Delete a thread's values, and return their number."""
        return delete_thread(self.uow, _BLOBS, thread_id)

    def copy(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread's values inside the database; the target must have none."""
        copy_thread(self.uow, _BLOBS, source_thread_id, target_thread_id)
