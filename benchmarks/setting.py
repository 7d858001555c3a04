"""The databases and contenders of the work on message logs."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.peers.contender import Contender
from benchmarks.scale import Scale


@dataclass(frozen=True)
class Setting:
    """The open contenders, and the amount of work."""

    scale: Scale
    contenders: Sequence[Contender]
