"""Losses: pure functions of log-probs, each a sum that the optimizer step's total divides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from adatta.core.errors import TrainError
from adatta.model.forest import Forest
from adatta.train.batches import Group

# S scored tokens of a forest, R its rows, K its pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a stage minimises.

    `loss` gets the log-probs [S], their forest, the reference's row sums [R] (None without a reference)
    and beta, and returns a sum with figures to log, sums too. `mass` is what a row adds to the total that
    divides them. `branches` is the number of token rows in a row, None for any.
    """

    loss: Callable[[Tensor, Forest, Tensor | None, float], tuple[Tensor, Mapping[str, float]]]
    mass: Callable[[Group], float]
    needs_reference: bool
    branches: int | None


def weighted_nll(logp_S: Tensor, weight_S: Tensor) -> Tensor:
    """Return the negative log-likelihood, weighted and summed, in float64.

    Args:
        logp_S: log-probs [S] in nats.
        weight_S: weights [S].

    Source: arXiv:2405.07101 section 3 trains on the whole text; differs: only what the weights score.
    """
    return -(weight_S.double() * logp_S.double()).sum()


def row_sums(logp_S: Tensor, forest: Forest, *, num_rows: int) -> Tensor:
    """Return each row's weighted sum of log-probs in float64.

    Args:
        logp_S: log-probs [S] in nats.
        forest: whose scored tokens they are.
        num_rows: R.

    Returns:
        Sums [R].
    """
    weighted_S = forest.weight_S.to(logp_S.device) * logp_S.double()
    zeros_R = torch.zeros(num_rows, dtype=torch.float64, device=logp_S.device)
    return zeros_R.index_add(0, forest.row_S.to(logp_S.device), weighted_S)


def dpo_loss(margin_K: Tensor, beta: float) -> Tensor:
    """Return the sigmoid loss of preference pairs, summed.

    Args:
        margin_K: (policy - reference) of chosen minus the same of rejected [K], in nats.
        beta: how strongly the policy is held to the reference.

    Source: arXiv:2305.18290 eq. 7. Differs: a sum over pairs; answers count by summed log-prob.
    """
    return -functional.logsigmoid(beta * margin_K).sum()


def _likelihood(
    logp_S: Tensor, forest: Forest, reference_R: Tensor | None, beta: float
) -> tuple[Tensor, Mapping[str, float]]:
    return weighted_nll(logp_S, forest.weight_S.to(logp_S.device)), {}


def _preference(
    logp_S: Tensor, forest: Forest, reference_R: Tensor | None, beta: float
) -> tuple[Tensor, Mapping[str, float]]:
    if reference_R is None:
        raise TrainError("preferences were given without their reference; take it before the first step")
    gain_R = row_sums(logp_S, forest, num_rows=len(reference_R)) - reference_R.to(logp_S.device)
    margin_K = gain_R[0::2] - gain_R[1::2]
    figures = {"margin": float(margin_K.sum().detach()), "accuracy": float((margin_K > 0).sum())}
    return dpo_loss(margin_K, beta), figures


def _scored_weight(group: Group) -> float:
    return sum(sum(row.weights[1:]) for row in group)


_LIKELIHOOD = Objective(loss=_likelihood, mass=_scored_weight, needs_reference=False, branches=None)

OBJECTIVES: dict[str, Objective] = {
    "sft": _LIKELIHOOD,
    "adapt": _LIKELIHOOD,
    "dpo": Objective(loss=_preference, mass=lambda pair: 1.0, needs_reference=True, branches=2),
}
