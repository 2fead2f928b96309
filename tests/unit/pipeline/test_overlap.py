"""Rows of training against the items of the recipe's suites."""

from __future__ import annotations

import json
from itertools import chain

import pytest

from adatta.core.errors import OverlapError
from adatta.core.problems import Checks
from adatta.core.recipe import LoadedRecipe, Recipe
from adatta.core.records import Conversation, Document, Message, Origin
from adatta.core.runtime import bundled_dir
from adatta.pipeline.overlap import SuiteOverlap
from adatta.pipeline.suites import load_suites

EVALUATION = bundled_dir() / "data" / "evaluation" / "test"


def read(name, line):
    return json.loads((EVALUATION / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[line])


def make_overlap(*stages):
    entries = [{"evaluate": {"suites": ["offline"]}}] if not stages else list(stages)
    recipe = Recipe.model_validate({"name": "r", "model": {"name": "m"}, "stages": entries})
    loaded = LoadedRecipe(recipe=recipe, resolved={}, sources={}, missing={})
    return SuiteOverlap(chain.from_iterable(load_suites(loaded, checks=Checks(is_quiet=True)).values()))


def converse(asked, answer, line=1):
    messages = (Message(role="user", content=asked), Message(role="assistant", content=answer))
    return Conversation(messages=messages, row_id="", origin=Origin(path="chat.jsonl", line=line))


def write_document(text, line=1):
    return Document(text=text, row_id="", origin=Origin(path="text.jsonl", line=line))


def test_copied_items_are_refused_with_row_item_and_match():
    overlap, question, text = make_overlap(), read("questions_it", 2), read("text_it", 3)
    answer = question["options"][question["answer"]]
    overlap.look(converse("Come stai?", "Bene."), stage="sft", source="chat.jsonl")
    overlap.look(converse(question["question"], f"È {answer}.", line=2), stage="sft", source="chat.jsonl")
    overlap.look(write_document(text["text"], line=7), stage="adapt", source="text.jsonl")
    with pytest.raises(OverlapError) as caught:
        overlap.require_none()
    first, second = sorted(caught.value.problems, key=lambda problem: problem.where)
    assert (first.where, second.where) == ("chat.jsonl:2", "text.jsonl:7")
    assert first.what.startswith("exact match with offline/questions_it, item ")
    assert second.what.startswith("exact match with offline/text_it, item ")
    assert " words in a row, 100% of the item: " in second.what
    assert second.reason == "leak"
    assert "on_overlap: report" in second.hint


def test_summary_counts_kinds_by_source_and_suite_and_lists_longest_matches():
    overlap, text = make_overlap(), read("text_it", 3)["text"]
    overlap.look(write_document(text), stage="adapt", source="text.jsonl")
    overlap.look(write_document(" ".join(text.split()[:9]), line=2), stage="adapt", source="more.jsonl")
    overlap.look(converse("Come stai?", "Bene."), stage="sft", source="chat.jsonl")
    summary = overlap.summary()
    counts = {
        entry["source"]: tuple(entry[kind] for kind in ("exact", "strong", "passage", "weak"))
        for entry in summary["counts"]
    }
    assert counts == {"text.jsonl": (1, 0, 0, 0), "more.jsonl": (0, 0, 0, 1), "chat.jsonl": (0, 0, 0, 0)}
    assert {(entry["suite"], entry["items"]) for entry in summary["counts"]} == {("offline", 605)}
    assert [(match["kind"], match["rows"]) for match in summary["longest"]] == [
        ("exact", ["text.jsonl:1"]),
        ("weak", ["more.jsonl:2"]),
    ]
    assert json.loads(json.dumps(summary)) == summary


def test_weak_matches_block_nothing():
    overlap = make_overlap()
    overlap.look(write_document(" ".join(read("text_it", 3)["text"].split()[:9])), stage="adapt", source="t")
    overlap.require_none()


def test_file_of_two_stages_is_looked_at_once():
    overlap, text = make_overlap(), read("text_it", 3)["text"]
    for stage in ("adapt", "adapt-2"):
        overlap.look(write_document(text), stage=stage, source="text.jsonl")
    (match,) = overlap.summary()["longest"]
    assert match["num_rows"] == 1


def test_recipe_without_a_suite_looks_for_nothing():
    overlap = make_overlap({"export": {}})
    overlap.look(write_document(read("text_it", 3)["text"]), stage="adapt", source="text.jsonl")
    overlap.require_none()
    assert overlap.summary() == {"counts": [], "dirty": [], "longest": []}
