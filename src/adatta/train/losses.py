"""Losses: pure functions of log-probs, each a sum that the optimizer step's total divides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from adatta.core.errors import TrainError
from adatta.core.settings import DpoSettings
from adatta.model.forest import Forest
from adatta.train.batches import Group

# S scored tokens of a forest, R its rows, K its pairs

Sums = Mapping[str, float]
Summed = tuple[Tensor, Sums]  # a loss and its figures, over what a forest holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a step asks of its loss: the stage's settings, beta, and which pairs [K] count (None: all)."""

    settings: Any
    beta: float = 0.0
    is_kept_K: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a stage minimises.

    `loss` gets the log-probs [S], their forest, the reference's row sums [R] (None without a reference) and
    the step's terms, and returns a sum with sums of figures. `figures` makes what is logged of all sums.
    `mass` is what a row adds to the total that divides the loss. `branches` is the number of token rows in a
    row, None for any.
    """

    loss: Callable[[Tensor, Forest, Tensor | None, Terms], Summed]
    figures: Callable[[Sums], dict[str, float]]
    mass: Callable[[Group], float]
    needs_reference: bool = False
    branches: int | None = None


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


def sigmoid_loss(margin_K: Tensor, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """Return the logistic loss of each preference pair.

    Args:
        margin_K: (policy - reference) of chosen minus the same of rejected [K], in nats.
        beta: how strongly the policy is held to the reference.
        label_smoothing: share of pairs taken to be labelled the wrong way round.

    Returns:
        Losses [K].

    Source: arXiv:2305.18290 eq. 7; with smoothing, the conservative loss that arXiv:2403.00409 compares with.
    Differs from that paper's own, robust loss: the share is not subtracted, so the loss is never below 0.
    """
    right_K, wrong_K = functional.logsigmoid(beta * margin_K), functional.logsigmoid(-beta * margin_K)
    return -(1.0 - label_smoothing) * right_K - label_smoothing * wrong_K


def ipo_loss(margin_K: Tensor, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """Return the squared distance of each pair's margin to 1 / (2 beta).

    Args:
        margin_K: (policy - reference) of chosen minus the same of rejected [K], in nats.
        beta: called tau in the paper.
        label_smoothing: refused by the settings.

    Returns:
        Losses [K].

    Source: arXiv:2310.12036 eq. 17. TRL's takes margins a token: length_normalised.
    """
    return (margin_K - 1.0 / (2.0 * beta)).square()


# Loss of each pair, by the name that a recipe gives it.
PREFERENCE_LOSSES: Mapping[str, Callable[..., Tensor]] = {"sigmoid": sigmoid_loss, "ipo": ipo_loss}


def pair_margins(
    logp_S: Tensor, forest: Forest, *, reference_R: Tensor | None, length_normalised: bool
) -> Tensor:
    """Return each pair's margin: how much more the policy prefers the chosen answer than the reference.

    Args:
        logp_S: log-probs [S] in nats.
        forest: of pairs, the chosen answer's row before the rejected one's.
        reference_R: the reference's row sums [R].
        length_normalised: whether log-probs are means over an answer's tokens instead of sums.

    Returns:
        Margins [K] in nats, float64.

    Raises:
        TrainError: if there is no reference.

    Source: arXiv:2305.18290 eq. 7; normalised: arXiv:2411.15124 section 5.
    """
    if reference_R is None:
        raise TrainError("preferences were given without their reference; take it before the first step")
    gain_R = row_sums(logp_S, forest, num_rows=len(reference_R)) - reference_R.to(logp_S.device)
    if length_normalised:
        gain_R = gain_R / answer_lengths(forest, num_rows=len(reference_R)).to(logp_S.device)
    return gain_R[0::2] - gain_R[1::2]


def answer_lengths(forest: Forest, *, num_rows: int) -> Tensor:
    """Return the weight of each row's scored tokens [R]: their number, where each counts 1."""
    return row_sums(torch.ones(len(forest.row_S)), forest, num_rows=num_rows)


def _likelihood(logp_S: Tensor, forest: Forest, reference_R: Tensor | None, terms: Terms) -> Summed:
    return weighted_nll(logp_S, forest.weight_S.to(logp_S.device)), {}


def _preference(logp_S: Tensor, forest: Forest, reference_R: Tensor | None, terms: Terms) -> Summed:
    settings: DpoSettings = terms.settings
    margin_K = pair_margins(
        logp_S, forest, reference_R=reference_R, length_normalised=settings.length_normalised
    )
    smoothing = settings.label_smoothing
    loss_K = PREFERENCE_LOSSES[settings.loss](margin_K, beta=terms.beta, label_smoothing=smoothing)
    logp_R = row_sums(logp_S, forest, num_rows=2 * len(margin_K))
    length_R = answer_lengths(forest, num_rows=len(logp_R)).to(logp_S.device)
    if settings.sft_weight:
        loss_K = loss_K - settings.sft_weight * (logp_R / length_R)[0::2]
    if terms.is_kept_K is not None:
        loss_K = loss_K[terms.is_kept_K.to(loss_K.device)]
    gain_R = logp_R.detach() - (0.0 if reference_R is None else reference_R.to(logp_S.device))
    sums = {
        "pairs": float(len(margin_K)),
        "margin": float(margin_K.sum().detach()),
        "accuracy": float((margin_K > 0).sum()),
        **{
            f"{name}_{answer}": float(values_R.detach()[start::2].sum())
            for start, answer in enumerate(("chosen", "rejected"))
            for name, values_R in (("logp", logp_R), ("gain", gain_R), ("tokens", length_R))
        },
    }
    return loss_K.sum(), sums


def _preference_figures(sums: Sums) -> dict[str, float]:
    """Return means over pairs and, where it says so, over tokens.

    `kl` is the mean of policy minus reference log-prob over the tokens of the rows' own answers. These were
    not drawn from the policy: it tells how far it went from the reference there, and may be negative.
    """
    figures = {name: sums[name] / sums["pairs"] for name in ("margin", "accuracy")}
    for answer in ("chosen", "rejected"):
        tokens = sums[f"tokens_{answer}"]
        figures[f"logp_{answer}"] = sums[f"logp_{answer}"] / sums["pairs"]
        figures[f"logp_{answer}_per_token"] = sums[f"logp_{answer}"] / tokens
        figures[f"gain_{answer}_per_token"] = sums[f"gain_{answer}"] / tokens
    gain = sums["gain_chosen"] + sums["gain_rejected"]
    return figures | {"kl": gain / (sums["tokens_chosen"] + sums["tokens_rejected"])}


def _scored_weight(group: Group) -> float:
    return sum(sum(row.weights[1:]) for row in group)


_LIKELIHOOD = Objective(loss=_likelihood, figures=lambda sums: {}, mass=_scored_weight)

OBJECTIVES: dict[str, Objective] = {
    "sft": _LIKELIHOOD,
    "adapt": _LIKELIHOOD,
    "dpo": Objective(
        loss=_preference,
        figures=_preference_figures,
        mass=lambda pair: 1.0,
        needs_reference=True,
        branches=2,
    ),
}
