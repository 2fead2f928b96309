"""Progress: silent while short, lines in a log, a bar in a terminal."""

from __future__ import annotations

import io

import pytest

from adatta.core.progress import track


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def advance(stream, total, steps, note=""):
    """Advance by 10 units at each time of `steps`."""
    now = [0.0]
    with track(total, "rows [a]", unit="tokens", stream=stream, clock=lambda: now[0]) as progress:
        for time_s in steps:
            now[0] = time_s
            progress.advance(10, note)
    return stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_track_under_two_seconds_says_nothing(stream):
    assert advance(stream(), 30, [0.5, 1, 1.9]) == ""


def test_track_in_a_log_writes_a_line_every_ten_seconds_with_rate_and_time_left():
    text = advance(io.StringIO(), 1000, [5, 10, 15, 19, 21], "loss 2.5")
    assert text.splitlines() == [
        "rows [a]: 20/1,000 tokens, 2.0 tokens/s, 8:10 left, loss 2.5",
        "rows [a]: 50/1,000 tokens, 2.4 tokens/s, 6:39 left, loss 2.5",
    ]


def test_track_without_total_gives_no_time_left():
    assert advance(io.StringIO(), None, [10]) == "rows [a]: 10 tokens, 1.0 tokens/s\n"


def test_track_of_hours_shows_hours():
    assert "2:46:30 left" in advance(io.StringIO(), 10_000, [10])


def test_track_in_a_terminal_draws_a_bar_with_label_as_it_is():
    text = advance(Terminal(), 20, [5, 10], "loss [2.5]")
    assert "rows [a]" in text
    assert "20/20 tokens" in text
    assert "loss [2.5]" in text
