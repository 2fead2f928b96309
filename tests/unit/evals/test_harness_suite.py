"""Suites of benchmarks: complete, offline, with tasks that the installed harness has."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from adatta.core.errors import RecipeError
from adatta.evals.harness_formats import CONVERTERS
from adatta.evals.harness_suite import (
    FormatName,
    HarnessTask,
    find_benchmark_metric,
    list_harness_suites,
    load_harness_suite,
)

LEADERBOARD = {
    "arc_challenge": (25, "acc_norm"),
    "hellaswag": (10, "acc_norm"),
    "mmlu": (5, "acc"),
    "truthfulqa_mc2": (0, "acc"),
    "winogrande": (5, "acc"),
    "gsm8k": (5, "exact_match,strict-match"),
}


def test_each_suite_has_a_quick_one_of_1000_items():
    assert list_harness_suites() == ("english", "quick-english", "italian", "quick-italian")
    for name in ("italian", "english"):
        suite, quick = load_harness_suite(name), load_harness_suite(f"quick-{name}")
        assert suite.num_items is None
        assert (quick.name, quick.num_items) == (f"quick-{name}", 1000)
        slow = [task.name for task in suite.tasks if task not in quick.tasks]
        assert slow == (["mmlu_prox_lite_it"] if name == "italian" else [])
        assert quick.tasks == tuple(task for task in suite.tasks if task.name not in slow)


def test_an_unknown_suite_names_those_that_there_are():
    with pytest.raises(
        RecipeError, match="unknown suite 'itaian'; there are: english, quick-english, italian"
    ):
        load_harness_suite("itaian")


def test_english_is_the_leaderboard_of_six():
    tasks = load_harness_suite("english").tasks
    assert {task.name: (task.shots.count, task.metric) for task in tasks} == LEADERBOARD


def test_italian_has_what_the_field_reports_and_native_sets_beside():
    tasks = {task.name: task for task in load_harness_suite("italian").tasks}
    assert [tasks[name].shots.count for name in ("arc_it", "hellaswag_it", "m_mmlu_it")] == [0, 0, 5]
    native = {name for name, task in tasks.items() if task.origin == "native"}
    assert native >= {"italic_letters", "italic_texts", "itacola", "hatecheck_it", "include_it", "evalita_te"}


@pytest.mark.parametrize("suite", ["italian", "english"])
def test_every_task_says_all_that_the_report_tells(suite):
    tasks = load_harness_suite(suite).tasks
    assert len({task.name for task in tasks}) == len(tasks)
    for task in tasks:
        assert task.metric in task.metrics, task.name
        assert task.licence, task.name
        assert task.origin, task.name
        assert task.note.count("\n") == 0, task.name
        assert task.data.hub, task.name
        assert task.data.split in task.data.files, task.name
        assert not task.shots.count or task.shots.split in task.data.files, task.name
        named = {*task.question, task.cluster, task.group} - {None}
        assert task.question, task.name
        assert named <= set(task.data.columns), task.name


def test_no_suite_names_a_commit():
    for file in resources.files("adatta.evals.suites").iterdir():
        if file.name.endswith(".yaml"):
            assert not re.search(r"\b[0-9a-f]{7,}\b", file.read_text(encoding="utf-8"))


def test_every_format_has_its_reader():
    assert set(CONVERTERS) | {"rows"} == set(FormatName.__args__)


@pytest.mark.torch
@pytest.mark.parametrize("suite", ["italian", "english"])
def test_every_task_is_in_the_installed_harness_or_ours(suite):
    from adatta.evals.harness_run import find_tasks

    values = {
        "subject": "abstract_algebra",
        "domain": "Arts & Humanities",
        "subject_category": "Social Sciences",
        "category": "computer science",
    }
    for task in load_harness_suite(suite).tasks:
        part = task.part(values)
        folder, _, name = part.rpartition("/")
        assert name in find_tasks(folder).all_tasks


def test_evalita_has_all_of_its_ten_tasks():
    names = {task.name for task in load_harness_suite("italian").tasks}
    evalita = ("te", "sa", "wic", "hs", "at", "faq", "ls", "ner_adg", "ner_fic", "ner_wn", "re", "sum_small")
    assert {f"evalita_{name}" for name in evalita} <= names


def test_published_numbers_of_rows_are_known():
    sizes = {
        task.name: task.num_rows
        for suite in ("italian", "english")
        for task in load_harness_suite(suite).tasks
    }
    assert (sizes["mmlu"], sizes["hatecheck_it"], sizes["italic_texts"]) == (14_042, 3_690, 10_000)
    assert sizes["evalita_te"] is None  # nothing confirms one


@pytest.mark.parametrize(
    ("suite", "task", "name", "kind", "primary"),
    [
        ("italian", "arc_it", "acc_norm", "share", True),
        ("italian", "arc_it", "acc", "share", False),
        ("italian", "mela_it (chat)", "mcc", "mcc", True),
        ("english", "mmlu", "acc_by_group", "group_mean", False),
        ("mele", "pere", "acc", "share", True),
        ("mele", "pere", "acc_norm", "share", False),
    ],
)
def test_a_metric_is_primary_where_its_suite_says_so_and_a_users_where_it_comes_first(
    suite, task, name, kind, primary
):
    metric = find_benchmark_metric(suite, task, name=name, first="acc")
    assert (metric.kind, metric.primary) == (kind, primary)


def test_columns_that_are_not_there_are_no_question():
    task = load_harness_suite("italian").tasks[0]
    with pytest.raises(ValueError, match="columns have no domanda"):
        HarnessTask.model_validate(task.model_dump() | {"question": ("domanda",)})
