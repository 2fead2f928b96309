"""Statistics against published numbers, closed forms and plain Python."""

from __future__ import annotations

import itertools
import math
import random
import statistics as stdlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adatta.core.errors import EvalError
from adatta.evals import statistics
from adatta.evals.statistics import Estimate

FOUR = 6e-5  # the numbers are published with four decimals


@pytest.mark.parametrize(
    ("degrees", "published"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (24, 2.0639), (29, 2.0452), (99, 1.9842)],
)
def test_t_quantile_equals_the_published_table(degrees, published):
    assert statistics.t_quantile(0.975, degrees) == pytest.approx(published, abs=FOUR)
    assert statistics.t_quantile(0.025, degrees) == pytest.approx(-published, abs=FOUR)


def test_t_quantile_series_and_expansion_meet_at_their_border(monkeypatch):
    border = statistics.SERIES_LIMIT
    expansion = statistics.t_quantile(0.975, border + 1)
    monkeypatch.setattr(statistics, "SERIES_LIMIT", border + 1)
    statistics._upper_t_quantile.cache_clear()
    assert statistics.t_quantile(0.975, border + 1) == pytest.approx(expansion, abs=1e-8)
    statistics._upper_t_quantile.cache_clear()


def test_t_quantile_equals_closed_forms_for_one_and_two_degrees():
    for probability in (0.6, 0.9, 0.975, 0.999):
        cauchy = math.tan(math.pi * (probability - 0.5))
        two = (2 * probability - 1) / math.sqrt(2 * probability * (1 - probability))
        assert statistics.t_quantile(probability, 1) == pytest.approx(cauchy, rel=1e-9)
        assert statistics.t_quantile(probability, 2) == pytest.approx(two, rel=1e-9)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (8, 10, 0.4902, 0.9433),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
        (630, 1000, 0.5996, 0.6594),
        (0, 315, 0.0, 0.0120),
        (250, 250, 0.9849, 1.0),
        (20, 250, 0.0524, 0.1203),
    ],
)
def test_wilson_equals_worked_numbers(successes, n, low, high):
    assert statistics.wilson(successes, n) == pytest.approx((low, high), abs=FOUR)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.floats(0, n), st.just(n))))
def test_wilson_holds_the_share_and_stays_in_bounds(case):
    successes, n = case
    low, high = statistics.wilson(successes, n)
    assert 0.0 <= low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= high <= 1.0


