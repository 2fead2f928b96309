"""Calibration of models whose confidence is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adatta.evals.calibration import describe_calibration
from tests.unit.evals.test_ask import constant, only_a, oracle, run
from tests.unit.evals.test_compare import make_scores


def test_each_task_metric_and_model_is_described():
    rows = make_scores("base", [1.0, 0.0]) + make_scores("sft", [1.0, 1.0])
    scores = [replace(row, probability=p) for row, p in zip(rows, (0.9, 0.9, 0.8, 0.6), strict=True)]
    base, sft = describe_calibration(scores)
    assert base == {
        "task": "pairs_it",
        "language": "it",
        "metric": "accuracy",
        "stage": "base",
        "n": 2,
        "probability": pytest.approx(0.9),
        "accuracy": 0.5,
        "ece": pytest.approx(0.4),
    }
    assert (sft["stage"], sft["accuracy"], sft["ece"]) == ("sft", 1.0, pytest.approx((0.2 + 0.4) / 2))


def test_scores_without_a_probability_are_passed_over():
    rows = make_scores("base", [1.0, 0.0])
    unscored = replace(rows[0], status="failed", score=None, reason="broken")
    assert describe_calibration([*rows, unscored]) == []


@pytest.mark.parametrize(
    ("model", "probability", "letters", "cloze"),
    [
        (lambda suite: constant, 0.25, 0.0, 0.0),  # sure of nothing and as often right
        (lambda suite: oracle(suite), 1.0, 0.0, 0.0),
        (lambda suite: oracle(suite, -100.0, 0.0), 1 / 3, 1 / 3, 1 / 3),  # three options tie, all wrong
        (lambda suite: only_a, pytest.approx(1 / (1 + 3 / 2.718281828459045**9)), None, None),
    ],
)
def test_models_that_are_known_have_known_errors(small_suite, model, probability, letters, cloze):
    found = {
        (entry["task"], entry["metric"]): entry
        for entry in describe_calibration(run(small_suite, log_probs=model(small_suite)))
    }
    assert list(found) == [
        ("questions_it", "accuracy_sum"),
        ("questions_letters_it", "accuracy"),
        ("questions_en", "accuracy_sum"),
    ]
    by_letter = found["questions_letters_it", "accuracy"]
    assert by_letter["probability"] == probability
    if letters is None:  # says A and is sure of it: right once in four
        assert by_letter["ece"] == pytest.approx(by_letter["probability"] - 0.25)
    else:
        assert by_letter["ece"] == pytest.approx(letters, abs=1e-12)
        assert found["questions_it", "accuracy_sum"]["ece"] == pytest.approx(cloze, abs=1e-12)
