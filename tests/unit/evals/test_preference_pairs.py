"""Held-out preferences: what is given to the model, and what comes out."""

from __future__ import annotations

import pytest

from adatta.core.records import Item
from adatta.evals.suite import Branch, load_tasks

TASK = load_tasks()["preference_pairs"]
FIELDS = {
    "prompt": [{"role": "user", "content": "Quante zampe ha un ragno?"}],
    "chosen": "Ne ha otto.",  # 11 bytes
    "rejected": "Di zampe, un ragno ne ha dieci.",  # 31 bytes
    "fault": "wrong_fact",
}


@pytest.mark.parametrize(
    ("log_probs", "expected"),
    [
        ((-11.0, -62.0), {"accuracy": (1.0, "right"), "accuracy_sum": (1.0, "right")}),
        ((-11.0, -15.5), {"accuracy": (0.0, "wrong"), "accuracy_sum": (1.0, "right")}),
        ((-11.0, -31.0), {"accuracy": (0.5, "tie"), "accuracy_sum": (1.0, "right")}),
        ((-40.0, -31.0), {"accuracy": (0.0, "wrong"), "accuracy_sum": (0.0, "wrong")}),
    ],
)
def test_length_decides_in_the_sum_only(log_probs, expected):
    item = Item(item_id="1", task="preferences_it", language="it", cluster_id="1", fields=FIELDS)
    outcomes = TASK.measure(item, [Branch(value, 5) for value in log_probs])
    found = {each.metric: (each.score, each.output) for each in outcomes}
    assert found == {name: (score, verdict) for name, (score, verdict) in expected.items()}


def test_rules_judge_by_the_texts_alone():
    item = Item(item_id="1", task="preferences_it", language="it", cluster_id="1", fields=FIELDS)
    english = Item(
        item_id="2",
        task="preferences_it",
        language="it",
        cluster_id="2",
        fields=FIELDS | {"rejected": "A spider has eight legs, not six as insects have."},
    )
    assert [TASK.rules["longer"](each) for each in (item, english)] == [0.0, 0.0]
    assert [TASK.rules["language"](each) for each in (item, english)] == [0.5, 1.0]
    assert TASK.group(item) == "wrong_fact"


def test_language_rule_looks_past_quotes_of_the_prompt():
    quote = "The early bird catches the worm, as everybody knows."
    answers = {"chosen": f"Si traduce così: «{quote} {quote}»", "rejected": "Chi dorme non piglia pesci."}
    credits = []
    for asked in (f"Traduca: {quote} {quote}", "Quale proverbio intende?"):
        fields = FIELDS | answers | {"prompt": [{"role": "user", "content": asked}]}
        item = Item(item_id="1", task="preferences_it", language="it", cluster_id="1", fields=fields)
        credits.append(TASK.rules["language"](item))
    assert credits == [0.5, 0.0]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"prompt": []}, "must be the user's"),
        ({"prompt": [{"role": "assistant", "content": "Ciao."}]}, "must be the user's"),
        ({"prompt": [{"role": "user"}]}, "turns with role"),
        ({"prompt": [{"role": "robot", "content": "Ciao."}]}, "turns with role"),
        ({"prompt": [{"role": "user", "content": 3}]}, "turns with role"),
        ({"prompt": [{"role": "user", "content": " "}]}, "turns with role"),
        ({"rejected": FIELDS["chosen"]}, "same answer"),
    ],
)
def test_items_that_ask_nothing_are_refused(changed, told):
    assert told in TASK.find_fault(FIELDS | changed)
