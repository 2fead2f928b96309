"""How many items show what, and what a sample can't be said to have lost."""

from __future__ import annotations

import math
from statistics import NormalDist

from adatta.core.errors import EvalError
from adatta.evals.statistics import Z_95, Estimate


def sample_size(discordant_share: float, effect: float) -> int:
    """Give the number of paired items that show an effect with 80% power at two-sided 5%.

    Args:
        discordant_share: Share of items that exactly one of the models gets right.
        effect: Difference of the accuracies, not 0, at most `discordant_share` in size.

    Returns:
        Number of items.

    Raises:
        EvalError: No such effect is possible.

    Source: Connor 1987.
    """
    if not 0 < abs(effect) <= discordant_share <= 1:
        raise EvalError(
            f"effect {effect} with a discordant share {discordant_share}; it can't be larger, nor 0"
        )
    power = NormalDist().inv_cdf(0.8)
    root = Z_95 * math.sqrt(discordant_share) + power * math.sqrt(discordant_share - effect**2)
    return math.ceil((root / effect) ** 2)


def smallest_effect(discordant_share: float, n: int) -> float:
    """Give the smallest difference of accuracies that `n` paired items show with 80% power at two-sided 5%.

    Args:
        discordant_share: Share of items that exactly one of the models gets right, in (0, 1].
        n: Number of items, at least 1.

    Returns:
        The difference; `discordant_share` itself where even that takes more items.

    Raises:
        EvalError: There are no items, or no item can differ.

    Source: Connor 1987.
    """
    if n < 1 or not 0 < discordant_share <= 1:
        raise EvalError(f"{n} items, of which a share of {discordant_share} differs; expected more than none")
    low, high = 0.0, discordant_share
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if sample_size(discordant_share, middle) <= n else (middle, high)
    return high


def is_non_inferior(difference: Estimate, margin: float) -> bool:
    """Tell whether "no worse than `margin`" is shown: the interval's lower bound lies above minus the margin.

    Args:
        difference: Adapted minus base, where higher is better.
        margin: Positive, declared before the run.

    Returns:
        False also where there is no interval.

    Source: Piaggio et al. 2012 (CONSORT, non-inferiority).
    """
    return difference.interval is not None and difference.interval[0] > -margin
