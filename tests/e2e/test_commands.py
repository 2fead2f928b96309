"""The commands beside `run`: init, eval, export, show, on toy models."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from adatta.core.fingerprint import hash_file
from adatta.core.recipe import load_recipe
from adatta.evals import harness_run, runner
from adatta.evals.scores import read_scores, write_scores
from adatta.evals.suite import load_suite
from tests.toys import benchmarks
from tests.toys.command import call
from tests.toys.models import toy_model
from tests.toys.recipes import write_toy_recipe

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("small_suite")]


def test_init_writes_a_short_commented_recipe_that_loads(work: Path) -> None:
    assert call("init", "mine") == 0
    text = (work / "mine" / "recipe.yaml").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert text.count("#") >= 8
    kinds = [stage.kind for stage in load_recipe(work / "mine" / "recipe.yaml").recipe.stages]
    assert kinds == ["sft", "dpo", "adapt", "evaluate", "export", "report"]


def test_init_with_an_own_file_trains_on_it_alone(work: Path) -> None:
    rows = work / "own.jsonl"
    rows.write_text('{"text": "Ciao"}\n', encoding="utf-8")
    assert call("init", "mine", "--text", str(rows), "--base", "org/model") == 0
    recipe = load_recipe(work / "mine" / "recipe.yaml").recipe
    assert [stage.kind for stage in recipe.stages] == ["adapt", "evaluate", "export", "report"]
    assert recipe.model.name == "org/model"
    assert recipe.stages[0].training.data[0].path == str(rows)


def test_init_never_overwrites_and_names_missing_files(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("init", "mine") == 0
    assert call("init", "mine", "--sft", "nowhere.jsonl") == 2
    said = capsys.readouterr().err
    assert "nowhere.jsonl" in said
    assert "there is a recipe already" in said


LIMITS = ("--set", "context=512", "--set", "precision=fp32", "--set", "stages.evaluate.max_new_tokens=4")


def write_italic(folder: Path) -> None:
    files = benchmarks.italian_releases().items()
    wanted = {name: text for name, text in files if "italic" in name or "5_shots" in name}
    benchmarks.write_files(folder, wanted)


def read_metrics(work: Path, name: str) -> list:
    return json.loads((work / "runs" / name / "report.json").read_text(encoding="utf-8"))["metrics"]


def test_eval_compares_models_with_the_first_one_and_reports(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, third = (toy_model(work / name, "llama", tied=True, seed=5) for name in ("other", "base"))
    assert call("eval", str(toy_folder), str(other), str(third), *LIMITS) == 0
    said = capsys.readouterr().out
    assert "text_it bits_per_byte (bits/byte, n = 8, lower is better)" in said
    metrics = read_metrics(work, "eval")
    assert {entry["task"] for entry in metrics} >= {"text_it", "questions_it", "pairs_it", "prompts_it"}
    for entry in metrics:
        assert all(
            entry["stages"][name]["difference"] or entry["unscored"] for name in ("other", "model-base")
        )
    assert (work / "runs" / "eval" / "report.html").exists()
    assert call("eval", str(toy_folder), str(other), str(third), *LIMITS) == 0
    assert "1/2 evaluate: reused" in capsys.readouterr().out


def plain_model(folder: Path, *, seed: int) -> Path:
    """A model that has no chat template, as base models have none."""
    toy_model(folder, "llama", tied=True, seed=seed)
    (folder / "chat_template.jinja").unlink()
    return folder


CHAT_TASKS = {"prompts_it", "preferences_it"}


@pytest.mark.parametrize("without", ["both", "base", "adapted"])
def test_eval_measures_models_without_chat_template(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str], without: str
) -> None:
    base = toy_folder if without == "adapted" else plain_model(work / "plain", seed=3)
    other = toy_folder if without == "base" else plain_model(work / "other", seed=5)
    assert call("eval", str(base), str(other), *LIMITS) == 0
    assert "not run: no chat template" in capsys.readouterr().out
    report = json.loads((work / "runs" / "eval" / "report.json").read_text(encoding="utf-8"))
    assert report["problems"] == []
    for entry in report["metrics"]:
        is_chat = entry["task"] in CHAT_TASKS
        adapted = entry["stages"][other.name]
        assert entry["protocol"] == ("chat template" if is_chat else "plain text")
        assert ("not_run" in entry["base"]) == (is_chat and without != "adapted")
        assert ("not_run" in adapted) == (is_chat and without != "base")
        if is_chat:
            assert adapted["difference"] is None
            assert not (entry["primary"] and without != "adapted")
        else:
            assert adapted["difference"]["ci95"] is not None
    page = (work / "runs" / "eval" / "report.html").read_text(encoding="utf-8")
    whose = {"both": f"base, {other.name}", "base": "base", "adapted": other.name}[without]
    assert f"prompts_it of {whose}: no chat template" in page
    num_primary = 6 if without != "adapted" else 8
    assert f"Of {num_primary} primary figures" in page


def test_base_model_can_be_adapted_to_text_but_not_exported(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_toy_recipe(work / "plain-run", plain_model(work / "plain", seed=3))
    recipe = YAML(typ="safe", pure=True).load(path)
    stages = {kind: stage for entry in recipe["stages"] for kind, stage in entry.items()}
    wanted = ("adapt", "evaluate", "export", "report")
    recipe["stages"] = [{kind: stages[kind]} for kind in wanted]
    YAML().dump(recipe, path)
    assert call("run", str(path)) == 2
    assert "the model has no chat template to ship" in capsys.readouterr().err
    recipe["stages"] = [{kind: stages[kind]} for kind in wanted if kind != "export"]
    YAML().dump(recipe, path)
    assert call("run", str(path)) == 0


def test_eval_measures_only_the_model_that_is_new(
    work: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adatta.pipeline import stages

    asked = []
    measure = stages.measure
    monkeypatch.setattr(
        stages, "measure", lambda *given, **more: asked.append(given[2]) or measure(*given, **more)
    )
    other = toy_model(work / "other", "llama", tied=True, seed=5)
    assert call("eval", str(toy_folder), *LIMITS) == 0
    assert call("eval", str(toy_folder), str(other), *LIMITS) == 0
    assert asked == ["base", "other"]


def test_eval_of_a_model_with_itself_finds_no_difference(work: Path, toy_folder: Path) -> None:
    twin = toy_model(work / "twin", "llama", tied=True, seed=0)
    assert call("eval", str(toy_folder), str(twin), *LIMITS, "--name", "same") == 0
    differences = [entry["stages"]["twin"]["difference"] for entry in read_metrics(work, "same")]
    assert {difference["value"] for difference in differences if difference} == {0.0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{toy}", "{toy}"), "named twice"),
        (("{toy}", "{toy}/../{toy.name}"), "named twice"),
        ((), "no model is named"),
        (("nowhere",), "model.name: no model 'nowhere'"),
        (("{toy}", "nowhere"), "others.nowhere"),
        (("{toy}", "empty"), "others.empty: empty has no config.json"),
        (("{toy}", "notes.txt"), "is a file; a model is a folder"),
        (("{toy}", "no-weights"), "lacks *.safetensors"),
        (("{toy}", "package:nothing/x.gguf"), "needs the package nothing"),
        (("{toy}", "--language", "xx"), "language 'xx' has no profile"),
        (("{toy}", "--name", "../elsewhere"), "can't name a run"),
        (("{toy}", "--name", ""), "can't name a run"),
        (("{toy}", "--set", "precision"), "write --set path=value"),
        (("{toy}", "--set", "stages.evaluate.nothing=1"), "unknown key 'nothing'"),
        (("{toy}", "--suite", "none"), "there is no 'none'"),
        (("{toy}", "--set", "precision=fp8"), "precision"),
        (("--plan", "--suite", "none"), "unknown suite"),
        (("{toy}", "--data-dir", "nowhere"), "there is no folder nowhere"),
        (("{toy}", "--data-dir", "nowhere", "--suite", "italian"), "there is no folder nowhere"),
    ],
)
def test_eval_says_what_is_wrong(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    (work / "empty").mkdir()
    (work / "notes.txt").write_text("ciao", encoding="utf-8")
    shutil.copytree(toy_folder, work / "no-weights", ignore=shutil.ignore_patterns("*.safetensors"))
    assert call("eval", *(part.format(toy=toy_folder) for part in arguments)) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("adatta: ") == 1
    assert "Traceback" not in told
    assert len(told.splitlines()) <= 2
    assert not (work / "elsewhere").exists()


def test_models_of_one_name_keep_theirs_by_order_and_the_second_is_the_adapted_one(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, third = (toy_model(work / part / "same", "llama", tied=True, seed=5) for part in "xy")
    assert call("eval", str(toy_folder), str(other), str(third), *LIMITS) == 0
    said = capsys.readouterr().out
    assert f"base: {toy_folder}\nsame: {other}\nsame-2: {third}\n" in said
    report = json.loads((work / "runs" / "eval" / "report.json").read_text(encoding="utf-8"))
    assert report["verdict"]["headline"] in said
    assert report["expected"]["evaluated"] == ["base", "same-2", "same"]  # the last one is the adapted one


def test_eval_leaves_a_run_of_a_recipe_alone(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = work / "runs" / "demo"
    run.mkdir(parents=True)
    (run / "recipe.yaml").write_text("name: demo\n", encoding="utf-8")
    assert call("eval", str(toy_folder), "--name", "demo", *LIMITS) == 2
    assert "run demo is another recipe's; give another --name" in capsys.readouterr().err
    assert [path.name for path in run.iterdir()] == ["recipe.yaml"]


def test_eval_asks_public_benchmarks_from_local_files(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_italic(work / "releases")
    other = toy_model(work / "other", "llama", tied=True, seed=5)
    asked = ("--suite", "italian", "--data-dir", "releases", "--set", "stages.evaluate.protocols=[raw, chat]")
    assert call("eval", str(toy_folder), str(other), *asked, *LIMITS) == 0
    report = json.loads((work / "runs" / "eval" / "report.json").read_text(encoding="utf-8"))
    assert {entry["task"] for entry in report["metrics"]} == {
        f"italic_{kind}{protocol}" for kind in ("letters", "texts") for protocol in ("", " (chat)")
    }
    assert {entry["metric"] for entry in report["metrics"] if entry["primary"]} == {"acc", "acc_norm"}
    page = (work / "runs" / "eval" / "report.html").read_text(encoding="utf-8")
    assert "not run: " in page
    assert "5-shot (first), chat" in page
    assert {entry["protocol"] for entry in report["metrics"]} == {
        "plain text, 5-shot",
        "chat template, 5-shot",
    }
    for row in report["regressions"]:
        assert row["question"].startswith("Domanda: ") or "\n" in row["question"]
        assert {row["answer"], row["base"]["output"], row["adapted"]["output"]} <= set(row["options"])
        assert row["answer"] == row["base"]["output"] != row["adapted"]["output"]
    assert report["regressions"]
    lock = json.loads((work / "runs" / "eval" / "suites.lock").read_text(encoding="utf-8"))
    assert set(lock) == {"italic_letters", "italic_texts"}
    assert call("eval", "--plan", "--suite", "italian", "--data-dir", "releases") == 0
    assert "not run: " in capsys.readouterr().out


def test_eval_asks_benchmarks_of_a_model_without_template_as_plain_text(work: Path, toy_folder: Path) -> None:
    write_italic(work / "releases")
    plain = plain_model(work / "plain", seed=5)
    asked = ("--suite", "italian", "--data-dir", "releases", "--set", "stages.evaluate.protocols=[raw, chat]")
    assert call("eval", str(toy_folder), str(plain), *asked, *LIMITS) == 0
    report = json.loads((work / "runs" / "eval" / "report.json").read_text(encoding="utf-8"))
    assert report["problems"] == []
    for entry in report["metrics"]:
        is_chat = entry["task"].endswith(" (chat)")
        assert ("not_run" in entry["stages"]["plain"]) == is_chat
        assert (entry["difference"] is None) == is_chat
    (evaluated,) = (stage for stage in report["stages"] if stage["kind"] == "evaluate")
    told = [row for row in evaluated["results"]["benchmarks"]["plain"] if row["task"].endswith(" (chat)")]
    italic = [row for row in told if row["task"].startswith("italic")]
    assert {(row["status"], row["reason"]) for row in italic} == {("not run", "no chat template")}
    assert len(italic) == 2


def write_own_suite(folder: Path) -> None:
    """Write the files that docs/evaluation.md shows."""
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"```(yaml|csv|json)\n(.*?)```", page, flags=re.DOTALL))
    for kind, name in {"yaml": "museo.yaml", "csv": "musei.csv", "json": "esempi.jsonl"}.items():
        (folder / name).write_text(shown[kind], encoding="utf-8")


def test_eval_asks_the_benchmark_that_the_page_shows(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_own_suite(work)
    other = toy_model(work / "other", "llama", tied=True, seed=5)
    assert call("eval", str(toy_folder), str(other), "--suite", "museo.yaml", *LIMITS) == 0
    report = json.loads((work / "runs" / "eval" / "report.json").read_text(encoding="utf-8"))
    found = {(entry["task"], entry["metric"]): entry for entry in report["metrics"]}
    assert set(found) == {
        (f"musei{kind}", metric) for kind in ("", " (chat)") for metric in ("acc", "acc_norm")
    }
    assert [key for key, entry in found.items() if entry["primary"]] == [("musei", "acc_norm")]
    assert found["musei", "acc"]["n"] == 3
    assert set(found["musei", "acc"]["groups"]) == {"opere", "servizi"}
    lock = json.loads((work / "runs" / "eval" / "suites.lock").read_text(encoding="utf-8"))
    assert lock["musei"]["suite_file"] == hash_file(work / "museo.yaml")
    assert call("compare", "eval", "eval") == 2
    assert call("eval", str(other), "--suite", "museo.yaml", "--name", "alone", *LIMITS) == 0
    capsys.readouterr()
    assert call("compare", "alone", "eval") == 0
    assert "musei acc_norm" in capsys.readouterr().out
    assert call("eval", "--plan", "--suite", "museo.yaml") == 0
    assert "musei" in capsys.readouterr().out


def test_two_own_benchmarks_of_one_name_are_refused(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_own_suite(work)
    (work / "again").mkdir()
    write_own_suite(work / "again")
    both = ("--suite", "museo.yaml", "--suite", "again/museo.yaml")
    assert call("eval", str(toy_folder), *both, *LIMITS) == 2
    assert "another suite or task is called musei, museo" in capsys.readouterr().err


def test_a_recipe_finds_a_benchmark_beside_it(work: Path, toy_folder: Path) -> None:
    folder = work / "elsewhere"
    folder.mkdir()
    write_own_suite(folder)
    stages = [{"evaluate": {"suites": ["museo.yaml"]}}, {"report": {}}]
    recipe = {"name": "mine", "model": {"name": str(toy_folder)}, "precision": "fp32", "context": 512}
    (folder / "recipe.yaml").write_text(json.dumps({**recipe, "stages": stages}), encoding="utf-8")
    assert call("run", str(folder / "recipe.yaml")) == 0
    assert {entry["task"] for entry in read_metrics(work, "mine")} == {"musei", "musei (chat)"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("columns:", "colonne:"), "museo.yaml: unknown key 'colonne' in tasks.0.data"),
        (("language: it", ""), "missing key 'language'"),
        (("musei.csv", "musi.csv"), "no task of suite museo has data"),
        (("prima: str", "prime: str"), "prime"),
    ],
)
def test_mistakes_of_an_own_benchmark_are_told(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], said: str
) -> None:
    write_own_suite(work)
    text = (work / "museo.yaml").read_text(encoding="utf-8")
    (work / "museo.yaml").write_text(text.replace(*change), encoding="utf-8")
    assert call("eval", str(toy_folder), "--suite", "museo.yaml", *LIMITS) == 2
    assert said in capsys.readouterr().err


def test_a_benchmark_that_failed_is_tried_again_and_the_others_are_reused(
    work: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_italic(work / "releases #2")
    score, run = runner._score_forest, harness_run.run_task
    scored: list[set[tuple[int, ...]]] = []

    def look(model: Any, rows: Any, engine: Any) -> Any:
        scored[-1] |= {row.ids for row in rows}
        return score(model, rows, engine)

    def crash(lm: Any, data: Any, **options: Any) -> Any:
        if data.task.name == "italic_letters":
            raise RuntimeError("out of memory")
        return run(lm, data, **options)

    def stop(lm: Any, data: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    def measure() -> tuple[set[str], bool]:
        scored.append(set())
        assert call("eval", str(toy_folder), "--suite", "italian", "--data-dir", "releases #2", *LIMITS) == 0
        page = (work / "runs" / "eval" / "report.md").read_text(encoding="utf-8")
        return {entry["task"] for entry in read_metrics(work, "eval")}, "letters failed for base" in page

    monkeypatch.setattr(runner, "_score_forest", look)
    monkeypatch.setattr(harness_run, "run_task", crash)
    assert measure() == ({"italic_texts"}, True)
    monkeypatch.setattr(harness_run, "run_task", stop)
    scored.append(set())
    assert call("eval", str(toy_folder), "--suite", "italian", "--data-dir", "releases #2", *LIMITS) == 130
    scored.pop()
    monkeypatch.setattr(harness_run, "run_task", run)
    assert measure() == ({"italic_letters", "italic_texts"}, False)
    assert scored[1]
    assert not scored[0] & scored[1]
    assert not list((work / "runs" / "eval").glob("*/parts/*.jsonl"))
    capsys.readouterr()
    assert measure()[0] == {"italic_letters", "italic_texts"}
    assert capsys.readouterr().out.count(": reused ") == 2
    assert not scored[2]


def test_eval_without_any_data_of_a_suite_says_so(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "empty").mkdir()
    assert call("eval", str(toy_folder), "--suite", "italian", "--data-dir", "empty", *LIMITS) == 2
    assert "no task of suite italian has data" in capsys.readouterr().err


def test_eval_plans_without_a_model(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("eval", "--plan") == 0
    said = capsys.readouterr().out
    assert "questions_it" in said
    assert "n = 1,960" in said


GUARD = ("--set", "stages.report.margin.guard=true")


def test_a_guard_ends_with_3_where_english_is_not_shown_to_be_held(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = toy_model(work / "other", "llama", tied=True, seed=5)
    assert call("eval", str(toy_folder), str(other), *LIMITS, *GUARD) == 3
    said = capsys.readouterr().err
    assert "the guard says no" in said
    assert "English questions" in said
    assert "Italian" not in said
    assert (work / "runs" / "eval" / "report.html").exists()
    assert call("eval", str(toy_folder), str(other), *LIMITS, *GUARD) == 3  # also where all is reused


def test_a_guard_needs_enough_items_also_where_nothing_differs(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = toy_model(work / "twin", "llama", tied=True, seed=0)
    assert call("eval", str(toy_folder), str(twin), *LIMITS, *GUARD) == 3  # 8 questions show nothing
    wide = ("--set", "stages.report.margin.share=0.5")
    assert call("eval", str(toy_folder), str(twin), *LIMITS, *GUARD, *wide) == 0


def test_a_guard_says_no_where_no_other_language_was_measured(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_italic(work / "releases")
    other = toy_model(work / "other", "llama", tied=True, seed=5)
    asked = ("--suite", "italian", "--data-dir", "releases", *LIMITS, *GUARD)
    assert call("eval", str(toy_folder), str(other), *asked) == 3
    assert "nothing was measured in another language" in capsys.readouterr().err


def test_items_in_training_rows_have_figures_without_them_beside(work: Path, toy_folder: Path) -> None:
    recipe = write_toy_recipe(work, toy_folder)
    planted = load_suite("offline").items()["questions_it"][:3]
    dirty = {item.item_id for item in planted}
    with (work / "text.jsonl").open("a", encoding="utf-8") as file:
        for item in planted:
            text = f"{item.fields['question']} {item.fields['options'][item.fields['answer']]}"
            file.write(json.dumps({"text": text}) + "\n")
    assert call("run", str(recipe)) == 2  # nobody measures what was trained on by mistake
    assert call("run", str(recipe), "--set", "on_overlap=report") == 0
    report = json.loads((work / "runs" / "toy" / "report.json").read_text(encoding="utf-8"))
    assert {item for _, _, item, _ in report["overlap"]["dirty"]} == dirty
    whole, clean = (
        {(entry["task"], entry["metric"]): entry for entry in report[key]} for key in ("metrics", "clean")
    )
    assert {task for task, _ in clean} == {"questions_it", "questions_letters_it"}
    (folder,) = (work / "runs" / "toy").glob("*-evaluate-*")
    scores = [score for score in read_scores(folder / "scores.parquet") if score.item_id not in dirty]
    for (task, metric), entry in clean.items():
        assert entry["n"] == whole[task, metric]["n"] - 3
        kept = [s.score for s in scores if (s.task, s.metric, s.stage) == (task, metric, "adapt")]
        assert entry["adapted"]["value"] == pytest.approx(sum(kept) / len(kept))
    page = (work / "runs" / "toy" / "report.html").read_text(encoding="utf-8")
    assert "Without the items that stand in training rows" in page


def test_eval_plans_by_what_a_run_showed(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = toy_model(work / "other", "llama", tied=True, seed=5)
    assert call("eval", str(toy_folder), str(other), "--name", "pilot", *LIMITS) == 0
    capsys.readouterr()
    assert call("eval", "--plan", "--name", "pilot") == 0
    assert "differ in pilot)" in capsys.readouterr().out


def test_compare_pairs_the_last_models_of_two_runs(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = toy_model(work / "other", "llama", tied=True, seed=5)
    assert call("eval", str(toy_folder), "--name", "first", *LIMITS) == 0
    assert call("eval", str(toy_folder), str(other), "--name", "second", *LIMITS) == 0
    capsys.readouterr()
    assert call("compare", "first", str(work / "runs" / "second")) == 0
    said = capsys.readouterr().out
    assert "first" in said
    assert "difference" in said
    difference = f"{read_metrics(work, 'second')[0]['difference']['value']:.3f}"
    assert difference in said
    shutil.copytree(work / "runs" / "second", work / "elsewhere" / "first")  # called as the other is
    assert call("compare", "first", str(work / "elsewhere" / "first")) == 0
    assert difference in capsys.readouterr().out


def test_compare_refuses_other_questions_and_unknown_runs(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shorter = (*LIMITS[:-1], "stages.evaluate.max_new_tokens=2")
    assert call("eval", str(toy_folder), "--name", "first", *LIMITS) == 0
    assert call("eval", str(toy_folder), "--name", "second", *shorter) == 0
    assert call("compare", "first", "second") == 2
    assert "first and second can't be compared: prompts_it" in capsys.readouterr().err
    wide = ("--set", "context=640", *LIMITS[2:])
    assert call("eval", str(toy_folder), "--name", "wide", *wide) == 0
    assert call("compare", "first", "wide") == 2
    assert "context 512, wide with 640" in capsys.readouterr().err
    assert call("compare", "first", str(work / "runs" / "first")) == 2
    assert "are one run; name two" in capsys.readouterr().err
    assert call("compare", "first", str(toy_folder)) == 2
    assert "there is no complete run" in capsys.readouterr().err
    assert call("compare", "first", "nowhere") == 2
    assert "no complete run nowhere" in capsys.readouterr().err
    assert call("compare", "first") == 2
    shutil.copytree(work / "runs" / "first", work / "runs" / "elsewhere")
    (path,) = (work / "runs" / "elsewhere").glob("*-evaluate-*/scores.parquet")
    write_scores(path, [replace(score, suite="offline-dev") for score in read_scores(path)])
    capsys.readouterr()
    assert call("compare", "first", "elsewhere") == 2
    assert "first and elsewhere were asked nothing in common" in capsys.readouterr().err
    (work / "runs" / "elsewhere" / "current.json").write_text('{"schema": 1, "stages": []}', "utf-8")
    assert call("compare", "first", "elsewhere") == 2
    assert "run elsewhere has no evaluation" in capsys.readouterr().err


def test_export_writes_every_format_asked_for(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    formats = ("--format", "safetensors", "--format", "gguf-f16", "--format", "gguf-q8_0")
    Path("taken").touch()
    assert call("export", str(toy_folder), "--out", "taken", *formats) == 2
    assert "'taken' is a file" in capsys.readouterr().err
    assert call("export", str(toy_folder), "--out", "out", *formats) == 0
    names = {path.name for path in (work / "out").iterdir()}
    assert names == {
        *("llama-safetensors", "llama-f16.gguf", "llama-q8_0.gguf", "Modelfile-f16", "Modelfile-q8_0"),
        "parity.json",
    }
    parity = json.loads((work / "out" / "parity.json").read_text(encoding="utf-8"))
    assert list(parity["formats"]) == ["merged", "gguf-q8_0", "gguf-f16"]
    said = capsys.readouterr().out
    assert re.search(r"gguf-f16: \d of 3 answers are merged's .* bits per byte it [+-]\d\.\d\d%", said)
    template = (work / "out" / "llama-safetensors" / "chat_template.jinja").read_text(encoding="utf-8")
    assert "Rispondi" in template


def test_export_that_is_worse_than_it_may_be_ends_with_3(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adatta.export.parity.LIMITS", {"gguf-q8_0": -1.0})
    assert call("export", str(toy_folder), "--out", "out") == 3
    said = capsys.readouterr()
    assert re.search(
        r"gguf-q8_0: bits per byte it .* against merged \(.* to .*\), at most -100\.00%", said.err
    )
    assert "wrote out/llama-q8_0.gguf" in said.out


def test_export_that_is_broken_ends_with_1(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adatta.export.gguf_architecture._join_halves", lambda weight, heads: weight)
    assert call("export", str(toy_folder), "--out", "out", "--format", "gguf-f16") == 1
    assert "It doesn't compute what the model does" in capsys.readouterr().err


def test_export_weighs_columns_by_a_text(work: Path, toy_folder: Path) -> None:
    (work / "testo.txt").write_text("Il mare è calmo, la sera è dolce.", encoding="utf-8")
    chosen = ("--format", "gguf-q4_0", "--importance", "testo.txt")
    assert call("export", str(toy_folder), "--out", "with", *chosen) in (0, 3)
    assert call("export", str(toy_folder), "--out", "without", *chosen[:2]) in (0, 3)
    files = [(work / out / "llama-q4_0.gguf").read_bytes() for out in ("with", "without")]
    assert files[0] != files[1]


def test_export_to_an_unknown_format_says_which_there_are(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("export", str(toy_folder), "--out", "out", "--format", "onnx") == 2
    assert "gguf-q8_0" in capsys.readouterr().err


def test_show_writes_rows_to_the_terminal_and_to_a_page(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_toy_recipe(work, toy_folder)
    assert call("show", str(recipe), "--rows", "2") == 0
    said = capsys.readouterr().out
    assert said.count("⟦Volentieri: ") == 2
    assert said.count("chosen; ") == said.count("rejected; ") == 2
    assert call("show", str(recipe), "--row", "sft.jsonl:3", "--html", "rows.html") == 0
    page = (work / "rows.html").read_text(encoding="utf-8")
    assert "sft.jsonl:3" in page
    assert "dpo.jsonl" not in page
    assert not (work / "runs").exists()
