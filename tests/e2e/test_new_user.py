"""A new user's path: a ShareGPT file of their own, init, check, a run of 5 steps, one answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adatta.core.artefact import read_current
from adatta.core.recipe import load_recipe
from adatta.evals import suite
from tests.toys.command import call
from tests.toys.recipes import write_small_suite

pytestmark = pytest.mark.torch

THINGS = ("il pane", "il vino", "la neve", "il treno", "la scuola", "il riso")
UNREAD = "30 rows (sharegpt); keys that nothing reads: score (30)"
PLACES = ("in montagna", "al mercato", "di notte", "in cucina", "d'estate")


@pytest.fixture
def work(work: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and the offline suite with its first items only."""
    folder = tmp_path_factory.mktemp("bundled")
    write_small_suite(folder, num_items=3)
    monkeypatch.setattr(suite, "bundled_dir", lambda: folder)
    return work


def write_sharegpt(path: Path) -> None:
    """Write 30 conversations as ShareGPT's exports have them."""
    rows = [
        {
            "id": f"{thing}-{place}",
            "source": "mine",
            "conversations": [
                {"from": "system", "value": "Rispondi in poche parole."},
                {"from": "human", "value": f"Che cosa pensi quando trovi {thing} {place}?"},
                {"from": "gpt", "value": f"Penso che {thing}, {place}, sia una cosa davvero molto bella."},
            ],
            "score": number / 30,
        }
        for number, (thing, place) in enumerate((thing, place) for thing in THINGS for place in PLACES)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_own_file_becomes_a_model_that_answers(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sharegpt(work / "rows.jsonl")
    assert call("init", "mine", "--sft", "rows.jsonl", "--base", str(toy_folder)) == 0
    assert "sft: 30 rows (sharegpt)" in capsys.readouterr().out
    text = (work / "mine" / "recipe.yaml").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert 'path: "../rows.jsonl"' in text
    recipe = load_recipe(work / "mine" / "recipe.yaml").recipe
    assert [stage.kind for stage in recipe.stages] == ["sft", "evaluate", "export", "report"]
    assert (recipe.context, recipe.language) == (512, "it")

    assert call("check", "mine/recipe.yaml") == 0
    said = capsys.readouterr().out
    assert "rows of sft" in said
    assert UNREAD in said

    short = ("--set", "stages.sft.budget={steps: 5}", "--set", "stages.evaluate.max_new_tokens=4")
    assert call("run", "mine/recipe.yaml", *short) == 0
    folders = {stage["name"]: stage["folder"] for stage in read_current(work / "runs" / "mine")["stages"]}
    lines = (work / "runs" / "mine" / folders["sft"] / "metrics.jsonl").read_text(encoding="utf-8")
    assert max(json.loads(line).get("step", 0) for line in lines.splitlines()) == 5
    record = json.loads((work / "runs" / "mine" / folders["sft"] / "record.json").read_text(encoding="utf-8"))
    report = json.loads((work / "runs" / "mine" / "report.json").read_text(encoding="utf-8"))
    for (source,) in (record["inputs"]["data"], report["data"]):
        assert (source["shapes"], source["ignored"]) == ({"sharegpt": 30}, {"score": 30})
    for page in ("report.md", "report.html"):
        assert UNREAD in (work / "runs" / "mine" / page).read_text(encoding="utf-8")
    capsys.readouterr()

    assert call("chat", "runs/mine", "--once", "Ciao!", "--max-new-tokens", "8") == 0
    assert capsys.readouterr().out.strip()
