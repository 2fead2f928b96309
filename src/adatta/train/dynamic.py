"""Dynamic preference optimisation: beta and the pairs that count follow the margins of a whole step."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from adatta.core.settings import DynamicSettings

_SMALLEST_BETA = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Running mean and spread of the margins, in nats: what the next step starts from."""

    mean: float
    spread: float = 0.0


def move(running: Running, margins: Sequence[float], *, momentum: float) -> Running:
    """Return the running figures with a step's margins in them.

    Args:
        running: before the step.
        margins: of all pairs of the step, in nats.
        momentum: share of the old value.

    Source: arXiv:2407.08639 section 4, moving average of M_0 and sigma, and `update_and_sync_tensor_mean`
    of its code. Differs: a step of one pair has spread 0 instead of no number.
    """
    spread = statistics.stdev(margins) if len(margins) > 1 else 0.0
    return Running(
        mean=momentum * running.mean + (1.0 - momentum) * statistics.fmean(margins),
        spread=momentum * running.spread + (1.0 - momentum) * spread,
    )


def draw_pairs(margins: Sequence[float], running: Running, *, keep_share: float, seed: str) -> list[int]:
    """Draw the pairs that are learnt, without replacement, by a Gaussian weight around the running mean.

    The pairs with the largest sum of log weight and Gumbel noise are such a draw, also where all weights are
    too small for a number.

    Args:
        margins: of all pairs of the step, in nats.
        running: with these margins in it.
        keep_share: how many are drawn, rounded down, at least one.
        seed: of the noise.

    Returns:
        Ascending indices.

    Source: arXiv:2407.08639 section 4, beta-guided filtering, and `preference_loss` of its code; the draw:
    arXiv:1903.06059 section 3. Differs: a spread of 0, as before the first step, weighs all pairs alike.
    """
    noise = random.Random(seed)
    width = running.spread or math.inf
    keys = [
        -0.5 * ((margin - running.mean) / width) ** 2 - math.log(noise.expovariate(1.0)) for margin in margins
    ]
    num_kept = max(1, math.floor(keep_share * len(margins) + 1e-9))
    return sorted(sorted(range(len(keys)), key=lambda index: -keys[index])[:num_kept])


def choose_beta(margins: Sequence[float], running: Running, *, beta: float, strength: float) -> float:
    """Return the beta of a step: `(1 + strength * (mean margin - running mean)) * beta`.

    Args:
        margins: of the pairs that are learnt, in nats.
        running: with all margins of the step in it.
        beta: of the recipe.
        strength: how much beta moves for a nat.

    Source: arXiv:2407.08639 section 4, batch-level beta, and `preference_loss` of its code: margins are
    log-prob ratios without the factor beta, and beta is never below 0.001.
    """
    return max(beta * (1.0 + strength * (statistics.fmean(margins) - running.mean)), _SMALLEST_BETA)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """What a step's margins decide: its beta, the pairs that are learnt, the figures for the next step."""

    beta: float
    kept: frozenset[int]
    running: Running


def plan_step(
    margins: Sequence[float], running: Running, *, settings: DynamicSettings, beta: float, seed: str
) -> StepPlan:
    """Decide a step from the margins of all its pairs, however these are divided into forests.

    Args:
        margins: in the order of the step, in nats.
        running: before the step.
        settings: of the method.
        beta: of the recipe.
        seed: of the draw; another one for each step.
    """
    moved = move(running, margins, momentum=settings.momentum)
    kept = draw_pairs(margins, moved, keep_share=settings.keep_share, seed=seed)
    chosen = [margins[index] for index in kept]
    step_beta = choose_beta(chosen, moved, beta=beta, strength=settings.strength)
    return StepPlan(beta=step_beta, kept=frozenset(kept), running=moved)
