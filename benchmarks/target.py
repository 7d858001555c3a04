"""The targets: ratios of medians that were measured side by side."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.figure import Figures
from benchmarks.peers.elsewhere import AWAY, POSTGRES, SQLITE
from benchmarks.peers.names import FLOOR, FRAMEWORK, LANGGRAPH, OURS, SYNC
from benchmarks.scale import Scale
from benchmarks.work import (
    agent_turn,
    appending,
    elsewhere,
    graph_state,
    loading,
    memories,
    writing,
)


@dataclass(frozen=True)
class Target:
    """The ratio of two figures, and its target."""

    work: str
    contender: str
    base_work: str
    base_contender: str
    bound: float

    least: bool = False
    """True if the ratio should be at least the bound, and not at most."""

    def ratio(self, figures: Figures) -> float | None:
        """Return the ratio; None if a figure is missing."""
        base = figures.median(self.base_work, self.base_contender)
        median = figures.median(self.work, self.contender)
        return median / base if base and median is not None else None

    def is_met(self, ratio: float) -> bool:
        """Return True if a ratio meets the target."""
        return ratio >= self.bound if self.least else ratio <= self.bound

    @property
    def label(self) -> str:
        """The work, and who does it unless it is threadlog's asynchronous class."""
        return self.work if self.contender == OURS else f"{self.work}: {self.contender}"

    @property
    def wording(self) -> str:
        """The bound in words."""
        against = self.base_contender if self.base_work == self.work else self.base_work
        return f"at {'least' if self.least else 'most'} {self.bound:g} of {against}"

    def as_json(self, figures: Figures) -> dict[str, Any]:
        """Return the target as JSON for the file."""
        ratio = self.ratio(figures)
        met = None if ratio is None else self.is_met(ratio)
        return {**asdict(self), "ratio": ratio, "met": met}


def targets(scale: Scale) -> Sequence[Target]:
    """Return the targets of a scale."""
    most = scale.writers[-1]
    loads = zip(sorted(scale.loads), (0.7, 0.65, 0.6), strict=False)
    newest, longest = loading.newest_of(scale.last_of), appending.to_length(scale.lengths[-1])
    own_threads = writing.on_own_threads(most)
    return [
        _beside_the_framework(appending.ONE_WRITER, 0.7),
        _beside_the_framework(elsewhere.append_on(AWAY), 0.35),
        _beside_the_framework(elsewhere.append_on(POSTGRES), 0.7),
        _beside_the_framework(elsewhere.append_on(SQLITE), 0.7),
        _beside_the_framework(own_threads, 2, least=True),
        Target(own_threads, OURS, own_threads, FLOOR, 1.1, least=True),
        _beside_the_framework(writing.on_one_thread(most), 5, least=True),
        *(_beside_the_framework(loading.whole_of(length), bound) for length, bound in loads),
        Target(newest, OURS, loading.SHORT, OURS, 1.1),
        Target(longest, OURS, appending.to_length(scale.lengths[0]), OURS, 1.2),
        _beside_the_framework(agent_turn.TIME, 0.7),
        _beside_the_framework(agent_turn.STATEMENTS, 0.5),
        Target(appending.ONE_WRITER, SYNC, appending.ONE_WRITER, OURS, 1.1),
        Target(appending.PROCESSOR, OURS, appending.PROCESSOR, FLOOR, 1.4),
        _beside_langgraph(graph_state.step_of(SQLITE), 0.9),
        _beside_langgraph(graph_state.step_of(POSTGRES), 0.7),
        _beside_langgraph(graph_state.latest_of(SQLITE), 0.9),
        _beside_langgraph(graph_state.latest_of(POSTGRES), 0.8),
        _beside_langgraph(graph_state.crowd_of(SQLITE, scale.graphs), 0.9),
        _beside_langgraph(graph_state.crowd_of(POSTGRES, scale.graphs), 0.5),
        *(
            _beside_langgraph(work(database), 0.8)
            for work in (memories.put_on, memories.get_on, memories.search_on)
            for database in (SQLITE, POSTGRES)
        ),
    ]


def _beside_the_framework(work: str, bound: float, *, least: bool = False) -> Target:
    return Target(work, OURS, work, FRAMEWORK, bound, least)


def _beside_langgraph(work: str, bound: float) -> Target:
    return Target(work, OURS, work, LANGGRAPH, bound)
