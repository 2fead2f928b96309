"""The commands beside `run`: init, eval, export, show, on toy models."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from adatta.core.recipe import load_recipe
from adatta.evals.scores import read_scores
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
        ((), "no model is named"),
        (("{toy}", "nowhere"), "others.nowhere"),
        (("{toy}", "--suite", "none"), "there is no 'none'"),
        (("{toy}", "--set", "precision=fp8"), "precision"),
        (("--plan", "--suite", "none"), "unknown suite"),
        (("{toy}", "--data-dir", "nowhere"), "there is no folder nowhere"),
    ],
)
def test_eval_says_what_is_wrong(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert call("eval", *(part.format(toy=toy_folder) for part in arguments)) == 2
    assert said in capsys.readouterr().err


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
    lock = json.loads((work / "runs" / "eval" / "suites.lock").read_text(encoding="utf-8"))
    assert set(lock) == {"italic_letters", "italic_texts"}
    assert call("eval", "--plan", "--suite", "italian", "--data-dir", "releases") == 0
    assert "not run: " in capsys.readouterr().out


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
    assert f"{read_metrics(work, 'second')[0]['difference']['value']:.3f}" in said


def test_compare_refuses_other_questions_and_unknown_runs(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shorter = (*LIMITS[:-1], "stages.evaluate.max_new_tokens=2")
    assert call("eval", str(toy_folder), "--name", "first", *LIMITS) == 0
    assert call("eval", str(toy_folder), "--name", "second", *shorter) == 0
    assert call("compare", "first", "second") == 1
    assert "different prompts" in capsys.readouterr().err
    wide = ("--set", "context=640", *LIMITS[2:])
    assert call("eval", str(toy_folder), "--name", "wide", *wide) == 0
    assert call("compare", "first", "wide") == 2
    assert "context 512, wide with 640" in capsys.readouterr().err
    assert call("compare", "first", "first") == 2
    assert call("compare", "first", "nowhere") == 2
    assert "no complete run nowhere" in capsys.readouterr().err


def test_export_writes_every_format_asked_for(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    formats = ("--format", "safetensors", "--format", "gguf-f16", "--format", "gguf-q8_0")
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
