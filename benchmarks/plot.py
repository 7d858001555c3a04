"""The plot: latency against the length of a thread, throughput against the number of writers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from benchmarks.figure import Figure

# From this ratio of largest to smallest on, the small ones would be a line on the axis.
_WIDE: Final = 30


def draw(figures: Sequence[Figure], path: Path) -> None:
    """Draw a panel for each that has points, and write a PNG."""
    panels: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.point:
            panels.setdefault(figure.point.panel, []).append(figure)
    rows = -(-len(panels) // 2)
    canvas = Canvas(figsize=(12, 4.5 * rows), layout="constrained")
    for axes, (title, points) in zip(_axes(canvas, rows), panels.items(), strict=False):
        axes.set_visible(True)
        axes.set_title(title)
        _draw_panel(axes, points)
    canvas.savefig(path, dpi=110)


def _axes(canvas: Canvas, rows: int) -> list[Axes]:
    found: Any = canvas.subplots(rows, 2, squeeze=False)
    for axes in found.flat:
        axes.set_visible(False)
    return list(found.flat)


def _draw_panel(axes: Axes, points: Sequence[Figure]) -> None:
    unit = points[0].unit
    for name in dict.fromkeys(figure.contender for figure in points):
        line = [(f.point.x, f.median) for f in points if f.contender == name and f.point]
        axes.plot(*zip(*line, strict=True), marker="o", label=name)
    axes.set_ylabel(unit)
    if unit == "ms":
        axes.set_xscale("log")
        axes.set_xlabel("messages in the thread")
    else:
        axes.set_xlabel("writers at once")
    medians = [figure.median for figure in points]
    if max(medians) > _WIDE * min(medians):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
