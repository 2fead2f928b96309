"""Sources are mixed by weight or number: exact, the same every time, and stable when rows are added."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adatta.core.errors import DataError
from adatta.core.settings import DataSettings
from adatta.data.mixture import draw_times

IDS = [f"{number:016x}" for number in range(1000)]


def times(ids: list[str], seed: int = 1, **settings: float) -> dict[str, int]:
    source = DataSettings(path="a.jsonl", **settings)
    return dict(zip(ids, draw_times(ids, source, seed=seed), strict=True))


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({}, {1: 1000}),
        ({"weight": 0.5}, {0: 500, 1: 500}),
        ({"weight": 2.0}, {2: 1000}),
        ({"weight": 2.25}, {2: 750, 3: 250}),
        ({"rows": 7}, {0: 993, 1: 7}),
        ({"rows": 1000}, {1: 1000}),
    ],
)
def test_weight_and_rows_give_exact_numbers(settings: dict[str, float], counts: dict[int, int]) -> None:
    drawn = list(times(IDS, **settings).values())
    assert {number: drawn.count(number) for number in set(drawn)} == counts


@given(st.randoms(use_true_random=False), st.integers(0, 5), st.floats(0.01, 3.0))
def test_draw_depends_on_seed_and_content_not_on_order(
    shuffler: random.Random, seed: int, weight: float
) -> None:
    shuffled = IDS[:100]
    shuffler.shuffle(shuffled)
    assert times(IDS[:100], seed, weight=weight) == times(shuffled, seed, weight=weight)


def test_rows_are_drawn_in_the_order_of_their_hashes() -> None:
    first = sorted(IDS, key=lambda row_id: sha256(f"draw 3 {row_id}".encode()).hexdigest())[:7]
    assert {row_id for row_id, number in times(IDS, 3, rows=7).items() if number} == set(first)


def test_draw_differs_between_seeds() -> None:
    assert times(IDS, 1, weight=0.5) != times(IDS, 2, weight=0.5)


@pytest.mark.parametrize("settings", [{"weight": 0.3}, {"rows": 300}])
def test_nearly_all_rows_drawn_before_are_drawn_again_when_rows_are_added(settings: dict[str, float]) -> None:
    before = {row_id for row_id, number in times(IDS[:900], **settings).items() if number}
    after = {row_id for row_id, number in times(IDS, **settings).items() if number}
    assert len(before & after) >= 0.85 * len(before)  # by chance it would be 0.3


@pytest.mark.parametrize(("num_rows", "settings"), [(5, {"rows": 6}), (3, {"weight": 0.1}), (0, {"rows": 1})])
def test_draw_that_cannot_be_done_is_refused(num_rows: int, settings: dict[str, float]) -> None:
    with pytest.raises(DataError, match=rf"a\.jsonl: \d rows are to be drawn from {num_rows}"):
        times(IDS[:num_rows], **settings)
