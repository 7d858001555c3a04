"""The figures as tables, as a file, and as Markdown for the documentation."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.figure import Figure, Figures
from benchmarks.peers.names import OURS
from benchmarks.target import Target

_FIGURES: Final = ["Work", "Contender", "Median", f"Of {OURS}'s", "Rounds"]
_TARGETS: Final = ["Work", "Target", "Ratio", "Outcome"]
_NOT_DURABLE: Final = (
    "The server's commits do not wait for the disk: these are not the figures of production."
)


@dataclass(frozen=True)
class Report:
    """A finished run of the benchmark."""

    figures: Figures
    targets: Sequence[Target]

    conditions: Mapping[str, Any]
    """The conditions: rounds, versions, the server's settings, the machine."""

    def write(self, folder: Path) -> None:
        """Write ``results.json`` and ``results.md`` into a folder."""
        found = {
            "conditions": dict(self.conditions),
            "figures": [f.as_json(self.figures.ratio(f, OURS)) for f in self.figures],
            "targets": [target.as_json(self.figures) for target in self.targets],
        }
        text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
        (folder / "results.json").write_text(text, encoding="utf-8")
        tables = (_markdown(_TARGETS, self._target_rows()), _markdown(_FIGURES, self._rows()))
        (folder / "results.md").write_text("\n".join(tables), encoding="utf-8")

    def show(self, console: Console) -> None:
        """Print the tables."""
        rounds = self.conditions["rounds"]
        _show(console, f"medians of {rounds} alternating rounds", _FIGURES, self._rows())
        _show(console, "targets", _TARGETS, self._target_rows())
        if not self.conditions["durable"]:
            console.print(_NOT_DURABLE)

    def _rows(self) -> list[list[str]]:
        return [self._row(figure) for figure in self.figures]

    def _row(self, figure: Figure) -> list[str]:
        ratio = self.figures.ratio(figure, OURS)
        value = f"{figure.median:,.{_digits(figure.median)}f} {figure.unit}"
        spread = f"{min(figure.rounds):,.4g} to {max(figure.rounds):,.4g}"
        shown = "" if ratio is None else f"{ratio:.2f}"
        return [figure.work, figure.contender, value, shown, spread]

    def _target_rows(self) -> list[list[str]]:
        return [self._target_row(target) for target in self.targets]

    def _target_row(self, target: Target) -> list[str]:
        ratio = target.ratio(self.figures)
        if ratio is None:
            return [target.label, target.wording, "", "not measured"]
        return [
            target.label,
            target.wording,
            f"{ratio:.2f}",
            "met" if target.is_met(ratio) else "missed",
        ]


def _digits(value: float) -> int:
    return 0 if value >= 100 else 2  # noqa: PLR2004 - three digits say enough


def _show(console: Console, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(*head, title=title)
    last = ""
    for first, *rest in rows:
        if last and first != last:
            table.add_section()
        table.add_row("" if first == last else first, *rest)
        last = first
    console.print(table)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
