"""How much is measured: all of it, a short form, or next to nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Scale:
    """Numbers of everything that a run of the benchmark repeats."""

    rounds: int
    """How often each contender gets its turn; odd, so that a median is one of the rounds."""

    appends: int
    """Appends of one writer in a round."""

    writers: tuple[int, ...]
    """Numbers of writers at once, the most of them last."""

    appends_together: int
    """Appends of all writers together in a round."""

    loads: Mapping[int, int]
    """Lengths of threads that are loaded whole, each with the number of loads in a round."""

    lengths: tuple[int, ...]
    """Lengths of threads that are appended to, the longest last."""

    last_of: int
    """The length of the thread of which only the newest messages are loaded."""

    turns: int
    """Turns of an agent in a round."""

    streamed: tuple[int, ...]
    """Lengths of threads that are streamed to see what memory that takes."""

    supersteps: int
    """Steps of a graph in a round, each of which stores a checkpoint."""

    graphs: int
    """Graphs that run at once through one saver, two steps each."""

    memories: int
    """Items that are stored in a round, one after the other; as many reads and searches."""


FULL: Final = Scale(
    rounds=7,
    appends=100,
    writers=(1, 2, 4, 8, 16),
    appends_together=320,
    loads={60: 30, 1_000: 5, 5_000: 1},
    lengths=(10, 1_000, 100_000, 1_000_000),
    last_of=100_000,
    turns=10,
    streamed=(1_000, 10_000, 100_000),
    supersteps=20,
    graphs=64,
    memories=200,
)
QUICK: Final = Scale(
    rounds=3,
    appends=30,
    writers=(1, 16),
    appends_together=96,
    loads={60: 10, 5_000: 1},
    lengths=(10, 20_000),
    last_of=20_000,
    turns=3,
    streamed=(1_000, 10_000),
    supersteps=10,
    graphs=64,
    memories=50,
)
TINY: Final = Scale(
    rounds=1,
    appends=2,
    writers=(1, 2),
    appends_together=4,
    loads={6: 1, 12: 1},
    lengths=(10, 100),
    last_of=100,
    turns=1,
    streamed=(10, 100),
    supersteps=2,
    graphs=2,
    memories=2,
)
"""For the tests of the benchmark itself; its figures mean nothing."""
