"""Numbers in words: digits, signs, units, and what is not a number."""

from __future__ import annotations

import math

import pytest

from adatta.pipeline.numbers import (
    decimals_for,
    read_interval,
    read_number,
    scale_of,
    show_bytes,
    show_interval,
    show_number,
    show_p,
    show_seconds,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123456, "0.0123"),
        (1.714, "1.71"),
        (31.66, "31.7"),
        (312.4, "312"),
        (12345.6, "12,346"),
        (-0.471, "\N{MINUS SIGN}0.471"),
        (0.0, "0"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_number_has_three_significant_digits(value, text):
    assert show_number(value) == text


def test_sign_is_shown_on_request_but_never_on_zero():
    assert show_number(0.25, signed=True) == "+0.250"
    assert show_number(-0.001, decimals=1, signed=True) == "0.0"


def test_decimals_follow_the_largest_value():
    assert decimals_for(0.0125, -0.1, 0.125) == 3
    assert decimals_for(99.0, 2.0) == 1
    assert decimals_for() == 0


def test_interval_of_shares_is_in_percent():
    scale = scale_of("share")
    text = show_interval([-0.025, 0.159], scale=scale, decimals=1, signed=True)
    assert text.replace("\N{NO-BREAK SPACE}", " ") == "[−2.5, +15.9]"
    assert show_interval(None, scale=scale, decimals=1) == "no interval"


@pytest.mark.parametrize("value", [None, [1.0], [2.0, 1.0], [math.nan, 1.0], ["0", "1"], 3.0, [False, True]])
def test_interval_that_is_none_is_not_read(value):
    assert read_interval(value) is None


def test_true_is_not_a_number():
    assert read_number(True) is None
    assert read_number(3) == 3.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.042, "0.04 s"),
        (4.25, "4.2 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (3900, "1 h 05 min"),
    ],
)
def test_duration_in_words(seconds, text):
    assert show_seconds(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(812, "812 B"), (999_600, "1.00 MB"), (270_883_840, "271 MB"), (2.4e9, "2.40 GB")]
)
def test_size_in_words(size, text):
    assert show_bytes(size) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0004, "p < 0.001"), (0.0316, "p = 0.032"), (0.0999, "p = 0.10"), (1.0, "p = 1.00"), (None, "")],
)
def test_p_value_in_words(p, text):
    assert show_p(p).replace("\N{NO-BREAK SPACE}", " ") == text
