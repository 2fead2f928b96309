"""Losses against plain Python in float64, and their gradients against finite differences."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from adatta.core.settings import DpoSettings, SftSettings
from adatta.model.forest import build_forest
from adatta.model.load import load_model
from adatta.model.score import score
from adatta.train.losses import (
    OBJECTIVES,
    PREFERENCE_LOSSES,
    Terms,
    ipo_loss,
    row_sums,
    sigmoid_loss,
    weighted_nll,
)
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


MARGINS = [-3.0, 0.0, 0.7, 12.0]


def dpo(**settings):
    return DpoSettings.model_validate({"data": [{"path": "x"}], **settings})


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_sigmoid_is_the_logistic_loss_of_the_margin(beta, smoothing):
    expected = [
        (1 - smoothing) * math.log1p(math.exp(-beta * margin))
        + smoothing * math.log1p(math.exp(beta * margin))
        for margin in MARGINS
    ]
    found = sigmoid_loss(torch.tensor(MARGINS, dtype=torch.float64), beta=beta, label_smoothing=smoothing)
    assert found.tolist() == pytest.approx(expected)


def test_sigmoid_stays_finite_far_from_the_reference():
    margin_K = torch.tensor([-1e4, 1e4], dtype=torch.float64)
    assert sigmoid_loss(margin_K, beta=0.1, label_smoothing=0.1).tolist() == pytest.approx([900.0, 100.0])


def test_ipo_is_the_squared_distance_to_half_of_one_over_beta():
    found = ipo_loss(torch.tensor(MARGINS, dtype=torch.float64), beta=0.25)
    assert found.tolist() == pytest.approx([25.0, 4.0, 1.69, 100.0])


def test_the_table_has_every_loss_of_the_recipe():
    assert set(PREFERENCE_LOSSES) == {"sigmoid", "ipo"}
    with pytest.raises(ValidationError, match=r"label_smoothing 0\.1 needs loss: sigmoid, given ipo"):
        dpo(loss="ipo", label_smoothing=0.1)
    assert dpo(loss="sigmoid", label_smoothing=0.1).label_smoothing == 0.1


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("sft_weight", [0.0, 0.5])
def test_preference_counts_chosen_minus_rejected(normalised, sft_weight):
    """Sums a row, margins, the term on the chosen answer and all figures, in plain Python."""
    groups = preferences(3)
    forest = build_forest([row for group in groups for row in group])
    reference = [-2.0, -4.0, -1.0, -1.0, -3.0, -2.0]
    logp_S = random_log_probs(len(forest.scored_S))
    sums, lengths = [0.0] * 6, [0.0] * 6
    for value, row in zip(logp_S.tolist(), forest.row_S.tolist(), strict=True):
        sums[row] += value
        lengths[row] += 1
    assert lengths == [sum(row.weights) for group in groups for row in group]
    divisors = lengths if normalised else [1.0] * 6
    gains = [sums[row] - reference[row] for row in range(6)]
    shares = [gain / divisor for gain, divisor in zip(gains, divisors, strict=True)]
    margins = [shares[2 * pair] - shares[2 * pair + 1] for pair in range(3)]
    nll = [-sums[2 * pair] / lengths[2 * pair] for pair in range(3)]
    losses = [math.log1p(math.exp(-0.3 * margin)) for margin in margins]
    settings = dpo(length_normalised=normalised, sft_weight=sft_weight)
    kept_K = torch.tensor([True, False, True])
    terms = Terms(settings=settings, beta=0.3)
    for kept, chosen in ((None, (0, 1, 2)), (kept_K, (0, 2))):
        loss, found = OBJECTIVES["dpo"].loss(
            logp_S, forest, torch.tensor(reference, dtype=torch.float64), replace(terms, is_kept_K=kept)
        )
        expected = math.fsum(losses[pair] + sft_weight * nll[pair] for pair in chosen)
        assert float(loss) == pytest.approx(expected)
    figures = OBJECTIVES["dpo"].figures(found)
    assert figures == pytest.approx(
        {
            "margin": sum(margins) / 3,
            "accuracy": sum(margin > 0 for margin in margins) / 3,
            "logp_chosen": sum(sums[0::2]) / 3,
            "logp_rejected": sum(sums[1::2]) / 3,
            "logp_chosen_per_token": sum(sums[0::2]) / sum(lengths[0::2]),
            "logp_rejected_per_token": sum(sums[1::2]) / sum(lengths[1::2]),
            "gain_chosen_per_token": sum(gains[0::2]) / sum(lengths[0::2]),
            "gain_rejected_per_token": sum(gains[1::2]) / sum(lengths[1::2]),
            "kl": sum(gains) / sum(lengths),
        }
    )


VARIANTS = {
    "sft": SftSettings.model_validate({"data": [{"path": "x"}]}),
    "sigmoid": dpo(),
    "smoothed": dpo(label_smoothing=0.2),
    "normalised": dpo(length_normalised=True, beta=2.0),
    "with sft": dpo(sft_weight=0.7),
    "ipo": dpo(loss="ipo", length_normalised=True),
}


def terms_of(settings):
    return Terms(settings=settings, beta=getattr(settings, "beta", 0.0))


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_are_those_of_finite_differences(name):
    groups = preferences(2)
    forest = build_forest([row for group in groups for row in group])
    reference_R = torch.full((4,), -20.0, dtype=torch.float64)
    logp_S = random_log_probs(len(forest.scored_S)).requires_grad_()
    kind, terms = "sft" if name == "sft" else "dpo", terms_of(VARIANTS[name])
    assert torch.autograd.gradcheck(
        lambda values: OBJECTIVES[kind].loss(values, forest, reference_R, terms)[0], (logp_S,)
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_a_tiny_models_gradients_are_those_of_finite_differences(toy_folder, wide_norms, name):
    """From the loss through forest and head to the weights, along a random direction, in float64."""
    model = load_model(toy_folder, torch.float64)
    weight = model.model.layers[0].mlp.up_proj.weight.requires_grad_()
    kind, terms = "sft" if name == "sft" else "dpo", terms_of(VARIANTS[name])
    forest = build_forest([row for group in preferences(2) for row in group])
    reference_R = torch.full((4,), -20.0, dtype=torch.float64)

    def loss():
        return OBJECTIVES[kind].loss(score(model, forest), forest, reference_R, terms)[0]

    loss().backward()
    direction = torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    slope, width = float((weight.grad * direction).sum()), 1e-5
    with torch.no_grad():
        ends = []
        for sign in (1, -2):
            weight.add_(direction, alpha=sign * width)
            ends.append(float(loss()))
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * width), rel=1e-6)


def test_mass_is_scored_weight_or_pairs():
    group = conversations(1)[0]
    assert OBJECTIVES["sft"].mass(group) == sum(group[0].weights[1:])
    assert OBJECTIVES["dpo"].mass(preferences(1)[0]) == 1.0
