"""A figure: what one contender needed for one piece of work."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.piece import Point, Unit


@dataclass(frozen=True)
class Figure:
    """The measurements of a contender, round by round."""

    work: str
    contender: str
    unit: Unit
    rounds: tuple[float, ...]
    point: Point | None = None

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    def as_json(self, ratio: float | None) -> dict[str, Any]:
        """Return the figure as JSON for the file, with the ratio to ours."""
        return {**asdict(self), "median": self.median, "ratio_to_ours": ratio}


class Figures(Sequence[Figure]):
    """All figures of a run of the benchmark."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        self._figures = tuple(figures)
        self._medians = {(f.work, f.contender): f.median for f in figures}

    def __getitem__(self, index: Any) -> Any:
        """Return a figure by its index, in the order in which they were measured."""
        return self._figures[index]

    def __len__(self) -> int:
        """Count them."""
        return len(self._figures)

    def median(self, work: str, contender: str) -> float | None:
        """Return a median; None if it was not measured."""
        return self._medians.get((work, contender))

    def works(self) -> list[str]:
        """Return the names of the pieces of work, in order."""
        return list(dict.fromkeys(figure.work for figure in self._figures))

    def ratio(self, figure: Figure, ours: str) -> float | None:
        """Return a figure as a multiple of ours at the same work; None if ours is missing."""
        base = self.median(figure.work, ours)
        return figure.median / base if base else None
