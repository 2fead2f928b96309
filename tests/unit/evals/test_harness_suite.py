"""Suites of benchmarks: complete, offline, with tasks that the installed harness has."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from adatta.core.errors import RecipeError
from adatta.evals.harness_formats import CONVERTERS
from adatta.evals.harness_suite import FormatName, list_harness_suites, load_harness_suite, load_task_file

LEADERBOARD = {
    "arc_challenge": (25, "acc_norm"),
    "hellaswag": (10, "acc_norm"),
    "mmlu": (5, "acc"),
    "truthfulqa_mc2": (0, "acc"),
    "winogrande": (5, "acc"),
    "gsm8k": (5, "exact_match,strict-match"),
}
TASK = """
task: mele
output_type: multiple_choice
validation_split: prova
fewshot_split: esempi
num_fewshot: 2
doc_to_text: "{{domanda}}"
doc_to_choice: ["sì", "no"]
doc_to_target: giusta
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
files: {prova: ["prova.csv"], esempi: ["esempi.csv"]}
fields: {domanda: testo}
columns: {domanda: str, giusta: int}
question: [domanda]
licence: mia
"""


def test_each_suite_has_a_quick_one_of_1000_items():
    assert list_harness_suites() == ("english", "quick-english", "italian", "quick-italian")
    for name in ("italian", "english"):
        suite, quick = load_harness_suite(name), load_harness_suite(f"quick-{name}")
        assert suite.num_items is None
        assert (quick.name, quick.num_items, quick.tasks) == (f"quick-{name}", 1000, suite.tasks)


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

    parts = {"mmlu": ["subject"], "include_it": ["domain"]}
    values = {"subject": "abstract_algebra", "domain": "Arts & Humanities"}
    for task in load_harness_suite(suite).tasks:
        part = task.part({name: values[name] for name in parts.get(task.name, [])})
        folder, _, name = part.rpartition("/")
        assert name in find_tasks(folder).all_tasks


@pytest.mark.torch
def test_a_users_task_is_the_harness_own_yaml_with_our_keys(tmp_path):
    path = tmp_path / "mele.yaml"
    path.write_text(TASK, encoding="utf-8")
    task = load_task_file(path)
    assert (task.name, task.data.split, task.data.fields, task.licence) == (
        "mele",
        "prova",
        {"domanda": "testo"},
        "mia",
    )
    assert (task.shots.count, task.shots.split, task.shots.rule) == (2, "esempi", "smallest-hash")
    assert "files" not in task.settings
    assert task.settings["doc_to_text"] == "{{domanda}}"


@pytest.mark.torch
@pytest.mark.parametrize("text", ["chance: viel\n", "- una lista\n", None])
def test_a_users_task_with_a_mistake_names_its_file(tmp_path, text):
    path = tmp_path / "mele.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"mele\.yaml is no task"):
        load_task_file(path)