@pytest.mark.parametrize(
    ("base_only", "adapted_only", "p"),
    [
        (1, 9, 22 / 1024),
        (2, 8, 112 / 1024),
        (0, 6, 2 / 64),
        (0, 5, 0.0625),
        (5, 5, 1.0),
        (30, 50, 0.0330),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_equals_worked_numbers(base_only, adapted_only, p):
    assert statistics.mcnemar(base_only, adapted_only) == pytest.approx(p, abs=FOUR)
    assert statistics.mcnemar(adapted_only, base_only) == pytest.approx(p, abs=FOUR)


def test_holm_ties_the_two_largest_by_the_running_maximum():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_raw_and_bonferroni(p_values):
    adjusted = statistics.holm(p_values)
    for raw, value in zip(p_values, adjusted, strict=True):
        assert raw <= value <= min(1.0, len(p_values) * raw)


def test_paired_difference_equals_worked_numbers():
    differences = [1, 0, 0, -1, 1, 0, 0, 0, 1, 0]
    base = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
    adapted = [b + d for b, d in zip(base, differences, strict=True)]
    estimate = statistics.paired_difference(base, adapted)
    assert estimate.value == pytest.approx(0.2)
    assert estimate.standard_error == pytest.approx(0.2000, abs=FOUR)
    assert estimate.interval == pytest.approx((0.2 - 2.262157 * 0.2, 0.2 + 2.262157 * 0.2), abs=FOUR)  # t(9)
    assert statistics.sign_flip(differences) == pytest.approx(10 / 16)
    assert statistics.mcnemar(1, 3) == pytest.approx(10 / 16)


def test_mean_of_clusters_equals_worked_numbers():
    values, clusters = [1, 1, 0, 0, 1, 0], ["a", "a", "b", "b", "c", "c"]
    clustered = statistics.mean_estimate(values, clusters=clusters)
    assert clustered.value == 0.5
    assert clustered.standard_error == pytest.approx(0.2887, abs=FOUR)
    assert clustered.standard_error * math.sqrt(2 / 3) == pytest.approx(0.2357, abs=FOUR)
    alone = statistics.mean_estimate(values)
    assert alone.standard_error == pytest.approx(0.2236, abs=FOUR)
    assert alone == statistics.mean_estimate(values, clusters=range(6))


def test_mean_over_seeds_has_the_t_interval():
    estimate = statistics.mean_estimate([1, 2, 3, 4, 5])
    assert estimate.value == 3
    assert estimate.standard_error == pytest.approx(stdlib.stdev([1, 2, 3, 4, 5]) / math.sqrt(5))
    assert estimate.interval[1] - 3 == pytest.approx(1.963, abs=5e-4)


def test_mean_of_one_cluster_has_no_interval():
    assert statistics.mean_estimate([0.5, 1.0], clusters=["a", "a"]) == Estimate(0.75, None, None)


def flip_all(sums):
    """Count every sign vector in plain Python."""
    observed = abs(sum(sums))
    signed = [sum(s * v for s, v in zip(signs, sums, strict=True)) for signs in
              itertools.product((-1, 1), repeat=len(sums))]  # fmt: skip
    return sum(abs(value) >= observed - 1e-9 for value in signed) / len(signed)


@settings(max_examples=40)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_sign_flip_equals_plain_enumeration(differences):
    assert statistics.sign_flip(differences) == pytest.approx(flip_all(differences))


def test_mean_of_strata_equals_the_closed_form():
    values = {"a": [1.0, 0.0, 1.0, 1.0], "b": [0.0, 1.0], "c": [1.0]}
    strata = [name for name, part in values.items() for _ in part]
    found = statistics.stratified_mean([x for part in values.values() for x in part], strata)
    assert found.value == pytest.approx((0.75 + 0.5 + 1.0) / 3)
    pooled = (4 * 0.75 * 0.25 + 2 * 0.25) / (3 + 1)  # squared deviations over what is free in a and b
    variance = (4 / 3 * 0.75 * 0.25 / 4 + 2 * 0.25 / 2 + pooled) / 9
    assert found.standard_error == pytest.approx(math.sqrt(variance))
    assert found.interval == pytest.approx(
        (0.75 - 1.959964 * math.sqrt(variance), 0.75 + 1.959964 * math.sqrt(variance)), abs=1e-6
    )
    assert statistics.stratified_mean([1.0, 0.0], ["a", "b"]) == statistics.Estimate(0.5, None, None)


def test_mean_of_equal_strata_is_the_mean_with_less_spread():
    values, strata = [1.0] * 9 + [0.0] + [0.0] * 9 + [1.0], ["a"] * 10 + ["b"] * 10
    plain, found = statistics.mean_estimate(values), statistics.stratified_mean(values, strata)
    assert found.value == plain.value == 0.5
    assert found.standard_error < 0.7 * plain.standard_error


def test_sign_flip_moves_clusters_as_one():
    differences, clusters = [1, 2, -1, 3], ["a", "a", "b", "c"]
    assert statistics.sign_flip(differences, clusters=clusters) == pytest.approx(flip_all([3, -1, 3]))


def test_sign_flip_at_random_is_near_the_exact_value(monkeypatch):
    differences = [random.Random(7).gauss(0.4, 1) for _ in range(14)]
    exact = statistics.sign_flip(differences)
    monkeypatch.setattr(statistics, "EXACT_FLIPS", 0)
    drawn = statistics.sign_flip(differences)
    assert drawn == statistics.sign_flip(differences)
    assert drawn == pytest.approx(exact, abs=0.02)  # 4 standard errors of 9,999 flips


def test_sign_flip_of_equal_scores_is_one():
    assert statistics.sign_flip([0.0] * 40) == 1.0


def test_ratio_pools_sums_and_its_resamples_are_the_known_ones():
    nats, num_bytes = [20.0, 30.0], [10 * math.log(2), 20 * math.log(2)]
    assert statistics.ratio_estimate(nats, num_bytes).value == pytest.approx(2.4045, abs=FOUR)
    drawn, counts = np.unique(statistics.resample_ratios(nats, num_bytes).round(4), return_counts=True)
    assert drawn.tolist() == [2.1640, 2.4045, 2.8854]
    assert counts / 10_000 == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


def test_ratio_interval_is_widened_about_the_ratio_under_100_documents():
    rng = random.Random(1)
    nats = [rng.uniform(50, 150) for _ in range(25)]
    num_bytes = [rng.randrange(80, 120) for _ in range(25)]
    value, _, (low, high), _ = statistics.ratio_estimate(nats, num_bytes)
    plain_low, plain_high = np.percentile(statistics.resample_ratios(nats, num_bytes), [2.5, 97.5])
    factor = 2.0639 / 1.959964 * math.sqrt(25 / 24)
    assert value - low == pytest.approx(factor * (value - plain_low), rel=1e-4)
    assert high - value == pytest.approx(factor * (plain_high - value), rel=1e-4)


def test_ratio_interval_is_plain_from_100_documents():
    nats, num_bytes = [float(i % 7 + 1) for i in range(100)], [3] * 100
    plain = np.percentile(statistics.resample_ratios(nats, num_bytes), [2.5, 97.5])
    assert statistics.ratio_estimate(nats, num_bytes).interval == pytest.approx(plain)


def test_ratio_difference_is_paired():
    rng = random.Random(2)
    base = [rng.uniform(50, 150) for _ in range(25)]
    adapted = [nats - 5 for nats in base]
    num_bytes = [100] * 25
    low, high = statistics.ratio_estimate(
        [a - b for a, b in zip(adapted, base, strict=True)], num_bytes
    ).interval
    assert (low, high) == pytest.approx((-0.05, -0.05))
    unpaired = [statistics.ratio_estimate(nats, num_bytes).interval for nats in (base, adapted)]
    assert unpaired[0][0] < unpaired[1][1]
    by_draw = statistics.resample_ratios(adapted, num_bytes) - statistics.resample_ratios(base, num_bytes)
    assert by_draw == pytest.approx(-0.05)


def test_ratio_is_the_same_in_each_call():
    nats, num_bytes = [1.0, 4.0, 2.0, 8.0], [3, 5, 4, 6]
    assert statistics.ratio_estimate(nats, num_bytes) == statistics.ratio_estimate(nats, num_bytes)


def test_ratio_interval_covers_the_truth_with_few_documents(monkeypatch):
    monkeypatch.setattr(statistics, "BOOTSTRAP_RESAMPLES", 500)
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        num_bytes = rng.integers(200, 800, size=12)
        low, high = statistics.ratio_estimate(num_bytes * rng.normal(2.0, 0.3, 12), num_bytes).interval
        covered += low <= 2.0 <= high
    assert 0.915 <= covered / 400 <= 0.985  # 0.95 and 3 standard errors; unwidened: 0.90


@pytest.mark.parametrize(
    "call",
    [
        lambda: statistics.mean_estimate([]),
        lambda: statistics.mean_estimate([1.0, math.nan]),
        lambda: statistics.mean_estimate([1.0, 0.0], clusters=["a"]),
        lambda: statistics.paired_difference([1.0], [1.0, 0.0]),
        lambda: statistics.stratified_mean([], []),
        lambda: statistics.stratified_mean([1.0, 0.0], ["a"]),
        lambda: statistics.wilson(0, 0),
        lambda: statistics.wilson(11, 10),
        lambda: statistics.sign_flip([]),
        lambda: statistics.mcnemar(-1, 2),
        lambda: statistics.ratio_estimate([], []),
        lambda: statistics.ratio_estimate([1.0], [0.0]),
        lambda: statistics.ratio_estimate([1.0, 2.0], [1.0]),
        lambda: statistics.t_quantile(0.975, 0),
    ],
)
def test_statistic_over_nothing_or_nonsense_is_an_error(call):
    with pytest.raises(EvalError):
        call()
