"""Writers that append while servers fail, and what became of each append."""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.support.factories import UserFactory
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.errors import StorageError
from threadlog.messages import UserMessage


@dataclass
class Record:
    """The acknowledgements that writers got, from any thread."""

    acknowledged: dict[str, list[list[str]]] = field(default_factory=dict)
    """Of each writer the batches that returned, in order; a batch is its messages' ids."""

    times: list[float] = field(default_factory=list)
    """When they returned."""

    failed: list[tuple[list[str], StorageError]] = field(default_factory=list)
    """Batches that raised, which may be stored or not."""

    def returned(self, writer: str, batch: list[str]) -> None:
        """Note a batch that is durable."""
        self.acknowledged.setdefault(writer, []).append(batch)
        self.times.append(time.monotonic())

    def longest_gap(self, since: float) -> float:
        """Return the longest time without an acknowledgement, of those that ended after `since`."""
        times = sorted(self.times)
        return max(later - earlier for earlier, later in pairwise(times) if later > since)


@dataclass(frozen=True)
class Writer:
    """A writer that appends its own batches to one thread until it is stopped."""

    name: str
    thread_id: str
    seed: int
    record: Record
    stop: threading.Event
    most: int = 10**9
    """The most batches that it appends."""

    def batches(self) -> Iterator[list[str]]:
        """Yield the ids of each batch to append."""
        chance = random.Random(f"{self.seed} {self.name}")
        for number in range(self.most):
            if self.stop.is_set():
                return
            yield [f"{self.name}/{number}/{part}" for part in range(chance.randint(1, 3))]

    async def run(self, checkpointer: Checkpointer) -> None:
        """Append with asyncio."""
        for batch in self.batches():
            try:
                await checkpointer.append(self.thread_id, messages(batch))
                self.record.returned(self.name, batch)
            except StorageError as error:
                self.record.failed.append((batch, error))
            await asyncio.sleep(0)

    def run_sync(self, checkpointer: SyncCheckpointer) -> None:
        """Append without asyncio."""
        for batch in self.batches():
            try:
                checkpointer.append(self.thread_id, messages(batch))
                self.record.returned(self.name, batch)
            except StorageError as error:
                self.record.failed.append((batch, error))


def messages(ids: Iterable[str]) -> list[UserMessage]:
    """Create messages with these ids."""
    return [UserFactory(id=each) for each in ids]


@dataclass(frozen=True)
class Findings:
    """The stored batches compared with the acknowledged ones."""

    acknowledged: int
    """Messages."""

    lost: int
    doubled: int
    stray: int
    """Messages of no batch that was sent, or of a batch of which not all are there."""

    out_of_order: int
    """Writers whose batches are not in their order."""

    gaps: int
    """Threads whose seqs are not 1, 2, 3, …"""

    def __str__(self) -> str:
        """Write the figures of an issue."""
        return (
            f"{self.acknowledged} messages acknowledged, {self.lost} lost, {self.doubled} doubled"
        )

    @property
    def clean(self) -> bool:
        """True if nothing is wrong."""
        return not any((self.lost, self.doubled, self.stray, self.out_of_order, self.gaps))


async def examine(checkpointer: Checkpointer, threads: Iterable[str], record: Record) -> Findings:
    """Compare what threads hold with what writers were told."""
    stored: list[str] = []
    gaps = 0
    for thread_id in threads:
        rows = await checkpointer.read(thread_id)
        gaps += [row.seq for row in rows] != list(range(1, len(rows) + 1))
        stored += [str(row.message.id) for row in rows if isinstance(row.message, UserMessage)]
    return compare(stored, record, gaps)


def compare(stored: Sequence[str], record: Record, gaps: int) -> Findings:
    """Compare the ids that are stored, in order, with what writers were told."""
    count = Counter(stored)
    place = {each: number for number, each in enumerate(stored)}
    batches = [batch for sent in record.acknowledged.values() for batch in sent]
    whole = [each for batch in batches for each in batch]
    unsure = [batch for batch, _ in record.failed]
    torn = [batch for batch in unsure if 0 < sum(count[each] > 0 for each in batch) < len(batch)]
    known = {*whole, *(each for batch in unsure for each in batch)}
    orders = [
        [place[each] for batch in sent for each in batch if each in place]
        for sent in record.acknowledged.values()
    ]
    return Findings(
        acknowledged=len(whole),
        lost=sum(count[each] == 0 for each in whole),
        doubled=sum(times > 1 for times in count.values()),
        stray=len(torn) + sum(each not in known for each in count),
        out_of_order=sum(order != sorted(order) for order in orders),
        gaps=gaps,
    )
