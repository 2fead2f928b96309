"""How far a long piece of work is: silent while short, a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from contextlib import closing

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

_QUIET_S = 2.0
_LINE_EVERY_S = 10.0


class Track:
    """One piece of work; `advance` says that some of it is done."""

    def __init__(self, total: float | None, label: str, *, unit: str) -> None:
        self._total, self._label, self._unit, self._stream = total, label, unit, sys.stderr
        self._done = 0.0
        self._began = self._last_line = time.monotonic()
        self._bar: Progress | None = None

    def advance(self, num: float, note: str = "") -> None:
        """Count `num` more units; `note` stands beside the rate, such as a loss."""
        self._done += num
        now = time.monotonic()
        if now - self._began < _QUIET_S:
            return
        text = self._state(now, note)
        if self._stream.isatty():
            self._draw(text)
        elif now - self._last_line >= _LINE_EVERY_S:
            self._last_line = now
            print(f"{self._label}: {text}", file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar:
            self._bar.stop()

    def _state(self, now: float, note: str) -> str:
        rate = self._done / (now - self._began)
        parts = [f"{self._done:,.0f} {self._unit}", f"{rate:,.{1 if rate >= 1 else 3}f} {self._unit}/s"]
        if self._total is not None:
            parts[0] = f"{self._done:,.0f}/{self._total:,.0f} {self._unit}"
            if rate > 0:
                parts.append(f"{_duration(max(0.0, self._total - self._done) / rate)} left")
        return ", ".join([*parts, *([note] if note else [])])

    def _draw(self, text: str) -> None:
        if self._bar is None:
            columns = (_text("description"), BarColumn(), _text("fields[state]"))
            self._bar = Progress(*columns, console=Console(file=self._stream))
            self._bar.add_task(self._label, total=self._total, state="")
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=self._done, state=text)


def track(total: float | None, label: str, *, unit: str) -> closing[Track]:
    """Show the progress of the work inside on standard error.

    Args:
        total: how many units there are, None if unknown.
        label: what is done.
        unit: what is counted, in the plural.
    """
    return closing(Track(total, label, unit=unit))


def _text(field: str) -> TextColumn:
    return TextColumn(f"{{task.{field}}}", markup=False)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
