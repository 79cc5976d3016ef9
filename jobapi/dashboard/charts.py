"""Charts as the templates draw them: SVG from the server, of shapes only, with its words around it in HTML.

A drawing is 100 high and stretched to the width it finds; strokes and words do not stretch with it. Each chart says in
one sentence what it shows, and has its figures as a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from jobapi.dashboard.words import age

HEIGHT = 100.0
WIDTH = 1000.0
TICKS = 4  # times named below a chart, the first and the last among them

Value = float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a chart draws: a name, how it looks (a class of the style sheet), and a value for each moment, or none."""

    name: str
    look: str
    values: Sequence[Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stroke:
    """A line as it is drawn."""

    name: str
    look: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A moment of a chart: the strip that belongs to it, and what is told when somebody points at it."""

    x: str
    width: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Everything that the template of a chart shows."""

    title: str
    summary: str
    strokes: tuple[Stroke, ...]
    bands: tuple[Band, ...]
    heights: tuple[str, ...]  # the words beside it, from the top down
    moments: tuple[datetime, ...]  # those named below it
    rows: tuple[tuple[datetime, tuple[str, ...]], ...]
    is_empty: bool


def line_chart(
    title: str, moments: Sequence[datetime], lines: Sequence[Line], *, show: Callable[[float], str], summary: str
) -> Chart:
    """Draw lines over time; `show` puts a value into words."""
    values = [value for line in lines for value in line.values if value is not None]
    top = _round_up(max(values, default=0), show)
    return Chart(
        title=title,
        summary=summary,
        strokes=tuple(Stroke(name=line.name, look=line.look, path=_path(line.values, top)) for line in lines),
        bands=tuple(_bands(moments, lines, show)),
        heights=(show(top), show(top / 2), "0"),
        moments=tuple(_spread(moments)),
        rows=tuple((moment, _cells(lines, place, show)) for place, moment in enumerate(moments)),
        is_empty=not any(values),
    )


def spark(values: Sequence[float]) -> str:
    """Return the path of a small line without words."""
    return _path(values, max(values, default=0) or 1)


def bar(value: float, most: float) -> str:
    """Return how wide the bar of a value is, of 100; what is there at all can be seen."""
    return "0" if value <= 0 or most <= 0 else _number(max(1.0, min(100.0, 100 * value / most)))


#: Heights of charts of durations, in seconds.
DURATIONS = (1, 2, 4, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)


def _round_up(value: float, show: Callable[[float], str]) -> float:
    """Return the round number that a chart reaches up to; half of it is round, too."""
    if show is age:
        return next((step for step in DURATIONS if step >= value), value)
    size: float = 10 ** max(0, math.floor(math.log10(value))) if value > 2 else 1
    return next(size * part for part in (2, 4, 6, 8, 10, 20) if size * part >= value)


def _path(values: Sequence[Value], top: float) -> str:
    """Return the line as SVG has it; where a value lacks it breaks, and one that stands alone is a dot."""
    step = WIDTH / max(len(values) - 1, 1)
    pieces: list[str] = []
    for is_there, group in groupby(enumerate(values), key=lambda point: point[1] is not None):
        if is_there:
            points = [f"{_number(place * step)} {_number(HEIGHT * (1 - (value or 0) / top))}" for place, value in group]
            pieces.append("M" + "L".join(points) + ("h0" if len(points) == 1 else ""))
    return "".join(pieces)


def _bands(moments: Sequence[datetime], lines: Sequence[Line], show: Callable[[float], str]) -> Iterator[Band]:
    step = WIDTH / max(len(moments) - 1, 1)
    for place, moment in enumerate(moments):
        told = zip(lines, _cells(lines, place, show), strict=True)
        text = ", ".join(f"{line.name} {cell}" for line, cell in told)
        start, end = max(0.0, (place - 0.5) * step), min(WIDTH, (place + 0.5) * step)
        yield Band(x=_number(start), width=_number(end - start), text=f"{moment:%H:%M} UTC: {text}")


def _cells(lines: Sequence[Line], place: int, show: Callable[[float], str]) -> tuple[str, ...]:
    values = [line.values[place] for line in lines]
    return tuple("-" if value is None else show(value) for value in values)


def _spread(moments: Sequence[datetime]) -> list[datetime]:
    """Return some of the moments at equal distances, the first and the last among them."""
    if len(moments) <= TICKS:
        return list(moments)
    return [moments[round(place * (len(moments) - 1) / (TICKS - 1))] for place in range(TICKS)]


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
