"""What the work on message logs is done with."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.peers.contender import Contender
from benchmarks.scale import Scale


@dataclass(frozen=True)
class Setting:
    """Those who keep a log of messages, open, and how much they do."""

    scale: Scale
    contenders: Sequence[Contender]
