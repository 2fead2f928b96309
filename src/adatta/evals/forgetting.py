"""What an adaptation cost on a task that the base could do: losses, flips, non-inferiority."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from adatta.core.errors import EvalError
from adatta.core.records import Score
from adatta.evals import measures, statistics
from adatta.evals.pairs import pair_scores, score_value
from adatta.evals.power import is_non_inferior


def measure_forgetting(
    base: Sequence[Score], adapted: Sequence[Score], *, chance: float, margin: float
) -> dict[str, Any]:
    """Measure what adaptation lost on one task by one metric, over the items that both were scored on.

    Args:
        base: One score an item, of a share where higher is better.
        adapted: The other model's scores of the same items.
        chance: What guessing gets.
        margin: Loss that still counts as none, positive, declared before the run.

    Returns:
        `base`, `adapted` and their paired `difference`; `relative_loss`, the share of what the base knew
        above chance that is lost, with the interval of the difference, the base's figure taken as known (None
        where the base isn't above chance); `negative_flips` and `positive_flips`, the shares of items with a
        lower and a higher score than before; `is_non_inferior` by `margin`; `n` items.

    Raises:
        EvalError: Scores of several tasks, metrics or models; other items or prompts; no item in common that
            was scored.

    Source: own; flips: arXiv:2011.09161 (negative flip rate).
    """
    names = {(row.suite, row.task, row.metric) for row in (*base, *adapted)}
    if len(names) != 1 or any(len({row.stage for row in rows}) != 1 for rows in (base, adapted)):
        raise EvalError(
            "forgetting is of one model on one task by one metric; give one score an item of each"
        )
    pairs = pair_scores({row.item_id: row for row in base}, {row.item_id: row for row in adapted})
    before, after = [score_value(row) for row, _ in pairs], [score_value(row) for _, row in pairs]
    difference = statistics.paired_difference(before, after, clusters=[row.cluster_id for row, _ in pairs])
    interval = difference.interval and list(difference.interval)
    old, new = fmean(before), fmean(after)
    loss = None
    if old > chance:
        ends = interval and [measures.relative_loss(old, old + end, chance) for end in reversed(interval)]
        loss = {"value": measures.relative_loss(old, new, chance), "ci95": ends}
    return {
        "task": base[0].task,
        "metric": base[0].metric,
        "n": len(pairs),
        "chance": chance,
        "base": old,
        "adapted": new,
        "difference": {"value": difference.value, "ci95": interval},
        "relative_loss": loss,
        "negative_flips": fmean(one > two for one, two in zip(before, after, strict=True)),
        "positive_flips": fmean(one < two for one, two in zip(before, after, strict=True)),
        "margin": margin,
        "is_non_inferior": is_non_inferior(difference, margin),
    }
