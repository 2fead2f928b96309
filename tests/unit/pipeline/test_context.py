"""What a run decides before anything is read: suites where the recipe names none, names that are taken."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from adatta.core.errors import RecipeError
from adatta.core.recipe import LoadedRecipe, load_recipe
from adatta.lang.profile import load_profile
from adatta.pipeline.context import name_suites, refuse_unexportable, refuse_unknown_names


def load(folder: Path, stage: str) -> LoadedRecipe:
    path = folder / "recipe.yaml"
    path.write_text(f"name: r\nmodel: {{name: a/b}}\nstages:\n  - evaluate: {stage}\n", encoding="utf-8")
    return load_recipe(path)


@pytest.mark.parametrize("stage", ["{}", "{max_new_tokens: 5}"])
def test_evaluate_without_suites_gets_those_of_the_language(tmp_path: Path, stage: str) -> None:
    profile = load_profile("it").model_copy(update={"suites": ("one", "two")})
    before = load(tmp_path, stage)
    named = name_suites(before, profile)
    assert named.recipe.stages[0].evaluation.suites == ("one", "two")
    assert named.resolved["stages"][0]["evaluate"]["suites"] == ["one", "two"]
    unchanged = named.recipe.stages[0].evaluation.model_copy(update={"suites": ("offline",)})
    assert unchanged == before.recipe.stages[0].evaluation


def test_named_suites_stay(tmp_path: Path) -> None:
    loaded = load(tmp_path, "{suites: [offline]}")
    assert name_suites(loaded, load_profile("it").model_copy(update={"suites": ()})) == loaded


def test_language_without_suites_needs_them_named(tmp_path: Path) -> None:
    profile = load_profile("it").model_copy(update={"suites": (), "english_name": "Spanish"})
    with pytest.raises(RecipeError, match=r"stages\.0\.evaluate\.suites: Spanish has no suites of its own"):
        name_suites(load(tmp_path, "{}"), profile)


def test_model_without_a_template_is_refused_only_where_an_export_would_need_one(tmp_path: Path) -> None:
    chat, path = SimpleNamespace(template=None), tmp_path / "recipe.yaml"
    refuse_unexportable(load(tmp_path, "{}"), None, chat=chat)
    path.write_text("name: r\nmodel: {name: a/b}\nstages:\n  - export: {formats: [safetensors]}\n")
    with pytest.raises(RecipeError, match=r"formats\.0: the model has no chat template to ship"):
        refuse_unexportable(load_recipe(path), None, chat=chat)


@pytest.mark.parametrize("suite", ["offline", "offline-dev"])
def test_text_named_as_a_task_of_a_suite_is_told_at_its_line(tmp_path: Path, suite: str) -> None:
    (tmp_path / "a.txt").write_text("Ciao.", encoding="utf-8")
    texts = "{mine: {path: a.txt}, text_it: {path: a.txt}}"
    with pytest.raises(RecipeError) as caught:
        refuse_unknown_names(load(tmp_path, f"{{suites: [{suite}], texts: {texts}}}"))
    (problem,) = caught.value.problems
    assert Path(problem.where).name == "recipe.yaml:4"
    assert problem.what == f"stages.0.evaluate.texts.text_it: a task of suite {suite} is called so"


def test_a_suite_of_the_users_own_is_found_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "mele.yaml").write_text("language: it\n", encoding="utf-8")
    loaded = load(tmp_path, "{suites: [offline, mele.yaml]}")
    assert loaded.recipe.stages[0].evaluation.suites == ("offline", str(tmp_path / "mele.yaml"))
    refuse_unknown_names(loaded)


@pytest.mark.parametrize(
    ("suite", "what", "hint"),
    [
        ("mele.yaml", "no file or folder 'mele.yaml'", "looked in "),
        ("mele.yml", "there is no 'mele.yml'", "there are: offline"),
        ("offlin", "there is no 'offlin'", "there are: offline"),
    ],
)
def test_suites_that_are_not_there_are_told_at_their_line(
    tmp_path: Path, suite: str, what: str, hint: str
) -> None:
    (tmp_path / "mele.yml").write_text("language: it\n", encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        refuse_unknown_names(load(tmp_path, f"{{suites: [offline, {suite}]}}"))
    (problem,) = caught.value.problems
    assert Path(problem.where).name == "recipe.yaml:4"
    assert problem.what == f"stages.0.evaluate.suites.1: {what}"
    assert problem.hint.startswith(hint)


def test_formats_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "mele.yaml").write_text("", encoding="utf-8")
    path = tmp_path / "recipe.yaml"
    text = f"name: r\nmodel: {{name: a/b}}\nstages:\n  - export: {{formats: [{tmp_path}/mele.yaml]}}\n"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match="there is no '"):
        refuse_unknown_names(load_recipe(path))
