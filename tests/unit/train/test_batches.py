"""Groups and their branches are read as they are asked for: what is trained on need not lie in memory."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adatta.core.records import TokenRow
from adatta.train.batches import Branches, Packing

pytestmark = pytest.mark.torch


def row(number: int, branch: int = 0) -> TokenRow:
    ids = (number, branch + 1, number + 1)
    return TokenRow(ids=ids, weights=(0.0, 1.0, 1.0), row_id=f"{number:016x}", branch=branch)


class Counted(Sequence):
    """Groups that count how often each is read."""

    def __init__(self, sizes):
        self.groups = [tuple(row(n, branch) for branch in range(size)) for n, size in enumerate(sizes)]
        self.reads = [0] * len(sizes)

    def __len__(self):
        return len(self.groups)

    def __getitem__(self, number):
        group = self.groups[number]
        self.reads[number] += 1
        return group


@given(st.lists(st.integers(1, 4), max_size=6), st.slices(24))
def test_branches_are_those_of_the_groups_one_by_one(sizes, chosen):
    groups = Counted(sizes)
    flat = [(branch,) for group in groups.groups for branch in group]
    found = Branches(groups)
    assert (len(found), list(found)) == (len(flat), flat)
    assert [found[number] for number in range(-len(flat), len(flat))] == flat + flat
    assert list(found[chosen]) == flat[chosen]
    with pytest.raises(IndexError):
        found[len(flat)]


def test_branches_read_each_group_once_a_pass():
    groups = Counted([3, 1, 400])
    found = Branches(groups)
    assert groups.reads == [1, 1, 1]
    assert len(list(found)) == 404
    assert groups.reads == [2, 2, 2]


def test_batches_build_a_forest_when_its_turn_comes():
    groups = Counted([1] * 8)
    packing = Packing(forest_tokens=6, share_prefix=False)
    batches = packing.batches(groups)
    first = next(batches)
    assert groups.reads == [2, 2, 1, 1, 1, 1, 1, 1]  # once for its size, once for its forest
    assert [(row,) for batch in (first, *batches) for row in batch.rows] == groups.groups
