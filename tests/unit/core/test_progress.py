"""Progress: silent while short, lines in a log, a bar in a terminal."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from adatta.core import progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def advance(monkeypatch):
    """Advances by 10 units at each time of `steps`, and returns what standard error was told."""

    def run(stream, total, steps, note=""):
        now = [0.0]
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
        with progress.track(total, "rows [a]", unit="tokens") as bar:
            for time_s in steps:
                now[0] = time_s
                bar.advance(10, note)
        return stream.getvalue()

    return run


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_track_under_two_seconds_says_nothing(advance, stream):
    assert advance(stream(), 30, [0.5, 1, 1.9]) == ""


def test_track_in_a_log_writes_a_line_every_ten_seconds_with_rate_and_time_left(advance):
    text = advance(io.StringIO(), 1000, [5, 10, 15, 19, 21], "loss 2.5")
    assert text.splitlines() == [
        "rows [a]: 20/1,000 tokens, 2.0 tokens/s, 8:10 left, loss 2.5",
        "rows [a]: 50/1,000 tokens, 2.4 tokens/s, 6:39 left, loss 2.5",
    ]


def test_track_without_total_gives_no_time_left(advance):
    assert advance(io.StringIO(), None, [10]) == "rows [a]: 10 tokens, 1.0 tokens/s\n"


def test_track_of_hours_shows_hours(advance):
    assert "2:46:30 left" in advance(io.StringIO(), 10_000, [10])


def test_track_in_a_terminal_draws_a_bar_with_label_as_it_is(advance):
    text = advance(Terminal(), 20, [5, 10], "loss [2.5]")
    assert "rows [a]" in text
    assert "20/20 tokens" in text
    assert "loss [2.5]" in text
