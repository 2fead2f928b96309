"""JSONL is read row by row; every mistake has its line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adatta.core.errors import DataError
from adatta.core.rows import read_jsonl

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def read(path):
    problems = []
    rows = list(read_jsonl(path, problems))
    return rows, [(problem.where.removeprefix(str(path)), problem.what) for problem in problems]


def test_read_jsonl_with_mistakes_reports_all_and_keeps_the_rest(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'{"a": 1}\n'
        b"\n"
        b'{"a": \n'
        b"[1]\n"
        b'{"a": "\xff"}\n'
        b'{"a": NaN}\n'
        b'{"a": 1, "a": 2}\n'
        b'{"a": "\\ud800"}\n'
        b'{"a": "\xe2\x80\xa8"}\r\n' + b'{"a": ' + b"[" * 100_000 + b"\n"
        b'{"a": "last"}'
    )
    rows, problems = read(path)
    assert rows == [(1, {"a": 1}), (9, {"a": "\u2028"}), (11, {"a": "last"})]
    assert [where for where, _ in problems] == [":3", ":4", ":5", ":6", ":7", ":8", ":10"]
    expected = ["column 7", "a list", "byte 8", "NaN", "'a' stands twice", "surrogate", "unusable JSON"]
    for (_, what), part in zip(problems, expected, strict=True):
        assert part in what


def test_read_jsonl_with_byte_order_mark_costs_its_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n')
    rows, problems = read(path)
    assert rows == [(2, {"a": 2})]
    assert problems == [(":1", "byte order mark")]


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.dictionaries(TEXT, TEXT | st.integers()), max_size=5), ascii_only=st.booleans())
def test_read_jsonl_of_written_rows_is_the_rows(rows, ascii_only, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows), encoding="utf-8"
    )
    assert read(path) == (list(enumerate(rows, start=1)), [])


def test_read_jsonl_without_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.jsonl: can't be read"):
        read(tmp_path / "nothing.jsonl")
