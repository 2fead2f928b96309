"""Rows come back from the store as they went in, whatever they hold, in whatever order they are asked for."""

from __future__ import annotations

import gc
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adatta.core.errors import DataError
from adatta.core.records import TokenRow
from adatta.pipeline.token_store import Group, Head, Picked, TokenStore

RARE = 1 - 2**-30  # no number of 32 bits
weights = st.sampled_from([0.0, 1.0, 0.1, RARE]) | st.floats(allow_nan=False)
branches = st.lists(st.tuples(st.integers(0, 2**31 - 1), weights), min_size=1, max_size=40)
numbers = st.integers(0, 2**64 - 1)


@st.composite
def groups(draw: st.DrawFn) -> Group:
    row_id = f"{draw(numbers):016x}"
    listed = draw(st.lists(branches, min_size=1, max_size=4))
    return tuple(
        TokenRow(
            ids=tuple(token for token, _ in one),
            weights=tuple(weight for _, weight in one),
            row_id=row_id,
            branch=branch,
        )
        for branch, one in enumerate(listed)
    )


def fill(rows: list[Group]) -> TokenStore:
    store = TokenStore()
    for number, group in enumerate(rows):
        flags = {"is_straddled": number % 2 == 1, "is_split": number % 3 == 1}
        store.append(group, place=2**64 - 1 - number, scored_bytes=number, **flags)
    return store


@given(st.lists(groups(), max_size=8), st.lists(st.integers(0, 7), max_size=20))
def test_rows_come_back_equal_in_any_order(rows: list[Group], order: list[int]) -> None:
    store = fill(rows)
    assert len(store) == len(rows)
    wanted = [number for number in order if number < len(rows)]
    assert list(Picked(store.group, np.array(wanted, dtype=np.uint32))) == [rows[number] for number in wanted]
    assert [
        (store.head(number), store.row_id(number), store.place(number)) for number in range(len(rows))
    ] == [
        (
            Head(
                row_id=group[0].row_id,
                place=2**64 - 1 - number,
                scored_bytes=number,
                tokens=sum(len(row.ids) for row in group),
                scored_tokens=len([weight for row in group for weight in row.weights if weight > 0]),
                longest=max(len(row.ids) for row in group),
                is_straddled=number in (1, 3, 5, 7),
                is_split=number in (1, 4, 7),
            ),
            group[0].row_id,
            2**64 - 1 - number,
        )
        for number, group in enumerate(rows)
    ]


def one(token: int, length: int = 3) -> Group:
    return (TokenRow(ids=(token,) * length, weights=(0.0,) * length, row_id=f"{token:016x}"),)


def test_rows_may_be_read_between_rows_that_are_added() -> None:
    store = TokenStore()
    for number in range(300):
        store.append(one(number, 1 + number), place=0, scored_bytes=0, is_straddled=False, is_split=False)
        assert (store.group(number), store.group(number // 2)) == (
            one(number, 1 + number),
            one(number // 2, 1 + number // 2),
        )


def test_picked_rows_are_a_sequence() -> None:
    store = fill([one(number) for number in range(5)])
    picked = Picked(store.group, np.array([4, 0, 0, 2], dtype=np.uint32))
    assert [group[0].ids[0] for group in picked] == [4, 0, 0, 2]
    assert picked[-1] == one(2)
    assert list(picked[1:]) == [one(0), one(0), one(2)]
    assert next(reversed(picked)) == one(2)
    with pytest.raises(IndexError):
        picked[4]


def test_what_does_not_fit_is_an_error() -> None:
    with pytest.raises(OverflowError):
        fill([one(2**31)])


def test_file_has_no_name_and_is_closed_with_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADATTA_CACHE", str(tmp_path / "cache"))
    store = fill([one(1)])
    descriptor = store._file.fileno()
    assert list((tmp_path / "cache").iterdir()) == []
    picked = Picked(store.group, range(1))
    del store
    assert list(picked) == [one(1)]
    del picked
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_disk_that_is_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADATTA_CACHE", str(tmp_path / "cache"))
    store = TokenStore()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(
            DataError, match=r"tokens can't be kept in .*/cache \(File too large\); make room"
        ):
            store.append(one(1, length=1000), place=0, scored_bytes=0, is_straddled=False, is_split=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_folder_that_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ADATTA_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"kept in .*/file \(File exists\); .* set ADATTA_CACHE"):
        TokenStore()
