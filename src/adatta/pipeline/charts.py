"""The report's plots as hand-written SVG: forest plots with intervals, loss curves with held-out points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from adatta.pipeline.numbers import read_number, scale_of, show_number

WIDTH = 352
ROW_HEIGHT = 34
LEFT, RIGHT = 100, 256
WIDE_LEFT = 144  # for labels of about 20 characters
AXIS_HEIGHT = 34
CURVE_HEIGHT = 216
CURVE_LEFT, CURVE_RIGHT, CURVE_TOP, CURVE_BOTTOM = 46, WIDTH - 12, 30, CURVE_HEIGHT - 40
# A curve is drawn with at most this many points; the mean of each group of steps stands for it.
MAX_POINTS = 120


Shape = Literal["base", "stage", "control"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisker:
    """One row of a forest plot, in the metric's own unit; `tone` is its colour, `word` what it says."""

    label: str
    value: float
    interval: tuple[float, float] | None
    shape: Shape
    tone: str = "plain"
    word: str = ""


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Choose round tick values inside [low, high].

    Args:
        low: lower end of the axis.
        high: upper end, above `low`.
        count: how many ticks to aim at.

    Returns:
        Multiples of 1, 2 or 5 times a power of ten, ascending.

    Example:
        >>> nice_ticks(0.0, 100.0)
        [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= raw * 0.8), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) + 0.0 for index in range(first, last + 1)]


def draw_forest(rows: Sequence[Whisker], *, title: str, unit: str, are_changes: bool = False) -> str:
    """Draw one metric: a dot and its 95% interval for each model, a dashed line at the base.

    Args:
        rows: the models from top to bottom.
        title: what the plot shows, for screen readers.
        unit: the metric's unit; shares are drawn as percentages.
        are_changes: whether the rows are differences to the base, with long labels: the dashed line is at 0.

    Returns:
        An SVG element that takes its colours from the page's CSS variables.
    """
    scale = scale_of(unit)
    ends = [scale.factor * end for row in rows for end in (row.interval or (row.value, row.value))]
    left, bases = LEFT, [row.value for row in rows if row.shape == "base"]
    if are_changes:
        left, bases = WIDE_LEFT, [0.0]
        ends += bases
    low, high = _widen(min(ends), max(ends), bounds=(0.0, 100.0) if unit == "share" else None)

    def place(value: float) -> float:
        return left + (value * scale.factor - low) / (high - low) * (RIGHT - left)

    bottom = 6 + ROW_HEIGHT * len(rows)
    parts = [_text(left, bottom + 28, "% of items" if unit == "share" else unit, "axis")]
    for tick, text in _show_ticks(nice_ticks(low, high, 3)):
        x = place(tick / scale.factor)
        parts += [_line(x, 6, x, bottom, "grid"), _text(x, bottom + 13, text, "tick middle")]
    parts += [_line(place(base), 6, place(base), bottom, "reference") for base in bases[:1]]
    decimals = scale.decimals_for(*(row.value for row in rows))
    for index, row in enumerate(rows):
        y, text = 6 + ROW_HEIGHT * (index + 0.5), scale.show(row.value, decimals=decimals)
        parts.append(_text(left - 14, y + 4, row.label, "label end"))
        parts += _draw_row(row, y, place=place, text=text)
    return _svg(parts, height=bottom + AXIS_HEIGHT, title=title)


def _draw_row(row: Whisker, y: float, *, place: Any, text: str) -> list[str]:
    """Draw one model: whisker, mark, value and verdict."""
    x, parts = place(row.value), list[str]()
    if row.interval:
        low, high = (place(end) for end in row.interval)
        parts.append(_line(low, y, high, y, f"whisker {row.tone}"))
        parts += [_line(end, y - 4, end, y + 4, f"whisker {row.tone}") for end in (low, high)]
    diamond = f'<path class="mark {row.tone}" d="M{x:.1f} {y - 5.5:.1f}l5.5 5.5-5.5 5.5-5.5-5.5z"/>'
    circle = f'<circle class="mark {row.tone} {row.shape}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
    parts.append(diamond if row.shape == "control" else circle)
    parts.append(_text(RIGHT + 14, y + (-1 if row.word else 4), text, "value"))
    if row.word:
        parts.append(_text(RIGHT + 14, y + 12, row.word, f"word {row.tone}"))
    return parts


