"""Figures that only a whole corpus has, from gold and predicted labels: macro F1, F1 of a class, MCC."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adatta.core.errors import EvalError
from adatta.evals.statistics import Estimate, Floats, draw_counts

# K labels, R resamples, G clusters; confusion matrices [..., gold, predicted]


class Labelled(NamedTuple):
    """Gold and predicted labels, one an item; a prediction may be no label at all."""

    gold: Sequence[str]
    predicted: Sequence[str]


def macro_f1(confusion: Floats) -> Floats:
    """Give the mean F1 over the labels that occur in gold or predictions [...].

    Source: van Rijsbergen 1979; a label that neither gold nor predictions have doesn't count.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    given = confusion.sum(-1) + confusion.sum(-2)
    f1 = np.divide(2 * hits, given, out=np.zeros_like(hits), where=given > 0)
    return np.asarray(f1.sum(-1) / np.maximum((given > 0).sum(-1), 1))


def mcc(confusion: Floats) -> Floats:
    """Give Matthews' correlation [...]; 0 where gold or predictions have one label only.

    Source: Gorodkin 2004 (several labels).
    """
    total, hits = confusion.sum((-2, -1)), np.trace(confusion, axis1=-2, axis2=-1)
    gold, predicted = confusion.sum(-1), confusion.sum(-2)
    covariance = total * hits - (gold * predicted).sum(-1)
    spread = np.sqrt((total**2 - (gold**2).sum(-1)) * (total**2 - (predicted**2).sum(-1)))
    return np.asarray(np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > 0))


FIGURES: dict[str, Callable[[Floats], Floats]] = {"macro_f1": macro_f1, "mcc": mcc}


def corpus_estimate(
    figure: str, items: Labelled, *, base: Labelled | None = None, clusters: Sequence[Hashable] | None = None
) -> Estimate:
    """Estimate a figure over items, or how much it is above a base's on the same items.

    Args:
        figure: `macro_f1` or `mcc`.
        items: What a model predicted.
        base: What the base predicted, in the same order; both are drawn together.
        clusters: One cluster an item, drawn as a whole; None means that each item stands alone.

    Returns:
        The figure or difference, its bootstrap standard error, 95% percentile interval and, of a difference,
        two-sided p, at least 1/10,000; all but the first are None with one cluster.

    Raises:
        EvalError: Items, base and clusters don't fit together, or there are none.

    Source: Koehn 2004 (paired bootstrap).
    """
    models = [items] if base is None else [items, base]
    lengths = {len(part) for model in models for part in model} | ({len(clusters)} if clusters else set())
    if len(lengths) != 1 or 0 in lengths:
        raise EvalError(
            f"labels and clusters of {sorted(lengths)} items; expected as many of each, at least one"
        )
    labels = sorted({label for model in models for part in model for label in part})
    names = clusters or range(len(items.gold))
    number_of = {name: number for number, name in enumerate(dict.fromkeys(names))}
    cluster_n = np.array([number_of[name] for name in names])
    value, drawn_R = 0.0, np.zeros(())
    for sign, model in zip((1, -1), models, strict=False):
        tables_GKK = _tabulate(model, labels, cluster_n)
        value += sign * float(FIGURES[figure](tables_GKK.sum(0)))
        parts = [
            FIGURES[figure](np.tensordot(counts, tables_GKK, axes=1))
            for counts in draw_counts(len(number_of))
        ]
        drawn_R = drawn_R + sign * np.concatenate(parts)
    if len(number_of) < 2:
        return Estimate(value, None, None)
    low, high = (float(end) for end in np.percentile(drawn_R, [2.5, 97.5]))
    tail = min(float((drawn_R <= 0).mean()), float((drawn_R >= 0).mean()))
    p = None if base is None else min(1.0, max(2 * tail, 1 / len(drawn_R)))
    return Estimate(value, float(drawn_R.std(ddof=1)), (low, high), p)


def _tabulate(model: Labelled, labels: Sequence[str], cluster_n: NDArray[np.int64]) -> Floats:
    """Count gold against predicted by cluster [G, K, K]."""
    place = {label: number for number, label in enumerate(labels)}
    tables_GKK = np.zeros((int(cluster_n.max()) + 1, len(labels), len(labels)))
    gold, predicted = (np.array([place[label] for label in part]) for part in model)
    np.add.at(tables_GKK, (cluster_n, gold, predicted), 1.0)
    return tables_GKK
