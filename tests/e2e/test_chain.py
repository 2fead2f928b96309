"""The whole chain on a toy model: done once, reused, redone only where something changed, gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors import SafetensorError

from adatta.core.artefact import read_current, verify
from adatta.core.errors import DriftError, RowError
from adatta.pipeline.run import run_recipe
from tests.toys.command import call
from tests.toys.recipes import write_toy_recipe

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("small_suite")]


@pytest.fixture(scope="module")
def finished(small_suite: None, toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe and its finished run; read only."""
    folder = tmp_path_factory.mktemp("chain")
    recipe = write_toy_recipe(folder, toy_folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADATTA_HOME", str(folder))
        patch.setenv("ADATTA_CACHE", str(folder / "cache"))
        run_recipe(recipe)
    return folder


@pytest.fixture
def work(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished folder, to change."""
    folder = tmp_path / "work"
    shutil.copytree(finished, folder)
    monkeypatch.setenv("ADATTA_HOME", str(folder))
    monkeypatch.setenv("ADATTA_CACHE", str(folder / "cache"))
    monkeypatch.chdir(folder)
    return folder


def folders_of(work: Path) -> dict[str, str]:
    """The newest chain: stage name -> folder name."""
    return {stage["name"]: stage["folder"] for stage in read_current(work / "runs" / "toy")["stages"]}


def test_chain_leaves_every_artefact_and_a_report(finished: Path) -> None:
    run = finished / "runs" / "toy"
    assert list(folders_of(finished)) == ["sft", "dpo", "adapt", "evaluate", "export", "report"]
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert report["problems"] == []
    assert {entry["task"] for entry in report["metrics"]} == {
        "text_it",
        "text_en",
        "questions_it",
        "questions_letters_it",
        "questions_en",
        "pairs_it",
        "preferences_it",
        "prompts_it",
    }
    for entry in report["metrics"]:
        assert {"sft", "dpo", "adapt"} <= set(entry["stages"])
    assert (run / "report.html").stat().st_size > 10_000
    assert (run / folders_of(finished)["export"] / "toy-q8_0.gguf").exists()


def test_overlap_and_preferences_stand_in_record_and_report(finished: Path) -> None:
    run = finished / "runs" / "toy"
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    (record,) = [json.loads(path.read_text()) for path in run.glob("*-evaluate-*/record.json")]
    assert record["results"]["overlap"] == report["overlap"]
    assert len(report["overlap"]["counts"]) == 3
    assert report["overlap"]["longest"] == []
    (pairs,) = [row["pairs"] for row in report["data"] if "pairs" in row]
    assert pairs["pairs"] == 24
    for name in ("report.md", "report.html"):
        page = (run / name).read_text(encoding="utf-8")
        assert "Items of the suites in training rows" in page
        assert "24 pairs: chosen longer in" in page


def test_only_the_last_merged_model_stays(finished: Path) -> None:
    run, folders = finished / "runs" / "toy", folders_of(finished)
    assert [(run / folders[name] / "model").is_dir() for name in ("sft", "dpo", "adapt")] == [
        False,
        False,
        True,
    ]


def test_show_tells_the_figures_of_each_stages_last_step(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("show", str(work / "runs" / "toy")) == 0
    said = capsys.readouterr().out
    assert said.count("roofline_share") == said.count("grad_norm") == 3
    assert said.count("logp_chosen_per_token") == said.count("kl ") == 1


def test_second_run_reuses_everything(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in (work / "runs" / "toy").iterdir())
    run_recipe(work / "recipe.yaml")
    assert capsys.readouterr().out.count("reused") == 6
    assert sorted(path.name for path in (work / "runs" / "toy").iterdir()) == before


def test_changed_setting_redoes_only_what_depends_on_it(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = folders_of(work)
    run_recipe(work / "recipe.yaml", ["stages.adapt.optimizer.lr=0.002"])
    after = folders_of(work)
    same = {name for name in before if before[name] == after[name]}
    assert same == {"sft", "dpo"}
    part = next((work / "runs" / "toy" / after["evaluate"] / "parts").glob("*.parquet"))
    assert part.exists()
    assert capsys.readouterr().out.count("reused") == 2


def test_report_alone_is_redone_when_the_export_changes(work: Path) -> None:
    before = folders_of(work)
    run_recipe(work / "recipe.yaml", ["stages.export.formats=[safetensors]"])
    after = folders_of(work)
    assert {name for name in before if before[name] == after[name]} == {"sft", "dpo", "adapt", "evaluate"}


def test_changed_file_of_an_artefact_is_an_error(work: Path) -> None:
    target = work / "runs" / "toy" / folders_of(work)["sft"] / "metrics.jsonl"
    target.write_text(target.read_text(encoding="utf-8") + "{}\n", encoding="utf-8")
    with pytest.raises(DriftError, match=r"metrics\.jsonl"):
        run_recipe(work / "recipe.yaml")


def test_removed_merged_model_is_made_again_bit_for_bit(work: Path) -> None:
    folder = work / "runs" / "toy" / folders_of(work)["sft"]
    recorded = json.loads((folder / "record.json").read_text(encoding="utf-8"))["files"]
    run_recipe(work / "recipe.yaml", ["keep_merged=all", "stages.evaluate.max_new_tokens=5"])
    assert (folder / "model").is_dir()
    verify(folder)
    assert any(name.startswith("model/") for name in recorded)


def test_full_disk_is_one_message_and_the_next_run_goes_on(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    command = ("run", "recipe.yaml", "--set", "stages.dpo.optimizer.lr=1.0e-5")
    with monkeypatch.context() as full:
        full.setattr("adatta.model.adapter.save_file", refuse)
        assert call(*command) == 1
    said = capsys.readouterr().err
    assert (
        "adatta: Error while serializing: I/O error: No space left on device (os error 28); make room" in said
    )
    assert "Traceback" not in said
    run_recipe(work / "recipe.yaml", command[3:])


def test_bad_row_trains_nothing(work: Path) -> None:
    with (work / "dpo.jsonl").open("a", encoding="utf-8") as file:
        file.write("{broken\n")
    shutil.rmtree(work / "runs")
    with pytest.raises(RowError, match=r"dpo\.jsonl:25"):
        run_recipe(work / "recipe.yaml")
    assert not (work / "runs").exists()


def test_quarantined_rows_are_counted_and_named(work: Path) -> None:
    with (work / "sft.jsonl").open("a", encoding="utf-8") as file:
        file.write("{broken\n")
    run_recipe(work / "recipe.yaml", ["on_bad_row=quarantine", "stages.evaluate.models=[base]"])
    folder = work / "runs" / "toy" / folders_of(work)["sft"]
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    assert record["counts"]["quarantined"] == 1
    assert record["counts"]["quarantined_by_reason"] == {"broken_json": 1}
    assert "sft.jsonl:25" in (folder / "quarantine.jsonl").read_text(encoding="utf-8")


def test_plain_model_alone_is_a_recipe(toy_folder: Path, work: Path) -> None:
    (work / "plain.yaml").write_text(
        f"name: plain\nmodel: {{name: {toy_folder}}}\ncontext: 512\nprecision: fp32\n"
        "stages:\n  - evaluate: {max_new_tokens: 4}\n  - report: {}\n",
        encoding="utf-8",
    )
    run_recipe(work / "plain.yaml")
    report = json.loads((work / "runs" / "plain" / "report.json").read_text(encoding="utf-8"))
    assert report["problems"] == []
    assert all(entry["adapted"] is None for entry in report["metrics"])
