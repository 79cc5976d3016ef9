"""Numbers and durations as people read them."""

from __future__ import annotations

UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def age(seconds: float | None) -> str:
    """Return a duration in its two largest units, such as 4m 12s."""
    if seconds is None:
        return "-"
    if seconds < 0.1:
        return f"{seconds * 1000:.0f}ms" if seconds else "0s"
    if seconds < 10:
        return f"{seconds:.1f}s".replace(".0s", "s")
    place = next(place for place, (_, length) in enumerate(UNITS) if seconds >= length)
    (unit, length), *smaller = UNITS[place : place + 2]
    rest = int(seconds % length // smaller[0][1]) if smaller else 0
    return f"{int(seconds // length)}{unit}" + (f" {rest}{smaller[0][0]}" if rest else "")


def short(number: float) -> str:
    """Return a number in few digits: 1,204 as it is, 48_210 as 48.2k."""
    for letter, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size * (10 if letter == "k" else 1):
            return f"{number / size:.1f}".removesuffix(".0") + letter
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"


def many(count: int, noun: str) -> str:
    """Return a count with its noun: 1 job, 2 jobs."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def size(count_bytes: float) -> str:
    """Return a number of bytes, such as 1.5 MiB."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count_bytes < 1024:
            return f"{count_bytes:.0f} {unit}" if unit == "bytes" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1024
    return f"{count_bytes:.1f} TiB"
