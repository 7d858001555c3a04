"""A piece of work, and who is measured at it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Unit = Literal["ms", "messages/s", "statements", "MB"]


@dataclass(frozen=True)
class Point:
    """The place of a piece of work in the plot."""

    panel: str
    """The title of its panel."""

    x: int
    """Its place there: a length of a thread, or a number of writers."""


@dataclass(frozen=True)
class Run:
    """A contender at one piece of work."""

    contender: str

    measure: Callable[[], Awaitable[float]]
    """Run the work once and return its figure, without the preparation."""


@dataclass(frozen=True)
class Piece:
    """A piece of work that contenders do in turn."""

    name: str
    unit: Unit
    runs: Sequence[Run]

    point: Point | None = None
    """None leaves it out of the plot."""
