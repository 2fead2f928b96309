"""Macro F1 and MCC: worked numbers, degenerate models, paired bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

from adatta.core.errors import EvalError
from adatta.evals.corpus import Labelled, corpus_estimate

HATEFUL = Labelled(["yes"] * 7 + ["no"] * 3, ["yes"] * 10)


def labels(true_positive, false_positive, false_negative, true_negative) -> Labelled:
    gold = ["1"] * true_positive + ["0"] * false_positive + ["1"] * false_negative + ["0"] * true_negative
    predicted = ["1"] * (true_positive + false_positive) + ["0"] * (false_negative + true_negative)
    return Labelled(gold, predicted)


def test_worked_mcc():
    assert corpus_estimate("mcc", labels(6, 1, 2, 3)).value == pytest.approx(0.4781, abs=5e-5)


@pytest.mark.parametrize(
    ("figure", "items", "expected"),
    [
        ("macro_f1", HATEFUL, 0.8235 / 2),
        ("mcc", HATEFUL, 0.0),
        ("macro_f1", labels(821, 154, 0, 0), 0.4571),
        ("mcc", labels(821, 154, 0, 0), 0.0),
        ("mcc", labels(0, 5, 5, 0), -1.0),
        ("mcc", labels(5, 0, 0, 5), 1.0),
        ("macro_f1", labels(5, 0, 0, 5), 1.0),
        ("macro_f1", Labelled(["a", "b"], ["", ""]), 0.0),  # what is no label lowers the mean
    ],
)
def test_degenerate_models(figure, items, expected):
    assert corpus_estimate(figure, items).value == pytest.approx(expected, abs=5e-5)


def test_a_model_against_itself():
    items = labels(40, 10, 10, 40)
    found = corpus_estimate("mcc", items, base=items)
    assert (found.value, found.standard_error, found.interval) == (0.0, 0.0, (0.0, 0.0))


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(0)
    gold = rng.choice(["a", "b"], 400).tolist()
    base = [label if rng.random() < 0.7 else "a" for label in gold]
    better = [label if rng.random() < 0.2 else guess for label, guess in zip(gold, base, strict=True)]
    paired = corpus_estimate("macro_f1", Labelled(gold, better), base=Labelled(gold, base))
    alone = [corpus_estimate("macro_f1", Labelled(gold, each)) for each in (base, better)]
    assert paired.value == pytest.approx(alone[1].value - alone[0].value)
    assert paired.interval[0] > 0
    assert paired.standard_error < min(each.standard_error for each in alone)


def test_clusters_are_drawn_whole():
    items = Labelled(["a", "b"] * 50, ["a", "a"] * 50)
    twice = Labelled([*items.gold, *items.gold], [*items.predicted, *items.predicted])
    clusters = list(range(100)) * 2
    alone, doubled = corpus_estimate("macro_f1", items), corpus_estimate("macro_f1", twice, clusters=clusters)
    assert doubled.interval == pytest.approx(alone.interval)
    assert corpus_estimate("macro_f1", items, clusters=[0] * 100).interval is None


@pytest.mark.parametrize("items", [Labelled([], []), Labelled(["a"], ["a", "b"])])
def test_what_does_not_fit_is_refused(items):
    with pytest.raises(EvalError, match="as many of each"):
        corpus_estimate("mcc", items)
