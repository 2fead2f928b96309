"""Forests: built, counted and packed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adatta.core.errors import DataError
from adatta.core.records import TokenRow
from adatta.model.forest import build_forest, count_tokens, drop_unread, pack
from tests.toys.rows import branching_rows, conversations, preferences, token_row

pytestmark = pytest.mark.torch

# Few different ids, so that prefixes, whole rows and empty overlaps all come up.
id_rows = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=6)


def as_rows(ids):
    return [
        TokenRow(
            ids=tuple(row), weights=tuple((index % 3) / 2 for index in range(len(row))), row_id=str(number)
        )
        for number, row in enumerate(ids)
    ]


def path_of(forest, token):
    path = []
    while token >= 0:
        path.append(token)
        token = int(forest.parent_T[token])
    return path[::-1]


@pytest.mark.parametrize("share_prefix", [True, False])
@given(ids=id_rows)
def test_paths_of_scored_tokens_spell_their_rows(ids, share_prefix):
    rows = as_rows(ids)
    forest = build_forest(rows, share_prefix=share_prefix)
    expected = [
        (number, row.ids[: depth + 1], row.weights[depth])
        for number, row in enumerate(rows)
        for depth in range(1, len(row.ids))
        if row.weights[depth] != 0
    ]
    found = [
        (int(row), tuple(forest.ids_T[path_of(forest, int(token))].tolist()), float(weight))
        for token, row, weight in zip(forest.scored_S, forest.row_S, forest.weight_S, strict=True)
    ]
    assert found == expected


@given(ids=id_rows)
def test_a_shared_forest_has_one_token_a_distinct_prefix(ids):
    rows = as_rows(ids)
    prefixes = {row.ids[:end] for row in rows for end in range(1, len(row.ids) + 1)}
    assert build_forest(rows).num_tokens == count_tokens(rows) == len(prefixes)


@given(ids=id_rows)
def test_positions_are_depths_and_parents_stand_before(ids):
    forest = build_forest(as_rows(ids))
    for token, parent in enumerate(forest.parent_T.tolist()):
        assert parent < token
        assert forest.position_T[token] == len(path_of(forest, token)) - 1


def test_a_token_on_the_prefix_of_two_rows_stands_twice_with_each_rows_weight():
    rows = [
        TokenRow(ids=(5, 6, 7), weights=(0, 1, 1), row_id="a"),
        TokenRow(ids=(5, 6, 8), weights=(0, 0.5, 0.25), row_id="b"),
    ]
    forest = build_forest(rows)
    assert forest.ids_T.tolist() == [5, 6, 7, 8]
    assert forest.parent_T.tolist() == [-1, 0, 1, 1]
    assert forest.scored_S.tolist() == [1, 2, 1, 3]
    assert forest.row_S.tolist() == [0, 0, 1, 1]
    assert forest.weight_S.tolist() == [1, 1, 0.5, 0.25]


def test_a_root_is_never_scored():
    forest = build_forest([TokenRow(ids=(5, 6), weights=(1, 1), row_id="a")])
    assert forest.scored_S.tolist() == [1]


@given(ids=id_rows)
def test_what_is_kept_of_a_forest_are_the_paths_to_what_is_read(ids):
    forest = build_forest(as_rows(ids))
    kept, index_T = drop_unread(forest)
    read = {token for scored in forest.scored_S.tolist() for token in path_of(forest, scored)[:-1]}
    assert index_T.tolist() == sorted(read)
    assert kept.ids_T.tolist() == forest.ids_T[index_T].tolist()
    for token, old in enumerate(index_T.tolist()):
        assert index_T[path_of(kept, token)].tolist() == path_of(forest, old)


@pytest.mark.parametrize(
    "rows",
    [[], [TokenRow(ids=(), weights=(), row_id="a")], [TokenRow(ids=(1, 2), weights=(1.0,), row_id="a")]],
)
def test_rows_that_make_no_forest_are_refused(rows):
    with pytest.raises(DataError, match="at least one"):
        build_forest(rows)


def test_pack_keeps_every_group_once_within_the_limit():
    groups = [*conversations(20), *preferences(10)]
    packed = pack(groups, 100)
    assert sorted(index for forest in packed for index in forest) == list(range(30))
    for forest in packed:
        rows = [row for index in forest for row in groups[index]]
        assert build_forest(rows).num_tokens <= 100


def test_pack_gives_a_longer_group_a_forest_of_its_own():
    long = (token_row(tuple(range(50)), unscored=1, row_id="long"),)
    short = (token_row((1, 2, 3), unscored=1, row_id="short"),)
    assert pack([short, long, short], 10) == [[0, 2], [1]]


def test_pack_counts_a_shared_prompt_once():
    pair = preferences(1)[0]
    tokens = count_tokens(pair)
    assert pack([pair, pair], 2 * tokens) == [[0, 1]]
    assert pack([pair, pair], 2 * tokens, share_prefix=False) == [[0], [1]]
    assert count_tokens(branching_rows(), share_prefix=False) > count_tokens(branching_rows())
