"""Texts of the user's own, measured beside the suites."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adatta.core.errors import RecipeError, RowError
from adatta.core.problems import Checks
from adatta.core.recipe import load_recipe
from adatta.evals.suite import Suite
from adatta.pipeline.suites import load_suites


def load(folder: Path, texts: str) -> dict[str, tuple[Suite, ...]]:
    path = folder / "recipe.yaml"
    stage = f"  - evaluate: {{suites: [offline], texts: {texts}}}\n"
    path.write_text(f"name: r\nmodel: {{name: a/b}}\nstages:\n{stage}", encoding="utf-8")
    checks = Checks(is_quiet=True)
    suites = load_suites(load_recipe(path), checks=checks)
    if checks.problems:
        raise checks.error()
    return suites


def write(path: Path, *rows: dict[str, str]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_own_texts_are_a_suite_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"testo": "Il faro è spento."}, {"testo": "La barca torna."})
    (tmp_path / "b.txt").write_text("The lamp is out.", encoding="utf-8")
    found = load(tmp_path, "{mare: {path: a.jsonl, fields: {text: testo}}, sea: {path: b.txt, language: en}}")
    offline, own = found["evaluate"]
    assert (offline.name, own.name) == ("offline", "texts")
    assert [(task.name, task.kind, task.language) for task in own.tasks] == [
        ("mare", "bits_per_byte", "it"),
        ("sea", "bits_per_byte", "en"),
    ]
    items = own.items()
    assert [item.fields["text"] for item in items["mare"]] == ["Il faro è spento.", "La barca torna."]
    assert [item.language for item in items["sea"]] == ["en"]


def test_identity_follows_the_texts_and_not_their_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.jsonl", {"text": "Il faro è spento."})
    write(tmp_path / "c.jsonl", {"text": "Il faro è acceso."})
    marks = [
        load(tmp_path, f"{{mine: {{path: {name}.jsonl}}}}")["evaluate"][-1].content_hash() for name in "abc"
    ]
    assert marks[0] == marks[1] != marks[2]


def test_mistakes_in_own_texts_are_told_with_their_line(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"text": "Il faro è spento."}, {"text": " "})
    write(tmp_path / "b.jsonl", {"prompt": "Dov'è il faro?", "completion": "Sul molo."})
    with pytest.raises(RowError) as caught:
        load(tmp_path, "{one: {path: a.jsonl}, two: {path: b.jsonl}}")
    places = [Path(problem.where).name for problem in caught.value.problems]
    assert places == ["a.jsonl:2", "b.jsonl:1"]


def test_path_that_leads_nowhere_is_told_at_its_line_of_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(RowError, match=r"recipe\.yaml:4: .*texts\.mine\.path: no file or folder 'no\.txt'"):
        load(tmp_path, "{mine: {path: no.txt}}")


def test_wrong_name_of_a_field_is_told_once_and_hides_no_other_text(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"testo": "Il faro è spento."}, {"testo": "La barca torna."})
    write(tmp_path / "b.jsonl", {"text": " "})
    with pytest.raises(RowError) as caught:
        load(tmp_path, "{one: {path: a.jsonl, fields: {text: tseto}}, two: {path: b.jsonl}}")
    first, second = caught.value.problems
    assert Path(first.where).name == "recipe.yaml:4"
    what = "no row has 'tseto'; did you mean 'testo'?"
    assert first.what == f"stages.0.evaluate.texts.one.fields.text: {what}"
    assert first.hint == "keys of the first row: testo"
    assert Path(second.where).name == "b.jsonl:1"


def test_text_that_stands_twice_is_told(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"text": "Perché no?"}, {"text": "Perche\u0301 no?"})
    with pytest.raises(RowError, match=r"a\.jsonl:2: the same text stands at .*a\.jsonl:1"):
        load(tmp_path, "{one: {path: a.jsonl}}")


def test_groups_of_rows_are_clusters_and_texts_are_composed(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"text": "Perche\u0301 no?", "group": "g"}, {"text": "Chissà.", "group": "g"})
    items = load(tmp_path, "{one: {path: a.jsonl}}")["evaluate"][-1].items()["one"]
    assert [item.cluster_id for item in items] == ["g", "g"]
    assert items[0].fields["text"] == "Perché no?"


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ("{Non-va: {path: a.txt}}", "'Non-va': write up to 60 of a-z"),
        (f"{{{'a' * 61}: {{path: a.txt}}}}", "'a+': write up to 60 of a-z"),
        ("{mine: {path: a.txt, language: klingon}}", "texts.mine.language"),
    ],
)
def test_names_and_languages_that_cannot_be_are_told(tmp_path: Path, texts: str, told: str) -> None:
    (tmp_path / "a.txt").write_text("Ciao.", encoding="utf-8")
    with pytest.raises(RecipeError, match=told):
        load(tmp_path, texts)
