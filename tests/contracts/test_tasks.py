"""Every task: fields, faults, rows, outcomes; an entry in `EXAMPLES` is all that a new one needs."""

from __future__ import annotations

import itertools
import math

import pytest

from adatta.core.fingerprint import content_id
from adatta.core.records import Item
from adatta.evals.suite import Answer, AnswerTask, Branch, BranchTask, Metric, load_tasks
from tests.toys.byte_chat import ByteChat

EXAMPLES = {
    "bits_per_byte": {"text": "Il mare è calmo.", "title": "Mare", "register": "prosa"},
    "free_answers": {"prompt": "Che cosa è un faro?", "topic": "mare"},
    "minimal_pairs": {"right": "Il mare è calmo.", "wrong": "Il mare è calma.", "phenomenon": "agreement"},
    "preference_pairs": {
        "prompt": [{"role": "user", "content": "E il mare?"}],
        "chosen": "È calmo.",
        "rejected": "It is calm.",
        "fault": "wrong_language",
    },
    "lettered_choice": {
        "question": "E il mare?",
        "options": ["blu", "nero", "oro", "verde"],
        "answer": 0,
        "topic": "mare",
    },
    "multiple_choice": {"question": "E il mare?", "options": ["calmo", "blu"], "answer": 0, "topic": "mare"},
}
TASKS = load_tasks()
BRANCH_TASKS = [name for name, task in TASKS.items() if isinstance(task, BranchTask)]
ANSWER_TASKS = [name for name, task in TASKS.items() if isinstance(task, AnswerTask)]


def make_item(name):
    item_id = content_id(EXAMPLES[name])
    return Item(item_id=item_id, task=name, language="it", cluster_id=item_id, fields=EXAMPLES[name])


def check_outcomes(task, outcomes):
    assert [outcome.metric for outcome in outcomes] == [metric.name for metric in task.metrics]
    for outcome, metric in zip(outcomes, task.metrics, strict=True):
        if outcome.score is None:
            assert outcome.reason
            assert not metric.primary
            continue
        assert outcome.reason is None
        assert math.isfinite(outcome.score)
        assert metric.kind != "share" or 0.0 <= outcome.score <= 1.0
        assert metric.kind != "bits_per_byte" or outcome.num_bytes > 0


def test_every_task_has_an_example():
    assert sorted(TASKS) == sorted(EXAMPLES) == sorted(BRANCH_TASKS + ANSWER_TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_task_names_fields_and_metrics(name):
    task = TASKS[name]
    assert {field: type(value) for field, value in EXAMPLES[name].items()} == dict(task.fields)
    assert len({metric.name for metric in task.metrics}) == len(task.metrics) > 0
    assert sum(metric.primary for metric in task.metrics) == 1
    assert task.find_fault(EXAMPLES[name]) == ""


@pytest.mark.parametrize("name", TASKS)
def test_task_refuses_a_blank_field(name):
    for field, value in EXAMPLES[name].items():
        if isinstance(value, str):
            assert TASKS[name].find_fault({**EXAMPLES[name], field: " "})


@pytest.mark.parametrize("name", BRANCH_TASKS)
def test_rows_are_scored_behind_their_first_token_and_the_same_each_time(name):
    task, item = TASKS[name], make_item(name)
    rows = task.branches(item, ByteChat(), context=64)
    assert tuple(rows) == tuple(task.branches(item, ByteChat(), context=64))
    for row in rows:
        assert len(row.ids) == len(row.weights) <= 64
        assert row.weights[0] == 0.0
        assert any(row.weights)
        assert set(row.weights) <= {0.0, 1.0}
    assert content_id(task.question(item)) == content_id(task.question(item))


@pytest.mark.parametrize("name", BRANCH_TASKS)
def test_branches_become_one_outcome_a_metric(name):
    task, item = TASKS[name], make_item(name)
    num_rows = len(task.branches(item, ByteChat(), context=64))
    check_outcomes(task, task.measure(item, [Branch(-3.0 - number, 4) for number in range(num_rows)]))


@pytest.mark.parametrize("name", BRANCH_TASKS)
def test_more_likely_gold_never_lowers_the_figure(name):
    task, item = TASKS[name], make_item(name)
    num_rows = len(task.branches(item, ByteChat(), context=64))
    figures = []
    for gold in (-200.0, -5.0, -0.1):
        outcomes = task.measure(item, [Branch(gold, 4), *[Branch(-20.0, 4)] * (num_rows - 1)])
        signs = [1 if metric.higher_is_better else -1 for metric in task.metrics]
        figures.append([sign * outcome.score for sign, outcome in zip(signs, outcomes, strict=True)])
    for worse, better in itertools.pairwise(figures):
        assert all(before <= after for before, after in zip(worse, better, strict=True))
    assert figures[0] != figures[-1]


@pytest.mark.parametrize("name", ANSWER_TASKS)
@pytest.mark.parametrize("text", ["", "Il faro è una torre.", "\ufffd" * 40, "```"])
def test_any_answer_becomes_one_outcome_a_metric(name, text):
    task, item = TASKS[name], make_item(name)
    outcomes = task.measure(item, Answer(text, 5, False))
    check_outcomes(task, outcomes)
    assert {outcome.output for outcome in outcomes} == {text}
    assert task.prompt(item).strip()


@pytest.mark.parametrize("name", TASKS)
def test_task_says_what_must_not_stand_in_training_rows(name):
    text = TASKS[name].item_text(make_item(name))
    given = [value for value in EXAMPLES[name].values() if isinstance(value, str)]
    parts = [part for value in EXAMPLES[name].values() if isinstance(value, list) for part in value]
    given += [part["content"] if isinstance(part, dict) else part for part in parts]
    assert text.question in given
    assert {text.answer, text.passage} <= {"", *given}


def test_choice_is_looked_for_with_its_right_answer():
    assert TASKS["multiple_choice"].item_text(make_item("multiple_choice")) == ("E il mare?", "calmo", "")


def test_metrics_of_one_name_are_one_metric() -> None:
    found: dict[str, Metric] = {}
    for task in load_tasks().values():
        for metric in task.metrics:
            assert found.setdefault(metric.name, metric) == metric


@pytest.mark.parametrize("name", TASKS)
def test_what_a_reader_is_shown_holds_what_was_asked(name):
    shown, fields = TASKS[name].show(make_item(name)), EXAMPLES[name]
    asked = [fields[key] for key in ("text", "question", "right", "wrong", "chosen") if key in fields]
    assert {shown.question, *shown.options} >= set(asked)
    assert shown.answer in shown.options or not shown.options


@pytest.mark.parametrize("name", ["minimal_pairs", "preference_pairs"])
def test_choice_between_two_texts_is_read_as_the_text(name):
    shown = TASKS[name].show(make_item(name))
    assert [shown.read(output) for output in ("right", "wrong", "tie")] == [*shown.options, "tie"]


def test_letters_are_read_as_the_options_that_won():
    shown = TASKS["lettered_choice"].show(make_item("lettered_choice"))
    assert shown.read("A D C B") == "blu (4 of 4)"
    assert shown.read("A A AB D") == "oro (2 of 4), blu (1 of 4), nero (1 of 4), verde (1 of 4)"
