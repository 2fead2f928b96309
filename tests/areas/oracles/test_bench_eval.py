"""The benchmark of evaluation: cases merge into one file, and answers that part are listed with their gap."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from transformers import AutoTokenizer

from adatta.model.load import load_model
from bench import bench_eval

pytestmark = pytest.mark.torch


def side(answers):
    return {
        "results": {"generate_until": answers},
        "prompts": ["Uno", "Due", "Tre"],
        "stops": ["", "", ""],
        "options": [],
        "scored": {},
    }


def test_cases_of_several_calls_stand_in_one_file(tmp_path):
    path = tmp_path / "results" / "eval.json"
    bench_eval.keep_case(path, "generate", {"ratio": 1.0})
    bench_eval.keep_case(path, "long_text", {"ratio": 2.0})
    bench_eval.keep_case(path, "generate", {"ratio": 3.0})
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "long_text": {"ratio": 2.0},
        "generate": {"ratio": 3.0},
    }


def test_cases_and_rounds_are_chosen_on_the_command_line(monkeypatch, tmp_path):
    monkeypatch.setattr(
        sys, "argv", ["x", "--cases", "generate", "--rounds", "3", "--out", str(tmp_path / "a")]
    )
    options = bench_eval._read_options()
    assert (options.cases, options.rounds, options.out) == (["generate"], 3, tmp_path / "a")
    monkeypatch.setattr(sys, "argv", ["x", "--cases", "nothing"])
    with pytest.raises(SystemExit):
        bench_eval._read_options()


def test_same_answers_have_a_share_of_one_and_no_divergence(toy_folder):
    answers = [" mare", " sole", ""]
    found = bench_eval.compare(side(answers), side(answers), side(answers), model=str(toy_folder))
    assert (found["identical_answers"], found["divergences"], found["faults"]) == (1.0, [], [])


def test_answer_that_parts_is_listed_with_what_its_worse_choice_lacks(toy_folder):
    ours, theirs = [" mare", " sole", ""], [" mare", " sale", ""]
    found = bench_eval.compare(side(ours), side(theirs), side(theirs), model=str(toy_folder))
    assert found["identical_answers"] == pytest.approx(2 / 3)
    (parted,) = found["divergences"]
    tokenizer = AutoTokenizer.from_pretrained(toy_folder)
    prompt, mine, other = (tokenizer(text)["input_ids"] for text in ("Due", "Due sole", "Due sale"))
    at = next(place for place, (one, two) in enumerate(zip(mine, other, strict=False)) if one != two)
    with torch.inference_mode():
        logits = load_model(toy_folder)(torch.tensor([mine[:at]])).logits[0, -1]
    logp = logits.log_softmax(-1)
    assert (parted["item"], parted["token"]) == (1, at - len(prompt))
    assert parted["ours"] + parted["harness"] == tokenizer.decode(mine[at:]) + tokenizer.decode(other[at:])
    assert parted["gap"] == pytest.approx(float(logp.max() - logp[[mine[at], other[at]]].min()), abs=1e-6)
    assert len(parted["best"]) == 2
    assert any("answer 1 parts at token" in fault for fault in found["faults"])  # the gap is no tie
    assert any("of the greedy answers are the same" in fault for fault in found["faults"])


def test_parting_on_a_near_tie_is_no_fault(toy_folder, monkeypatch):
    monkeypatch.setattr(
        bench_eval, "find_divergences", lambda model, others: [{"item": 0, "token": 1, "gap": 1e-4}]
    )
    monkeypatch.setattr(bench_eval, "SAME_ANSWERS", 0.5)
    found = bench_eval.compare(side(["a", "b", "c"]), side(["x", "b", "c"]), side(["x", "b", "c"]), model="")
    assert found["faults"] == []
    assert found["divergences"] == [{"item": 0, "token": 1, "gap": 1e-4}]
