"""The holdout: a partition that depends on contents only."""

from __future__ import annotations

import random
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adatta.core.records import Document, Origin
from adatta.data import split as module
from adatta.data.split import place_row

ORIGIN = Origin(path="a.jsonl", line=1)


def document(row_id: str, group: str | None = None) -> Document:
    return Document(text=row_id, row_id=row_id, origin=ORIGIN, group=group)


class Sides(NamedTuple):
    train: tuple[Document, ...]
    holdout: tuple[Document, ...]
    warnings: tuple[str, ...]


def split_holdout(rows: list[Document], share: float, min_rows: int) -> Sides:
    places = np.array([place_row(row.row_id, row.group) for row in rows], dtype=np.uint64)
    split = module.split_holdout(places, share, min_rows)
    sides = (
        tuple(row for row, held in zip(rows, split.is_held, strict=True) if held == side) for side in (0, 1)
    )
    return Sides(*sides, split.warnings)


documents = st.builds(
    document, st.integers(0, 60).map("{:016x}".format), st.none() | st.integers(0, 9).map("g{}".format)
)
rows_to_split = st.lists(documents, max_size=120)
shares = st.floats(0.01, 1.0)
least = st.integers(0, 30)


@given(rows_to_split, shares, least)
def test_split_is_a_partition_in_order(rows: list[Document], share: float, min_rows: int) -> None:
    split = split_holdout(rows, share, min_rows)
    held = {id(row) for row in split.holdout}
    assert [row for row in rows if id(row) in held] == list(split.holdout)
    assert [row for row in rows if id(row) not in held] == list(split.train)


@given(rows_to_split, shares, least, st.randoms(use_true_random=False))
def test_split_is_stable_under_shuffling(
    rows: list[Document], share: float, min_rows: int, shuffler: random.Random
) -> None:
    shuffled = list(rows)
    shuffler.shuffle(shuffled)

    def key(row: Document) -> tuple[str, str]:
        return row.row_id, row.group or ""

    first, second = split_holdout(rows, share, min_rows), split_holdout(shuffled, share, min_rows)
    assert sorted(map(key, first.holdout)) == sorted(map(key, second.holdout))
    assert first.warnings == second.warnings


@given(rows_to_split, shares, least)
def test_split_keeps_groups_and_equal_rows_together(
    rows: list[Document], share: float, min_rows: int
) -> None:
    split = split_holdout(rows, share, min_rows)
    for name in ("group", "row_id"):
        train = {getattr(row, name) for row in split.train if name == "group" or row.group is None}
        held = {getattr(row, name) for row in split.holdout if name == "group" or row.group is None}
        assert not (train & held) - {None}


@given(rows_to_split, shares, least)
def test_split_holds_out_at_most_a_fifth_and_warns_of_less_than_asked(
    rows: list[Document], share: float, min_rows: int
) -> None:
    split = split_holdout(rows, share, min_rows)
    largest = 0 if len(rows) < 20 else len(rows) // 5
    asked = max(round(share * len(rows)), min_rows, 1)
    assert len(split.holdout) <= largest
    assert bool(split.warnings) == (len(rows) < 20 or len(split.holdout) < asked)


@pytest.mark.parametrize(
    ("num_rows", "least", "held"),
    [(19, 3, 0), (20, 4, 4), (39, 7, 7), (40, 8, 8), (160, 8, 8), (400, 8, 20), (1000, 8, 50)],
)
def test_split_size_of_single_rows(num_rows: int, least: int, held: int) -> None:
    split = split_holdout([document(f"{i:016x}") for i in range(num_rows)], 0.05, least)
    assert len(split.holdout) == held
    assert len(split.warnings) == (num_rows < 20)


@given(rows_to_split, shares, least)
def test_rows_are_held_out_in_the_order_of_their_hashes(
    rows: list[Document], share: float, min_rows: int
) -> None:
    names = [f"group {row.group}" if row.group else f"row {row.row_id}" for row in rows]
    largest = 0 if len(rows) < 20 else len(rows) // 5
    held: list[str] = []
    for name in sorted(set(names), key=lambda name: sha256(f"holdout {name}".encode()).hexdigest()):
        num = sum(names.count(other) for other in held)
        if num < min(max(round(share * len(rows)), min_rows, 1), largest):
            held += [name] * (num + names.count(name) <= largest)
    told = [row for row, name in zip(rows, names, strict=True) if name in held]
    assert list(split_holdout(rows, share, min_rows).holdout) == told


def test_split_with_share_zero_holds_out_nothing_and_says_nothing() -> None:
    rows = [document(f"{i:016x}") for i in range(50)]
    split = split_holdout(rows, 0.0, 8)
    assert (len(split.train), split.holdout, split.warnings) == (50, (), ())


def test_split_of_one_group_warns_and_trains_on_all() -> None:
    split = split_holdout([document(f"{i:016x}", "one") for i in range(50)], 0.05, 8)
    assert (len(split.train), split.holdout) == (50, ())
    assert "0 rows held out instead of 8" in split.warnings[0]


@pytest.mark.parametrize(("share", "min_rows", "asked"), [(0.99, 8, 30), (0.05, 100, 100)])
def test_split_of_less_than_asked_says_so(share: float, min_rows: int, asked: int) -> None:
    split = split_holdout([document(f"{i:016x}") for i in range(30)], share, min_rows)
    assert len(split.holdout) == 6
    assert split.warnings == (f"6 rows held out instead of {asked}: at most a fifth can be",)


def test_split_keeps_most_of_the_holdout_when_rows_are_added() -> None:
    rows = [document(f"{i:016x}") for i in range(1000)]
    before = {row.row_id for row in split_holdout(rows[:900], 0.05, 8).holdout}
    after = {row.row_id for row in split_holdout(rows, 0.05, 8).holdout}
    # A random choice would keep a twentieth of them.
    assert len(before & after) >= 0.7 * len(before)
