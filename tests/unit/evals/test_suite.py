"""Suites: their files, their items, their identity."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace

import pytest

from adatta.core.errors import DataError, RecipeError, RowError
from adatta.core.fingerprint import content_id
from adatta.core.registry import load_registry
from adatta.evals.suite import load_suite, load_tasks
from tests.unit.evals.conftest import FILES, write_files


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("offline-dev", (30, 25, 100, 100, 50, 150, 70, 40)),
        ("offline", (30, 15, 100, 100, 50, 150, 140, 120)),
    ],
)
def test_the_halves_of_the_own_sets_share_no_item(name, counts):
    halves = {name: load_suite(name).items() for name in ("offline-dev", "offline")}
    assert tuple(len(items) for items in halves[name].values()) == counts
    for task, items in halves["offline-dev"].items():
        assert not {item.item_id for item in items} & {item.item_id for item in halves["offline"][task]}


def test_suites_and_their_tasks_are_found_by_name():
    suites = load_registry("adatta.evals.suites")
    assert suites
    for name, suite in suites.items():
        assert load_suite(suite.name) is suite
        assert suite.name == name.replace("_", "-")
        assert len({task.name for task in suite.tasks}) == len(suite.tasks)
        assert {task.kind for task in suite.tasks} <= set(load_tasks())


def test_two_tasks_may_ask_the_items_of_one_file(small_suite):
    items = small_suite.items()
    given = [[item.item_id for item in items[name]] for name in ("questions_it", "questions_letters_it")]
    assert given[0] == given[1]
    assert {item.task for item in items["questions_letters_it"]} == {"questions_letters_it"}


def test_unknown_suite_names_the_known_ones():
    with pytest.raises(RecipeError, match="offline"):
        load_suite("offlin")


def test_item_id_is_of_the_content_alone(small_suite):
    item = small_suite.items()["pairs_it"][0]
    assert item.item_id == content_id(FILES["pairs_it"][0])
    write_files(small_suite.folder, {"pairs_it": FILES["pairs_it"][::-1]})
    assert {item.item_id for item in small_suite.items()["pairs_it"]} == {
        content_id(row) for row in FILES["pairs_it"]
    }


def test_text_is_composed_before_anything_looks_at_it(small_suite):
    before = small_suite.items()["text_it"]
    rows = [
        {key: unicodedata.normalize("NFD", value) for key, value in row.items()} for row in FILES["text_it"]
    ]
    write_files(small_suite.folder, {"text_it": rows})
    assert small_suite.items()["text_it"] == before


def test_content_hash_changes_with_files_version_and_tasks(small_suite):
    hashes = [small_suite.content_hash()]
    hashes.append(replace(small_suite, version=small_suite.version + 1).content_hash())
    hashes.append(replace(small_suite, tasks=small_suite.tasks[:-1]).content_hash())
    write_files(small_suite.folder, {"pairs_it": FILES["pairs_it"][:1]})
    hashes.append(small_suite.content_hash())
    assert len(set(hashes)) == 4


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("text_it", {"text": "  "}, "empty text"),
        ("text_it", {"titel": "a"}, "titel"),
        ("questions_it", {"options": ["a", "a"]}, "all different"),
        ("questions_it", {"options": ["a", 1]}, "options must be texts"),
        ("questions_it", {"options": ["a "]}, "options must be texts"),
        ("questions_it", {"options": ["a"], "answer": 0}, "at least two"),
        ("questions_it", {"answer": 4}, "isn't the index"),
        ("questions_it", {"answer": -1}, "isn't the index"),
        ("questions_it", {"answer": True}, "wrong type: answer"),
        ("questions_it", {"question": ""}, "empty question"),
        ("questions_en", {"answer": 4}, "isn't the index"),
        ("preferences_it", {"prompt": []}, "must be the user's"),
        ("preferences_it", {"rejected": "Ne ha otto."}, "the same answer"),
        ("pairs_it", {"wrong": "Le case sono belle."}, "the same sentence"),
        ("prompts_it", {"prompt": None}, "wrong type: prompt"),
    ],
)
def test_broken_item_is_named_with_its_line(small_suite, task, change, message):
    write_files(small_suite.folder, {task: [FILES[task][1], {**FILES[task][0], **change}]})
    with pytest.raises(RowError, match=message) as caught:
        small_suite.items()
    assert [problem.where for problem in caught.value.problems] == [
        str(small_suite.folder / f"{task}.jsonl:2")
    ]


def test_all_mistakes_are_named_at_once(small_suite):
    write_files(small_suite.folder, {"pairs_it": [FILES["pairs_it"][0]] * 2, "prompts_it": []})
    with (small_suite.folder / "text_it.jsonl").open("a") as file:
        file.write("{broken\n")
    with pytest.raises(RowError) as caught:
        small_suite.items()
    assert [problem.what.partition(":")[0] for problem in caught.value.problems] == [
        "broken JSON",
        "the same item stands above; an item counts once",
        "no items",
    ]


def test_missing_file_is_an_error(small_suite):
    small_suite.path(small_suite.tasks[0]).unlink()
    with pytest.raises(DataError, match="text_it"):
        small_suite.items()


@pytest.mark.parametrize("name", ["offline", "offline-dev"])
def test_bundled_files_are_plain_json_lines(name):
    for task in load_suite(name).tasks:
        for line in load_suite(name).path(task).read_text(encoding="utf-8").splitlines():
            assert set(json.loads(line)) == set(task.task.fields)
