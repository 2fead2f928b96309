"""The plan of a stage, made before its first step: rows of each step, learning rates, held-out points."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice

from adatta.core.errors import RecipeError
from adatta.core.settings import BudgetSettings, ScheduleSettings, TrainSettings

MOST_BETWEEN = 9  # held-out points between the first and the last step
FEWEST_TO_CHOOSE_BY = 30  # held-out rows; with fewer the lowest loss is mostly chance
HOLDOUT_SHARE = 0.1  # of the tokens trained on may be measured at these points, but one there always is

# Share of the highest rate after the warm-up, given the share of the remaining steps that is done.
CURVES: dict[str, Callable[[float], float]] = {
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
}


def learning_rate(settings: ScheduleSettings, *, lr: float, step: int, num_steps: int) -> float:
    """Return the learning rate of a step.

    The warm-up rises evenly and reaches `lr` at its last step; the curve starts at `lr` and would reach its
    end one step after the last, so that no step is wasted on a rate of 0.

    Args:
        settings: the curve and the share of warm-up.
        lr: the highest rate.
        step: from 0.
        num_steps: planned steps.
    """
    warmup = round(settings.warmup_share * num_steps)
    if step < warmup:
        return lr * (step + 1) / warmup
    return lr * CURVES[settings.name]((step - warmup) / (num_steps - warmup))


def plan_steps(
    row_tokens: Sequence[int], *, rows: int, budget: BudgetSettings, seed: int
) -> tuple[tuple[int, ...], ...]:
    """Return the indices of the rows that each optimizer step sees.

    Rows come in a new order each epoch, drawn from the seed and the epoch's number; a step may end one
    epoch and begin the next. Only the last step of a budget in epochs may see fewer rows.

    Args:
        row_tokens: tokens of each row (a pair with its prompt counted as it is computed).
        rows: rows of a step.
        budget: in tokens (the step that reaches them is the last), steps or epochs.
        seed: decides the order.
    """
    order = _endless_order(len(row_tokens), seed)
    if budget.epochs is not None:
        total = max(1, round(budget.epochs * len(row_tokens)))
        indices = list(islice(order, total))
        return tuple(tuple(indices[start : start + rows]) for start in range(0, total, rows))
    steps: list[tuple[int, ...]] = []
    seen = 0
    while seen < (budget.tokens or 0) or len(steps) < (budget.steps or 0):
        steps.append(tuple(islice(order, rows)))
        seen += sum(row_tokens[index] for index in steps[-1])
    return tuple(steps)


def holdout_steps(num_steps: int, *, tokens: int, holdout_tokens: int) -> frozenset[int]:
    """Return after how many steps the held-out loss is measured: 0, the end, and one to nine times between.

    Args:
        num_steps: planned steps.
        tokens: that these steps see.
        holdout_tokens: that one measurement sees; 0 where nothing is held out.
    """
    if not holdout_tokens:
        return frozenset()
    between = min(max(1, int(HOLDOUT_SHARE * tokens / holdout_tokens)), MOST_BETWEEN, num_steps - 1)
    return frozenset(round(num_steps * point / (between + 1)) for point in range(between + 2))


def refuse_few_holdout(settings: TrainSettings, num_holdout: int, *, where: str) -> None:
    """Check that there are rows to choose the best weights by.

    Args:
        settings: of the stage.
        num_holdout: its held-out rows.
        where: what the error calls the stage.

    Raises:
        RecipeError: if there are fewer than 30 for `keep: best`.
    """
    if settings.keep == "best" and num_holdout < FEWEST_TO_CHOOSE_BY:
        what = f"keep: best needs {FEWEST_TO_CHOOSE_BY} held-out rows to choose by, here are {num_holdout}"
        hint = "raise holdout.share or holdout.min_rows, or use keep: last"
        raise RecipeError(what, where=where, hint=hint)


def _endless_order(num_rows: int, seed: int) -> Iterator[int]:
    for epoch in count():
        indices = list(range(num_rows))
        random.Random(f"{seed} {epoch}").shuffle(indices)
        yield from indices
