"""Planted leaks and near duplicates, on our own items and on real sets where they are at hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SETS = ("own", "italic", "squad_it")
BENCH = Path(__file__).resolve().parents[3] / "bench" / "overlap.py"


@pytest.fixture(scope="module")
def figures():
    spec = importlib.util.spec_from_file_location("bench_overlap", BENCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.measure_overlap()


@pytest.fixture(params=SETS)
def name(request, figures):
    if request.param not in figures["leaks"]:
        pytest.skip(f"{request.param} isn't in the folder of real sets beside the repository")
    return request.param


@pytest.mark.parametrize("kind", ["exact", "punctuation_and_case"])
def test_every_planted_copy_blocks_training(figures, name, kind):
    assert (figures["leaks"][name][kind]["blocked"], figures["leaks"][name][kind]["n"]) == (50, 50)


def test_changed_copies_are_told_by_kind(figures, name):
    for kind, told in figures["leaks"][name].items():
        print(f"{name}, {kind}: {told['blocked']} blocked, {told['reported']} reported of {told['n']}")
        assert told["blocked"] + told["reported"] + told["missed"] == told["n"] > 0


def test_distinct_texts_raise_no_alarm(figures, name):
    found = figures["false_alarms"][name]
    assert set(found) == {"items", "too_short", "rows"}, found


def test_near_duplicates_are_found_and_nothing_else(figures):
    for name, near in figures["near"].items():
        print(name, near)
        assert near["false_alarms"] == 0
        assert near["punctuation_and_case"]["found"] == 1.0
        assert near["one_word_replaced"]["found"] >= 0.95
        assert near["30%_replaced"]["found"] == 0.0
        assert not any(one["other_row"] for one in near.values() if isinstance(one, dict))
