"""Whether a model is as often right as it is sure: calibration over multiple choice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from adatta.core.records import Score
from adatta.evals import measures


def describe_calibration(scores: Iterable[Score]) -> list[dict[str, Any]]:
    """Compare confidence and accuracy of each model on each task that has probabilities.

    The probability is the softmax over the options' summed log-probs (`accuracy_sum` of questions) or over
    the log-probs of their letters, where an item's mean over its rotations counts.

    Args:
        scores: Of any models; those without a probability are passed over.

    Returns:
        `{"task", "language", "metric", "stage", "n", "probability", "accuracy", "ece"}`, means over `n` items
        and the expected calibration error, in the order of the scores.
    """
    groups: dict[tuple[str, str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in scores:
        if row.probability is not None and row.score is not None:
            groups[(row.task, row.language, row.metric, row.stage)].append((row.probability, row.score))
    return [
        dict(zip(("task", "language", "metric", "stage"), key, strict=True))
        | {
            "n": len(pairs),
            "probability": sum(probability for probability, _ in pairs) / len(pairs),
            "accuracy": sum(score for _, score in pairs) / len(pairs),
            "ece": measures.calibration_error(*zip(*pairs, strict=True)),
        }
        for key, pairs in groups.items()
    ]
