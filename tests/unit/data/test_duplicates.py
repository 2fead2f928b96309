"""A repeated row is told with its first place, in bounded memory."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from adatta.core.records import Document, Origin
from adatta.data.duplicates import SeenRows


def row(number: int, line: int, path: str = "a.jsonl") -> Document:
    return Document(text="", row_id=f"{number:016x}", origin=Origin(path=path, line=line))


@given(
    st.lists(
        st.tuples(st.integers(0, 30) | st.integers(0, 2**64 - 1), st.integers(1, 9) | st.integers(1, 900)),
        max_size=200,
    )
)
def test_find_agrees_with_a_dictionary(pairs: list[tuple[int, int]]) -> None:
    seen, first = SeenRows(), {}
    for number, line in pairs:
        path = f"{line % 2}.jsonl"
        assert seen.find(row(number, line, path)) == first.get(number)
        first.setdefault(number, f"{path}:{line}")
    assert [seen.place(index) for index in range(len(first))] == list(first.values())


def test_find_keeps_at_most_16_bytes_a_row() -> None:
    seen, num_rows = SeenRows(), 30_000
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    # Ids as a hash gives them: spread over the 64 bits.
    found = [seen.find(row(number * 0x9E3779B97F4A7C15 % 2**64, number)) for number in range(num_rows)]
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert not any(found)
    assert kept - num_rows * 8 < 16 * num_rows + 20_000  # the list of results has 8 bytes an entry
    assert seen.find(row(5 * 0x9E3779B97F4A7C15 % 2**64, 1)) == "a.jsonl:5"


def test_place_of_a_row_far_behind_the_beginning_of_its_run_is_told() -> None:
    seen, num_rows = SeenRows(), 5000
    for number in range(num_rows):
        assert seen.find(row(number, 3 * number + 1)) is None
    assert [seen.place(number) for number in (0, 1023, 1024, 4999)] == [
        f"a.jsonl:{3 * number + 1}" for number in (0, 1023, 1024, 4999)
    ]
