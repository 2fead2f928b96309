"""Numbers as a reader sees them: three significant digits, units, a real minus sign."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MINUS = "\N{MINUS SIGN}"
# Keeps a number and what belongs to it on one line.
NO_BREAK = "\N{NO-BREAK SPACE}"
DIGITS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How values of one unit are shown: times `factor`, with a unit for differences and one for values.

    `sign` follows each value without a space; `unit` stands once after several.
    """

    factor: float = 1.0
    sign: str = ""
    unit: str = ""
    difference_unit: str = ""
    decimals: int | None = None

    def decimals_for(self, *values: float | None) -> int:
        """Count the decimals that `values` are shown with side by side; None is passed over."""
        if self.decimals is not None:
            return self.decimals
        return decimals_for(*(value * self.factor for value in values if value is not None))

    def show(self, value: float | None, *, decimals: int, signed: bool = False) -> str:
        """Write a value in this scale, without its unit."""
        scaled = None if value is None else value * self.factor
        return show_number(scaled, decimals=decimals, signed=signed)


def scale_of(unit: str) -> Scale:
    """Choose how a metric's unit is shown: shares as percentages, everything else as it is.

    Args:
        unit: the `unit` of a report entry, such as `share` or `bits/byte`.

    Returns:
        The scale; differences of shares are in points of a percent.
    """
    if unit == "share":
        return Scale(factor=100.0, sign="%", difference_unit=" points", decimals=1)
    return Scale(unit=f" {unit}" if unit else "", difference_unit=f" {unit}" if unit else "")


def decimals_for(*values: float, digits: int = DIGITS) -> int:
    """Count the decimals that give the largest of `values` `digits` significant digits (0 to 9)."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest == 0.0:
        return 0
    exponent = int(f"{largest:.{digits - 1}e}".partition("e")[2])
    return max(0, min(9, digits - 1 - exponent))


def show_number(value: float | None, *, decimals: int | None = None, signed: bool = False) -> str:
    """Write a number with three significant digits, or with `decimals` decimals.

    Args:
        value: the number; None or not finite is written as a dash.
        decimals: digits after the point; None takes what three significant digits need.
        signed: write a plus sign before positive numbers.

    Returns:
        The text, with thousands separated by commas and a typographic minus sign.

    Example:
        >>> show_number(-0.12345), show_number(12345.6), show_number(0.5, decimals=1, signed=True)
        ('−0.123', '12,346', '+0.5')
    """
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{abs(value):,.{decimals_for(value) if decimals is None else decimals}f}"
    if not any(digit in text for digit in "123456789"):
        return text
    return f"{MINUS if value < 0 else '+' if signed else ''}{text}"


def show_interval(interval: object, *, scale: Scale, decimals: int, signed: bool = False) -> str:
    """Write an interval as `[low, high]`, or `no interval` where there is none."""
    bounds = read_interval(interval)
    if bounds is None:
        return "no interval"
    low, high = (scale.show(bound, decimals=decimals, signed=signed) for bound in bounds)
    return f"[{low},{NO_BREAK}{high}]"


def show_plainly(figure: Mapping[str, Any]) -> str:
    """Write a figure of report.json for the terminal: `0.512 [0.431, 0.593]`."""
    interval = figure.get("ci95")
    shown = f"[{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "(no interval)"
    return f"{figure['value']:.3f} {shown}"


def read_interval(value: object) -> tuple[float, float] | None:
    """Read `[low, high]` of finite numbers in order; None for everything else."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    low, high = (read_number(bound) for bound in value)
    return (low, high) if low is not None and high is not None and low <= high else None


def value_of(figure: Mapping[str, Any] | None) -> float | None:
    """Read the value of a figure of report.json; None where there is none."""
    return read_number((figure or {}).get("value"))


def interval_of(figure: Mapping[str, Any] | None) -> tuple[float, float] | None:
    """Read the 95% interval of a figure of report.json; None where there is none."""
    return read_interval((figure or {}).get("ci95"))


def read_number(value: object) -> float | None:
    """Read a finite number; None for everything else (also for true and false)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def show_seconds(seconds: float) -> str:
    """Write a duration: `0.42 s`, `42 s`, `3 min 20 s`, `1 h 05 min`."""
    if seconds < 59.5:
        return f"{show_number(seconds, decimals=min(2, decimals_for(seconds, digits=2)))} s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def show_bytes(num_bytes: float) -> str:
    """Write a size in decimal units: `812 B`, `98.1 MB`, `1.20 GB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= 0.9995 * size:
            return f"{show_number(num_bytes / size)} {unit}"
    return f"{round(num_bytes)} B"


def show_p(p: float | None, *, name: str = "p") -> str:
    """Write a p-value: `p < 0.001`, `p = 0.032`, `p = 0.24`, with spaces that don't break."""
    if p is None:
        return ""
    name = name.replace(" ", NO_BREAK)
    if p < 0.001:
        return f"{name}{NO_BREAK}<{NO_BREAK}0.001"
    return f"{name}{NO_BREAK}={NO_BREAK}{p:.{3 if p < 0.0995 else 2}f}"


def show_losses(counts: Mapping[str, Any]) -> str:
    """Write what a stage lost with the rows put aside, from its counts; nothing where nothing is lost."""
    tokens, size = (counts.get(key) or 0 for key in ("lost_scored_tokens", "lost_bytes"))
    parts = [f"{tokens:,} scored tokens lost"] if tokens or size else []
    parts += [f"{size:,} bytes of rows that can't be turned into tokens"] if size else []
    return ", and ".join(parts)
