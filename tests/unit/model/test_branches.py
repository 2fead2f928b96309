"""Who sees whom in a forest, against a walk up the parents; both ways of computing it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adatta.core.records import TokenRow
from adatta.model.attention import branches
from adatta.model.attention.branches import Branches, ancestors
from adatta.model.forest import build_forest

pytestmark = pytest.mark.torch

HEADS, FEATURES = 2, 3
id_rows = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7), min_size=1, max_size=6)


def forest_of(ids):
    rows = [TokenRow(ids=tuple(row), weights=(1.0,) * len(row), row_id=str(n)) for n, row in enumerate(ids)]
    return build_forest(rows)


def path_of(forest, token):
    path = []
    while token >= 0:
        path.append(token)
        token = int(forest.parent_T[token])
    return path


@given(ids=id_rows)
def test_ancestors_are_the_walk_up_the_parents(ids):
    forest = forest_of(ids)
    for token, row in enumerate(ancestors(forest.parent_T)):
        assert set(row.nonzero()[:, 0].tolist()) == set(path_of(forest, token))


@pytest.mark.parametrize("call_pairs", [0, 10**9], ids=["by branches", "one mask"])
@given(ids=id_rows, window=st.sampled_from([None, 1, 3]), seed=st.integers(0, 9))
def test_every_token_attends_to_the_last_of_its_path(call_pairs, ids, window, seed):
    forest = forest_of(ids)
    generator = torch.Generator().manual_seed(seed)
    shape = (1, HEADS, forest.num_tokens, FEATURES)
    query, key, value = (torch.randn(shape, dtype=torch.float64, generator=generator) for _ in range(3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(branches, "_CALL_PAIRS", call_pairs)
        found = Branches(forest).attend(query, key=key, value=value, window=window, scale=0.7)
    for token in range(forest.num_tokens):
        seen = path_of(forest, token)[:window]
        weight = torch.softmax(0.7 * query[0, :, token, None] @ key[0][:, seen].transpose(1, 2), -1)
        expected = (weight @ value[0][:, seen])[:, 0]
        torch.testing.assert_close(found[0, :, token], expected, rtol=0, atol=1e-12)


def test_many_small_branches_take_one_mask_and_few_long_ones_don_t():
    stem = list(range(3, 40))
    assert Branches(forest_of([[*stem, last] for last in range(50)]))._one_mask
    assert not Branches(forest_of([list(range(first, first + 100)) for first in range(3)]))._one_mask
