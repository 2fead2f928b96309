"""The journal: what is known isn't computed again, whatever stopped the writing of it."""

from __future__ import annotations

import pytest

from adatta.evals.journal import Journal


def never():
    raise AssertionError("it was known")


def test_what_was_computed_is_known_to_the_next_one(tmp_path):
    path, given = tmp_path / "journal.jsonl", [(-1.25, True), (-0.1, False)]
    assert Journal(path).fill([[1, 2], [3]], lambda: given) == given
    assert Journal(path).fill([[3], [1, 2]], never) == [[-0.1, False], [-1.25, True]]


def test_requests_that_are_computed_together_are_known_together_or_not(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.fill([1], lambda: ["one"])
    assert journal.fill([1, 2], lambda: ["one again", "two"]) == ["one again", "two"]


@pytest.mark.parametrize("cut", [2, 9, 20])
def test_a_line_that_was_cut_off_is_computed_again(tmp_path, cut):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.fill([1], lambda: ["one"])
    journal.fill([2], lambda: ["two"])
    path.write_text(path.read_text(encoding="utf-8")[:-cut], encoding="utf-8")
    again = Journal(path)
    assert again.fill([1], never) == ["one"]
    assert again.fill([2], lambda: ["two, again"]) == ["two, again"]


def test_without_a_file_everything_is_computed():
    journal = Journal()
    assert journal.fill([1], lambda: [1]) == [1]
    assert journal.fill([1], lambda: [2]) == [2]
