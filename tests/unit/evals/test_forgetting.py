"""What an adaptation cost, on scores whose losses are known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adatta.core.errors import EvalError
from adatta.evals.forgetting import measure_forgetting
from adatta.evals.statistics import paired_difference
from tests.unit.evals.test_compare import make_scores

BASE = [1.0] * 13 + [0.0] * 7
ADAPTED = [1.0] * 10 + [0.0] * 3 + [1.0] + [0.0] * 6  # 3 lost, 1 won


def measure(base, adapted, *, chance=0.25, margin=0.02, **fields):
    return measure_forgetting(
        make_scores("base", base, **fields), make_scores("sft", adapted), chance=chance, margin=margin
    )


def test_relative_loss_equals_the_worked_number():
    found = measure(BASE, ADAPTED)
    assert (found["base"], found["adapted"], found["n"]) == (0.65, 0.55, 20)
    assert found["relative_loss"]["value"] == pytest.approx(0.25)
    assert (found["negative_flips"], found["positive_flips"]) == (3 / 20, 1 / 20)


def test_interval_of_the_loss_is_that_of_the_paired_difference():
    found = measure(BASE, ADAPTED)
    difference = paired_difference(BASE, ADAPTED)
    low, high = difference.interval
    assert found["difference"] == {"value": pytest.approx(-0.1), "ci95": [low, high]}
    assert found["relative_loss"]["ci95"] == pytest.approx([-high / 0.4, -low / 0.4])
    assert found["relative_loss"]["ci95"][0] < 0.25 < found["relative_loss"]["ci95"][1]


def test_items_of_a_cluster_stand_together():
    clusters = [str(number // 4) for number in range(20)]
    base, adapted = (
        [replace(row, cluster_id=name) for row, name in zip(rows, clusters, strict=True)]
        for rows in (make_scores("base", BASE), make_scores("sft", ADAPTED))
    )
    found = measure_forgetting(base, adapted, chance=0.25, margin=0.02)
    expected = paired_difference(BASE, ADAPTED, clusters=clusters).interval
    assert found["difference"]["ci95"] == list(expected) != list(paired_difference(BASE, ADAPTED).interval)


def test_no_loss_is_shown_within_the_margin_only():
    """2,000 items, 45 lost and 35 won: -0.005, standard error 0.0045, lower bound -0.0138."""
    base = [1.0] * 45 + [0.0] * 35 + [1.0] * 1920
    adapted = [0.0] * 45 + [1.0] * 35 + [1.0] * 1920
    found = {margin: measure(base, adapted, margin=margin) for margin in (0.02, 0.01)}
    assert found[0.02]["difference"]["value"] == pytest.approx(-0.005)
    assert found[0.02]["difference"]["ci95"][0] == pytest.approx(-0.0138, abs=1e-4)
    assert (found[0.02]["is_non_inferior"], found[0.01]["is_non_inferior"]) == (True, False)
    assert found[0.01]["margin"] == 0.01


def test_base_against_itself_lost_nothing():
    found = measure(BASE, BASE)
    assert found["difference"] == {"value": 0.0, "ci95": [0.0, 0.0]}
    assert found["relative_loss"] == {"value": 0.0, "ci95": [0.0, 0.0]}
    assert (found["negative_flips"], found["positive_flips"]) == (0.0, 0.0)
    assert found["is_non_inferior"]


def test_equal_accuracy_can_hide_flips():
    found = measure([1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0])
    assert found["difference"]["value"] == 0.0
    assert (found["negative_flips"], found["positive_flips"]) == (0.25, 0.25)
    assert not found["is_non_inferior"]


@pytest.mark.parametrize("base", [[1.0, 0.0, 0.0, 0.0], [0.0] * 4])
def test_base_that_guesses_has_nothing_to_lose(base):
    found = measure(base, [0.0] * 4)
    assert found["relative_loss"] is None
    assert found["difference"]["value"] == pytest.approx(-sum(base) / 4)


def test_one_item_has_no_interval_and_shows_nothing():
    found = measure([1.0], [1.0])
    assert found["relative_loss"] == {"value": 0.0, "ci95": None}
    assert found["difference"]["ci95"] is None
    assert not found["is_non_inferior"]


def test_items_that_one_model_lacks_are_left_out():
    adapted = make_scores("sft", ADAPTED)
    adapted[0] = replace(adapted[0], status="failed", score=None, reason="broken")
    found = measure_forgetting(make_scores("base", BASE), adapted, chance=0.25, margin=0.02)
    assert (found["n"], found["base"]) == (19, 12 / 19)


def test_other_items_tasks_and_models_are_refused():
    base, adapted = make_scores("base", BASE), make_scores("sft", ADAPTED)
    unscored = [replace(row, status="failed", score=None, reason="broken") for row in adapted]
    wrong = {
        "of one model": [[*adapted, *make_scores("dpo", BASE)], []],
        "on one task": [
            make_scores("sft", BASE, task="other"),
            make_scores("sft", BASE, metric="accuracy_sum"),
        ],
        "different items": [adapted[:-1]],
        "no items": [unscored],
    }
    for message, cases in wrong.items():
        for case in cases:
            with pytest.raises(EvalError, match=message):
                measure_forgetting(base, case, chance=0.25, margin=0.02)
