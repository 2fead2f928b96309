"""Measures against worked numbers."""

from __future__ import annotations

import math
import random
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


def test_relative_loss_equals_the_worked_number():
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
        lambda: measures.calibration_error([], []),
        lambda: measures.calibration_error([0.5], [1.0, 0.0]),
    ],
)
def test_measure_of_nothing_is_an_error(call):
    with pytest.raises(EvalError):
        call()


def test_preferred_probability_is_the_softmax_of_the_best():
    assert measures.preferred_probability([math.log(0.1), math.log(0.4)]) == pytest.approx(0.8)
    assert measures.preferred_probability([-7.0] * 4) == 0.25
    assert measures.preferred_probability([-2000.0, -1000.0, -3000.0]) == 1.0


def reference_calibration_error(probabilities, scores):
    """Write equation 3 out, with exact bounds of the bins."""
    total = 0.0
    for number in range(10):
        low, high = number / 10, (number + 1) / 10
        members = [n for n, p in enumerate(probabilities) if low < p <= high or p == number == 0]
        if members:
            accuracy = sum(scores[n] for n in members) / len(members)
            confidence = sum(probabilities[n] for n in members) / len(members)
            total += len(members) / len(probabilities) * abs(accuracy - confidence)
    return total


def test_calibration_error_equals_the_equation(seed):
    rng = random.Random(seed)
    probabilities = [rng.random() for _ in range(200)] + [0.0, 1.0, 0.1, 0.3, 0.7]
    scores = [float(rng.random() < p) for p in probabilities]
    found = measures.calibration_error(probabilities, scores)
    assert found == pytest.approx(reference_calibration_error(probabilities, scores), abs=1e-12)


@pytest.mark.parametrize(
    ("probabilities", "scores", "error"),
    [
        ([0.25] * 4, [1, 0, 0, 0], 0.0),
        ([1.0] * 4, [0.0] * 4, 1.0),
        ([0.9, 0.9], [1.0, 0.0], 0.4),
        ([0.61, 0.69], [1.0, 0.3], 0.0),  # one bin, where they make up for each other
        ([0.69, 0.71], [1.0, 0.4], 0.31),  # two bins, where they don't
        ([0.7, 0.71], [1.0, 0.4], (0.3 + 0.31) / 2),  # a bin holds its upper end
    ],
)
def test_calibration_error_of_known_cases(probabilities, scores, error):
    assert measures.calibration_error(probabilities, scores) == pytest.approx(error, abs=1e-12)


def test_few_items_make_the_error_of_a_perfect_model_as_large_as_its_docstring_says(seed):
    rng = random.Random(seed)
    errors = []
    for _ in range(300):
        probabilities = [rng.uniform(0.25, 1.0) for _ in range(100)]
        scores = [float(rng.random() < p) for p in probabilities]
        errors.append(measures.calibration_error(probabilities, scores))
    assert sum(errors) / len(errors) == pytest.approx(0.08, abs=0.02)
