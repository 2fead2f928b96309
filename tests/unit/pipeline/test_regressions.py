"""The worst regressions: what was asked, the options, the right one, and what each model chose."""

from __future__ import annotations

from collections import Counter

import pytest

from adatta.evals.compare import compare
from adatta.evals.suite import load_suite
from adatta.pipeline.regressions import NUM_SHOWN, find_regressions
from tests.unit.evals.test_ask import oracle, run

SUITE = load_suite("offline")


@pytest.fixture(scope="module")
def rows():
    scores = [
        *run(SUITE, stage="base", log_probs=oracle(SUITE)),
        *run(SUITE, stage="sft", log_probs=oracle(SUITE, right=-100.0, wrong=0.0)),
    ]
    metrics = compare(scores, base_stage="base", stages=["sft"])
    return find_regressions(scores, metrics=metrics, suites=[SUITE])


def test_each_task_in_turn_up_to_ten(rows):
    assert len(rows) == NUM_SHOWN
    counts = Counter(row["task"] for row in rows)
    assert counts.keys() == {task.name for task in SUITE.tasks} - {"prompts_it"}  # all answer alike
    assert set(counts.values()) == {1, 2}


def test_texts_stand_there_whole(rows):
    texts = {
        item.fields["text"] for items in SUITE.items().values() for item in items if "text" in item.fields
    }
    assert {row["question"] for row in rows if row["metric"] == "bits_per_byte"} <= texts


def test_options_right_answer_and_choices_stand_there_as_texts(rows):
    for row in (row for row in rows if row["metric"] != "bits_per_byte"):
        options = set(row["options"])
        assert len(options) >= 2
        assert row["answer"] in options
        asked = row["question"] or row["group"]
        assert asked
        if row["task"] == "questions_letters_it":
            num = len(options)
            assert row["base"] == {"score": 1.0, "output": f"{row['answer']} ({num} of {num})"}
            assert f"{row['answer']} (" not in row["adapted"]["output"]
        else:
            assert row["base"] == {"score": 1.0, "output": row["answer"]}
            assert row["adapted"]["score"] == 0.0
            assert row["answer"] not in row["adapted"]["output"].split(" | ")
            assert set(row["adapted"]["output"].split(" | ")) <= options


def test_kind_of_item_stands_with_it(rows):
    assert all(row["group"] for row in rows if row["task"] in ("pairs_it", "preferences_it"))


def test_nothing_lost_shows_nothing():
    scores = [score for stage in ("base", "sft") for score in run(SUITE, stage=stage)]
    metrics = compare(scores, base_stage="base", stages=["sft"])
    assert find_regressions(scores, metrics=metrics, suites=[SUITE]) == []