def draw_losses(lines: Sequence[Mapping[str, Any]], *, title: str, unit: str) -> str:
    """Draw a stage's training loss as a line and its held-out loss as points.

    Args:
        lines: the lines of metrics.jsonl: `{"step", "loss", ...}` and `{"step", "holdout_loss"}`.
        title: what the plot shows, for screen readers.
        unit: the loss' unit, such as `nats per token`.

    Returns:
        An SVG element, or an empty text where there is no finite loss.
    """
    train, holdout = (_read_curve(lines, key) for key in ("loss", "holdout_loss"))
    if not train + holdout:
        return ""
    shown, steps = _thin(train), [step for step, _ in train + holdout]
    losses = [loss for _, loss in shown + holdout]
    (x_low, x_high), (low, high) = (min(0.0, *steps), max(1.0, *steps)), _widen(min(losses), max(losses))

    def place(step: float, loss: float) -> tuple[float, float]:
        x = CURVE_LEFT + (step - x_low) / (x_high - x_low) * (CURVE_RIGHT - CURVE_LEFT)
        return x, CURVE_BOTTOM - (loss - low) / (high - low) * (CURVE_BOTTOM - CURVE_TOP)

    parts = _draw_axes(x_range=(x_low, x_high), y_range=(low, high), place=place, unit=unit)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in shown))
    parts.append(f'<polyline class="curve" points="{path}"/>')
    for step, loss in holdout:
        x, y = place(step, loss)
        hint = f"<title>held-out loss {show_number(loss)} at step {step:.0f}</title>"
        parts.append(f'<circle class="holdout" cx="{x:.1f}" cy="{y:.1f}" r="4.5">{hint}</circle>')
    parts += _draw_key(has_holdout=bool(holdout))
    return _svg(parts, height=CURVE_HEIGHT, title=title)


def _draw_axes(
    *, x_range: tuple[float, float], y_range: tuple[float, float], place: Any, unit: str
) -> list[str]:
    """Draw grid, tick labels and axis titles of a loss curve."""
    parts = [_text(4, 14, f"loss, {unit}", "axis")]
    for tick, text in _show_ticks(nice_ticks(*y_range)):
        y = place(x_range[0], tick)[1]
        parts += [
            _line(CURVE_LEFT, y, CURVE_RIGHT, y, "grid"),
            _text(CURVE_LEFT - 8, y + 4, text, "tick end"),
        ]
    for tick in nice_ticks(*x_range):
        if tick == int(tick):
            x = place(tick, y_range[0])[0]
            parts.append(_text(x, CURVE_BOTTOM + 17, show_number(tick, decimals=0), "tick middle"))
    parts.append(_line(CURVE_LEFT, CURVE_BOTTOM, CURVE_RIGHT, CURVE_BOTTOM, "base-line"))
    parts.append(_text((CURVE_LEFT + CURVE_RIGHT) / 2, CURVE_HEIGHT - 6, "optimizer step", "axis middle"))
    return parts


def _draw_key(*, has_holdout: bool) -> list[str]:
    """Draw the key in the upper right corner."""
    left = CURVE_RIGHT - (148 if has_holdout else 72)
    line = f'<polyline class="curve" points="{left},10 {left + 18},10"/>'
    parts = [line, _text(left + 23, 14, "training", "tick")]
    point = f'<circle class="holdout" cx="{left + 92}" cy="10" r="4.5"/>'
    return [*parts, point, _text(left + 101, 14, "held out", "tick")] if has_holdout else parts


def _read_curve(lines: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """Read (step, loss) of the lines that have both."""
    pairs = ((read_number(line.get("step")), read_number(line.get(key))) for line in lines)
    return [(step, loss) for step, loss in pairs if step is not None and loss is not None]


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Average neighbouring points until at most MAX_POINTS are left."""
    size = math.ceil(len(points) / MAX_POINTS) or 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(math.fsum(s for s, _ in g) / len(g), math.fsum(v for _, v in g) / len(g)) for g in groups]


def _widen(low: float, high: float, *, bounds: tuple[float, float] | None = None) -> tuple[float, float]:
    """Add air around a range, inside `bounds`; a range of no length gets some."""
    air = (high - low) * 0.07 or abs(high) * 0.05 or 1.0
    low, high = low - air, high + air
    return (low, high) if bounds is None else (max(low, bounds[0]), min(high, bounds[1]))


def _show_ticks(ticks: Sequence[float]) -> list[tuple[float, str]]:
    """Write ticks with the decimals that their step needs."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    decimals = max(0, math.ceil(-math.log10(step) - 1e-9))
    return [(tick, show_number(tick, decimals=decimals)) for tick in ticks]


def _svg(parts: Sequence[str], *, height: float, title: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
