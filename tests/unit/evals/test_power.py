"""Sample sizes, smallest effects, non-inferiority: worked numbers."""

from __future__ import annotations

import pytest

from adatta.core.errors import EvalError
from adatta.evals import power
from adatta.evals.statistics import Estimate


def test_sample_size_equals_worked_number():
    assert power.sample_size(0.10, 0.02) == 1_960
    assert power.sample_size(0.05, -0.01) == pytest.approx(3_923, abs=1)


def test_non_inferiority_needs_the_lower_bound_above_the_margin():
    half = 1.959964 * 0.004
    difference = Estimate(-0.005, 0.004, (-0.005 - half, -0.005 + half))
    assert difference.interval[0] == pytest.approx(-0.0128, abs=5e-5)
    assert power.is_non_inferior(difference, 0.02)
    assert not power.is_non_inferior(difference, 0.01)
    assert not power.is_non_inferior(Estimate(0.1, None, None), 0.01)


@pytest.mark.parametrize(("share", "effect"), [(0.05, 0.01), (0.1, 0.02), (0.2, 0.05), (0.3, 0.02)])
def test_the_smallest_effect_of_a_sample_size_is_its_effect(share, effect):
    n = power.sample_size(share, effect)
    assert power.smallest_effect(share, n) == pytest.approx(effect, rel=1e-3)
    assert power.smallest_effect(share, n - 1) > power.smallest_effect(share, n)


def test_the_smallest_effect_is_near_its_rule_of_thumb():
    for share in (0.05, 0.1, 0.2, 0.3):
        assert power.smallest_effect(share, 1000) == pytest.approx(2.8 * (share / 1000) ** 0.5, rel=0.02)
    assert power.smallest_effect(0.02, 10) == 0.02


@pytest.mark.parametrize(("share", "n"), [(0.0, 10), (0.1, 0), (1.1, 10)])
def test_no_effect_without_items(share, n):
    with pytest.raises(EvalError, match="expected more than none"):
        power.smallest_effect(share, n)


@pytest.mark.parametrize(("share", "effect"), [(0.05, 0.0), (0.05, 0.1), (1.1, 0.1)])
def test_no_sample_shows_an_impossible_effect(share, effect):
    with pytest.raises(EvalError, match="can't be larger"):
        power.sample_size(share, effect)
