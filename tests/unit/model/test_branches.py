"""Who sees whom in a forest, against a walk up the parents; both ways of computing it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adatta.core.records import TokenRow
from adatta.model.attention import branches
from adatta.model.attention.branches import Branches, Rule
from adatta.model.forest import build_forest

pytestmark = pytest.mark.torch

HEADS, FEATURES = 4, 3
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


def random_states(forest, seed, features=FEATURES):
    """Queries, keys and values; the heads of keys and values are half as many."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn((1, heads, forest.num_tokens, features), dtype=torch.float64, generator=generator)
        for heads in (HEADS, HEADS // 2, HEADS // 2)
    ]


def walk(forest, states, *, window, scale, softcap):
    """Attend token by token, each to the tokens that a walk up its parents meets."""
    query, key, value = states
    key, value = key.repeat_interleave(2, 1), value.repeat_interleave(2, 1)
    outputs = []
    for token in range(forest.num_tokens):
        seen = path_of(forest, token)[:window]
        products = scale * query[0, :, token, None] @ key[0][:, seen].transpose(1, 2)
        if softcap is not None:
            products = torch.tanh(products / softcap) * softcap
        outputs.append((torch.softmax(products, -1) @ value[0][:, seen])[:, 0])
    return torch.stack(outputs, 1)[None]


@pytest.mark.parametrize("call_pairs", [0, 20, 10**9], ids=["by branches", "joined", "one mask"])
@given(
    ids=id_rows,
    window=st.sampled_from([None, 1, 3]),
    softcap=st.sampled_from([None, 0.8]),
    seed=st.integers(0, 9),
)
def test_every_token_attends_to_the_last_of_its_path(call_pairs, ids, window, softcap, seed):
    forest = forest_of(ids)
    states = random_states(forest, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(branches, "_CALL_PAIRS", call_pairs)
        query, key, value = states
        rule = Rule(window, scale=0.7, softcap=softcap)
        found = Branches(forest).attend(query, key=key, value=value, rule=rule)
    expected = walk(forest, states, window=window, scale=0.7, softcap=softcap)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_subtrees_share_a_call_where_that_costs_less_than_one_more(monkeypatch):
    monkeypatch.setattr(branches, "_CALL_PAIRS", 100)
    stem, long = list(range(3, 40)), list(range(50, 90))
    forest = forest_of([[*stem, 40, 41], [*stem, 42], [*stem, *long], [95, 96]])
    spans = [(block.start, block.end, block.path, block.is_chain) for block in Branches(forest)._blocks]
    # the stem, two short ends behind it in one call, a long end, a root of two tokens
    assert spans == [
        (0, 37, (0,), True),
        (37, 40, (0, 1), False),
        (40, 80, (0, 2), True),
        (80, 82, (3,), True),
    ]


def test_a_path_of_a_thousand_branching_points_is_cut_without_recursion():
    forest = forest_of([[*range(3, 3 + length), 2000] for length in range(1, 1500)])
    assert sum(block.end - block.start for block in Branches(forest)._blocks) == forest.num_tokens
