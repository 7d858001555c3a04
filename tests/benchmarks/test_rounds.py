"""Rounds, figures and targets, without a server."""

from pathlib import Path
from typing import Final

import pytest

from benchmarks.alternating import measure, turns
from benchmarks.figure import Figure, Figures
from benchmarks.peers.names import FRAMEWORK, OURS
from benchmarks.piece import Piece, Run
from benchmarks.scale import FULL, QUICK
from benchmarks.target import Target, targets

ROOT: Final = Path(__file__).parents[2]


def run(name: str, done: list[str], figures: list[float]) -> Run:
    """Create a contender that notes its turn and returns prepared figures in order."""

    async def work() -> float:
        done.append(name)
        return figures.pop(0)

    return Run(name, work)


async def test_contenders_take_turns_over_all_pieces_of_a_group() -> None:
    done: list[str] = []
    told: list[str] = []
    group = [
        Piece("x", "ms", [run("a", done, [9, 1, 3]), run("b", done, [9, 4, 6])]),
        Piece("y", "ms", [run("c", done, [9, 7, 8])]),
    ]
    figures = await measure(group, 2, told.append)
    assert done == ["a", "b", "c"] * 3
    assert [figure.rounds for figure in figures] == [(1, 3), (4, 6), (7, 8)]
    assert told == ["x", "x", "y"] * 3
    assert len(told) == turns(group, 2)


FIGURES = Figures(
    [
        Figure("append", OURS, "ms", (1, 2, 30)),
        Figure("append", FRAMEWORK, "ms", (4, 4, 4)),
        Figure("load", FRAMEWORK, "ms", (4, 4, 4)),
    ]
)


def test_ratios_are_those_of_medians() -> None:
    """A single slow round changes nothing, and a missing figure has no ratio."""
    assert [FIGURES.ratio(figure, OURS) for figure in FIGURES] == [1, 2, None]


@pytest.mark.parametrize(
    ("bound", "least", "met"),
    [(0.5, False, True), (0.49, False, False), (0.5, True, True), (0.51, True, False)],
)
def test_a_target_is_met_at_its_bound(bound: float, least: bool, met: bool) -> None:  # noqa: FBT001 - the cases
    target = Target("append", OURS, "append", FRAMEWORK, bound, least)
    assert target.ratio(FIGURES) == 0.5
    assert target.is_met(0.5) is met


def test_a_target_that_was_not_measured_is_neither_met_nor_missed() -> None:
    """Nothing is promised without a figure."""
    assert Target("load", OURS, "load", FRAMEWORK, 1).as_json(FIGURES)["met"] is None


def test_the_full_form_has_the_targets_of_the_documentation() -> None:
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    missing = [
        target.label
        for target in targets(FULL)
        if f"| {target.label} | {target.wording} |" not in page
    ]
    assert missing == []
    assert FULL.rounds >= 7
    assert all(scale.rounds % 2 for scale in (FULL, QUICK))
