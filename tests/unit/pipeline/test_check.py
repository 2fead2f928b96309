"""The page of `adatta check`: a verdict a step, nothing hidden by another step, the same as JSON."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from adatta.chat.family import Family
from adatta.model import load
from adatta.pipeline.check import PROFILE
from tests.toys.command import call
from tests.toys.models import CHAT_TEMPLATE
from tests.toys.recipes import write_toy_recipe

pytestmark = pytest.mark.torch


@pytest.fixture
def work(work: Path, toy_folder: Path) -> Path:
    """The toy recipe in the current folder."""
    write_toy_recipe(work, toy_folder)
    return work


def check_json(capsys: pytest.CaptureFixture[str], *overrides: str, code: int) -> dict[str, Any]:
    """Run the check; return its JSON and, by name, its steps."""
    options = [part for override in overrides for part in ("--set", override)]
    assert call("check", "recipe.yaml", "--json", *options) == code
    found = json.loads(capsys.readouterr().out)
    return found | {"by_name": {step["name"]: step for step in found["steps"]}}


def break_rows(path: Path, num: int) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("{broken\n" * num)


def test_right_recipe_is_told_step_by_step(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("check", "recipe.yaml") == 0
    said = capsys.readouterr().out
    steps = re.findall(r"^ *(\d+)\. (ok|WARN|FAIL) +([^:]+):", said, re.MULTILINE)
    assert [int(number) for number, _, _ in steps] == list(range(1, len(steps) + 1))
    names = [name for _, _, name in steps]
    assert names[:4] == ["recipe", "model", "template", "rows of sft"]
    assert {"rows of dpo", "preferences in dpo.jsonl", "overlap", "memory of adapt", "disk"} <= set(names)
    assert "an answer ends with 0 <|endoftext|>, 2 <|im_end|>" in said
    assert re.search(
        r"20 to train on, 4 held out, 0 quarantined, 0 split, 0 not drawn; [\d,]+ tokens, [\d,]+ scored", said
    )
    assert re.search(r"rows/s: structure [\d,]+, meaning [\d,]+, both [\d,]+", said)
    assert "sft.jsonl: 24 rows (messages)" in said
    assert "overlap: 3 sources against the items of offline: 0 exact" in said
    assert said.endswith("no mistakes\nnext:  adatta run recipe.yaml\n")


def test_next_command_keeps_what_was_overridden(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("check", "recipe.yaml", "--set", "stages.sft.budget={steps: 5}") == 0
    end = "next:  adatta run recipe.yaml --set 'stages.sft.budget={steps: 5}'\n"
    assert capsys.readouterr().out.endswith(end)


def test_estimates_are_the_sum_of_their_parts(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = check_json(capsys, code=0)["by_name"]
    for name in ("memory of sft", "disk"):
        figures = steps[name]["figures"]
        total = sum(figures["parts_bytes"].values()) / 2**30
        assert steps[name]["text"].startswith(
            f"{total:.1f} GiB of {figures['free_bytes'] / 2**30:.1f} free ("
        )
    assert list(steps["memory of sft"]["figures"]["parts_bytes"]) == [
        "weights",
        "trained",
        "activations",
        "logits",
        "libraries",
    ]


def test_bad_rows_of_a_stage_hide_nothing_else(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_rows(work / "sft.jsonl", 1)
    break_rows(work / "text.jsonl", 2)
    found = check_json(capsys, code=2)
    assert not found["ok"]
    verdicts = {name: step["verdict"] for name, step in found["by_name"].items()}
    assert verdicts["rows of sft"] == verdicts["rows of adapt"] == "FAIL"
    assert verdicts["rows of dpo"] == verdicts["memory of dpo"] == verdicts["disk"] == "ok"
    assert [Path(problem["where"]).name for problem in found["problems"]] == [
        "sft.jsonl:25",
        "text.jsonl:25",
        "text.jsonl:26",
    ]
    assert found["counts"] == {"broken_json": 3}


def test_mistakes_of_a_file_that_two_stages_read_count_once(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = work / "recipe.yaml"
    text = recipe.read_text(encoding="utf-8")
    recipe.write_text(text.replace("adapt:", "sft:").replace("text.jsonl", "sft.jsonl"), encoding="utf-8")
    break_rows(work / "sft.jsonl", 25)
    found = check_json(capsys, code=2)
    verdicts = {name: step["verdict"] for name, step in found["by_name"].items()}
    assert verdicts["rows of sft"] == verdicts["rows of sft-2"] == "FAIL"
    assert found["counts"] == {"broken_json": 25}


def test_rows_are_checked_though_the_model_is_missing(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_rows(work / "dpo.jsonl", 1)
    assert call("check", "recipe.yaml", "--set", "model.name=nowhere/nothing") == 2
    said = capsys.readouterr()
    assert "FAIL  model: 1 problem, told below" in said.out
    assert "WARN  rows of sft: 24 of right structure" in said.out
    assert "nowhere/nothing" in said.err
    assert "dpo.jsonl:25: " in said.err


def test_too_little_memory_is_a_warning_that_hides_nothing(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "available_bytes", lambda: 2**20)
    found = check_json(capsys, code=0)
    verdicts = {name: step["verdict"] for name, step in found["by_name"].items()}
    assert verdicts["memory of sft"] == verdicts["memory of adapt"] == "WARN"
    assert verdicts["time of sft"] == verdicts["rows of adapt"] == "ok"


def test_first_twenty_mistakes_are_told_and_all_counted(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    break_rows(work / "sft.jsonl", 30)
    assert len(check_json(capsys, code=2)["problems"]) == 20
    assert call("check", "recipe.yaml") == 2
    said = capsys.readouterr().err
    assert len(re.findall(r"sft\.jsonl:\d+: ", said)) == 20
    assert re.search(r"^ +30  broken_json$", said, re.MULTILINE)


def test_mistake_in_the_recipe_is_json_too(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = check_json(capsys, "seed=many", code=2)
    assert [step["verdict"] for step in found["steps"]] == ["FAIL"]
    assert found["problems"][0]["where"] == "--set seed=many"


def test_settings_that_this_machine_or_these_rows_can_not_serve_are_told(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = check_json(capsys, "stages.dpo.optimizer.name=paged_adamw_8bit", code=2)
    [problem] = found["problems"]
    assert problem["where"] == "--set stages.dpo.optimizer.name=paged_adamw_8bit"
    assert "needs a CUDA device, and this machine has none; set optimizer.name: adamw" in problem["what"]
    found = check_json(capsys, "stages.dpo.keep=best", code=2)
    [problem] = found["problems"]
    assert problem["where"] == "stage dpo"
    assert "keep: best needs 30 held-out rows to choose by, here are 4" in problem["what"]
    assert found["by_name"]["rows of sft"]["verdict"] == "ok"


def test_rows_with_a_token_on_the_border_of_an_answer_are_counted(
    work: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(toy_folder, work / "model")
    # The header ends with a space, which the vocabulary's " è" holds too.
    template = CHAT_TEMPLATE.replace("'\\n' + message['content']", "' ' + message['content']")
    (folder / "chat_template.jinja").write_text(
        template.replace("assistant\\n", "assistant "), encoding="utf-8"
    )
    answer = {"role": "assistant", "content": "è una cosa buona e utile."}
    messages = [{"role": "user", "content": "Che cosa pensi del pane?"}, answer]
    with (work / "sft.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    rows = check_json(capsys, f"model.name={folder}", code=0)["by_name"]["rows of sft"]
    assert rows["figures"]["straddled"] == 1
    assert "1 rows have a token on the border" in rows["text"]


def test_all_that_a_profile_says_has_words() -> None:
    fields = {field.name for field in dataclasses.fields(Family)}
    assert set(PROFILE) == fields - {"name", "recognised_by"}


def test_target_tokens_lost_in_quarantine_are_told(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": "Dimmi.", "completion": "PerchÃ© sì."}, {"prompt": "Dimmi.", "completion": ""}]
    with (work / "sft.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    options = ("--set", "on_bad_row=quarantine", "--set", "max_bad_share=0.1")
    assert call("check", "recipe.yaml", *options) == 0
    said = re.search(r"(\d+) scored tokens lost, and (\d+) bytes of rows", capsys.readouterr().out)
    assert said is not None
    figures = check_json(capsys, *options[1::2], code=0)["by_name"]["rows of sft"]["figures"]
    assert (int(said[1]), int(said[2])) == (figures["lost_scored_tokens"], figures["lost_bytes"])
    assert figures["lost_scored_tokens"] > 0
    assert figures["lost_bytes"] == len(json.dumps(rows[1]))
