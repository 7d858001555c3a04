"""Values of channels: storing each version once, and deleting unreferenced values."""

from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import or_, select

from threadlog.models.dialects.upsert import insert_if_absent
from threadlog.models.tables import BLOBS
from threadlog.repositories.base import Statement
from threadlog.repositories.graph.digests import DIGITS, channel_digest
from threadlog.repositories.graph.rows_of_thread import GraphRepository


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
    return Statement(insert_if_absent(BLOBS, dialect))


class CheckpointBlobRepository(GraphRepository):
    """Statements on values of channels, bound to one session."""

    table = BLOBS
    name = "blob_key"

    def put(self, thread_id: str, digest: str, batch: Sequence[NewBlob]) -> None:
        """Insert values in one statement; a version that is stored already is not changed.

        Args:
            thread_id: the thread.
            digest: the hash of the namespace.
            batch: the values.
        """
        key = {"thread_id": thread_id, "ns_digest": digest}
        rows = []
        for new in batch:
            rows.append({**key, **new._asdict()})  # noqa: PERF401 - one frame fewer
        self.uow.run(_put(self.uow.dialect), rows)

    def existing(self, thread_id: str, digest: str, keys: Sequence[str]) -> set[str]:
        """Return the keys, among `keys`, that have a value."""
        found = select(BLOBS.c.blob_key).where(
            BLOBS.c.thread_id == thread_id,
            BLOBS.c.ns_digest == digest,
            BLOBS.c.blob_key.in_(keys),
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
        begins = [BLOBS.c.blob_key.startswith(channel) for channel in channels]
        found = select(BLOBS.c.ns_digest, BLOBS.c.blob_key).where(
            BLOBS.c.thread_id == thread_id, or_(*begins)
        )
        return {(digest, key) for digest, key in self.uow.execute(found)}
