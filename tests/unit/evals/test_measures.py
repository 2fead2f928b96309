"""Measures against worked numbers."""

from __future__ import annotations

import math
import unicodedata

import pytest

from adatta.core.errors import EvalError
from adatta.evals import measures

FOUR = 6e-5


def test_bits_per_byte_pools_documents():
    assert measures.bits_per_byte(-50, 30) == pytest.approx(2.4045, abs=FOUR)
    assert measures.bits_per_byte(-20, 10) == pytest.approx(2.8854, abs=FOUR)
    assert measures.bits_per_byte(-30, 20) == pytest.approx(2.1640, abs=FOUR)


def test_bits_per_byte_of_uniform_bytes_is_eight():
    assert measures.bits_per_byte(-100 * math.log(256), 100) == pytest.approx(8.0)


def test_bytes_are_counted_in_composed_form():
    assert measures.count_bytes("sì") == 3
    assert measures.count_bytes(unicodedata.normalize("NFD", "sì")) == 3
    assert measures.count_bytes("L'acqua è fredda.") == 18


def test_choice_depends_on_what_is_divided_by():
    sums = [-3.0, -2.5]  # "sì" and "no"
    by_char = [value / len(text) for value, text in zip(sums, ("sì", "no"), strict=True)]
    by_byte = [value / measures.count_bytes(text) for value, text in zip(sums, ("sì", "no"), strict=True)]
    assert measures.best_options(sums) == (1,)
    assert measures.best_options(by_char) == (1,)
    assert measures.best_options(by_byte) == (0,)


def test_ties_share_the_credit():
    assert measures.credit([-1.0, -1.0, -1.0, -1.0], 2) == 0.25
    assert measures.credit([-1.0, -1.0, -2.0], 2) == 0.0
    assert measures.credit([-1.0, -1.0, -2.0], 1) == 0.5
    assert measures.credit([-1.0, -0.9], 1) == 1.0


def test_chance_correction_and_relative_loss_equal_worked_numbers():
    assert measures.chance_corrected(0.55, 4) == pytest.approx(0.40)
    assert measures.relative_loss(0.65, 0.55, 0.25) == pytest.approx(0.25)


@pytest.mark.parametrize(
    "call",
    [
        lambda: measures.bits_per_byte(-1.0, 0),
        lambda: measures.best_options([]),
        lambda: measures.best_options([math.nan, 1.0]),
        lambda: measures.credit([1.0, 2.0], 2),
        lambda: measures.credit([1.0, 2.0], -1),
        lambda: measures.relative_loss(0.25, 0.2, 0.25),
    ],
)
def test_measure_of_nothing_is_an_error(call):
    with pytest.raises(EvalError):
        call()
