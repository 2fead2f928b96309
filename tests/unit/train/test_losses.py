"""Losses against plain Python in float64, and their gradients against finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from adatta.model.forest import build_forest
from adatta.train.losses import OBJECTIVES, dpo_loss, row_sums, weighted_nll
from tests.toys.rows import branching_rows, conversations, preferences

pytestmark = pytest.mark.torch


def random_log_probs(num):
    return -5 * torch.rand(num, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def test_nll_is_the_weighted_sum():
    logp, weight = [-1.5, -0.25, -3.0], [1.0, 0.5, 0.0]
    expected = -math.fsum(left * right for left, right in zip(logp, weight, strict=True))
    assert float(weighted_nll(torch.tensor(logp), torch.tensor(weight))) == pytest.approx(expected)


def test_row_sums_take_each_token_for_each_of_its_rows():
    rows = branching_rows()
    forest = build_forest(rows)
    logp_S = random_log_probs(len(forest.scored_S))
    expected = [0.0] * len(rows)
    for value, row, weight in zip(
        logp_S.tolist(), forest.row_S.tolist(), forest.weight_S.tolist(), strict=True
    ):
        expected[row] += weight * value
    assert row_sums(logp_S, forest, num_rows=len(rows)).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_dpo_is_the_sigmoid_of_the_margin(beta):
    margins = [-3.0, 0.0, 0.7, 12.0]
    expected = math.fsum(-math.log(1 / (1 + math.exp(-beta * margin))) for margin in margins)
    assert float(dpo_loss(torch.tensor(margins, dtype=torch.float64), beta)) == pytest.approx(expected)


def test_dpo_stays_finite_far_from_the_reference():
    assert float(dpo_loss(torch.tensor([-1e4], dtype=torch.float64), 0.1)) == pytest.approx(1000.0)


def test_preference_counts_chosen_minus_rejected():
    groups = preferences(3)
    forest = build_forest([row for group in groups for row in group])
    reference_R = torch.tensor([-2.0, -4.0, -1.0, -1.0, -3.0, -2.0], dtype=torch.float64)
    logp_S = random_log_probs(len(forest.scored_S))
    loss, figures = OBJECTIVES["dpo"].loss(logp_S, forest, reference_R, 0.3)
    sums = row_sums(logp_S, forest, num_rows=6).tolist()
    margins = [
        (sums[2 * pair] + [2, 1, 3][pair]) - (sums[2 * pair + 1] + [4, 1, 2][pair]) for pair in range(3)
    ]
    assert figures["margin"] == pytest.approx(sum(margins))
    assert figures["accuracy"] == sum(margin > 0 for margin in margins)
    assert float(loss) == pytest.approx(sum(math.log1p(math.exp(-0.3 * margin)) for margin in margins))


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_gradients_are_those_of_finite_differences(kind):
    groups = preferences(2)
    forest = build_forest([row for group in groups for row in group])
    reference_R = torch.full((4,), -20.0, dtype=torch.float64)
    logp_S = random_log_probs(len(forest.scored_S)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda values: OBJECTIVES[kind].loss(values, forest, reference_R, 0.1)[0], (logp_S,)
    )


def test_mass_is_scored_weight_or_pairs():
    group = conversations(1)[0]
    assert OBJECTIVES["sft"].mass(group) == sum(group[0].weights[1:])
    assert OBJECTIVES["dpo"].mass(preferences(1)[0]) == 1.0
