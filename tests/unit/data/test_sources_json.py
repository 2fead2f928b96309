"""JSON files: read row by row, up to the first damage, which is named with its byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adatta.data.source import read_file

ROWS = [{"text": f"perché {number}", "parts": [{"a": 1.5}, None, True]} for number in range(5)]


def read(path: Path, content: str | bytes) -> tuple[list, list]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    problems: list = []
    rows = list(read_file(path, problems, tolerant=True))
    return rows, [(problem.where.removeprefix(str(path)), problem.what) for problem in problems]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("key", [None, "data", "rows", "train"])
def test_json_gives_the_objects_with_their_line_or_their_number_on_a_line_of_many(key, indent, tmp_path):
    value = ROWS if key is None else {key: ROWS, "version": "1"}
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    rows, problems = read(tmp_path / "a.json", text + "\n")
    assert ([row for _, row in rows], problems) == (ROWS, [])
    lines = text.splitlines()
    openings = [
        number
        for number, line in enumerate(lines, start=1)
        if line.strip() == "{" and '"text"' in lines[number]
    ]
    assert [number for number, _ in rows] == (openings or [1, 2, 3, 4, 5])


def test_a_version_may_stand_before_the_list_and_nothing_else(tmp_path):
    before = [json.dumps({key: "1.1", "data": ROWS}, ensure_ascii=False) for key in ("version", "title")]
    (rows, problems), (none, others) = (read(tmp_path / "a.json", text) for text in before)
    assert ([row for _, row in rows], problems) == (ROWS, [])
    assert (none, [what for _, what in others]) == ([], ["not a list of rows"])


def test_json_of_any_length_of_rows_is_what_was_written(tmp_path):
    rows = [{"text": "è" * length, "n": length} for length in (1, 65_000, 65_530, 65_536, 200_000, 3)] * 3
    found, problems = read(tmp_path / "a.json", json.dumps(rows, ensure_ascii=False))
    assert ([row for _, row in found], problems) == (rows, [])


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ('[{"a": 1}, {"a": 2}, {"a"', 1, "damaged: Expecting ':' delimiter at byte 26"),
        ('[{"a": 1}, {"a": 2}', 1, "damaged: Expecting ',' or ']' at byte 20"),
        ('[{"a": 1},\n{"a": 2}\n{"a": 3}]', 3, "damaged: Expecting ',' or ']' at byte 21"),
        ('[{"a": 1},\n{"è": 2},\nx]', 3, "damaged: Expecting value at byte 23"),
        ('[{"a": 1}, {"a": 2},]', 1, "damaged: Expecting value at byte 21"),
        ('[{"a": 1}, {"a": 2}] [', 1, "damaged: Expecting nothing behind the list at byte 22"),
        ('[{"a": 1}, {"a": 2}, {"b": "x', 1, "damaged: Unterminated string starting at"),
        ('[{"a": 1}, {"a": 2}, ' + "[" * 50_000, 1, "damaged: too many brackets at byte 22"),
    ],
)
def test_json_is_read_up_to_the_damage(content, line, what, tmp_path):
    rows, problems = read(tmp_path / "a.json", content)
    assert [number for number, _ in rows] == [1, 2]
    ((where, told),) = problems
    assert where == f":{line}"
    assert told.startswith(what)


def test_json_damage_far_behind_the_beginning_has_its_byte(tmp_path):
    sound = "[" + '{"text": "è"},\n' * 20_000
    rows, problems = read(tmp_path / "a.json", sound + "x]")
    assert len(rows) == 20_000
    ((where, told),) = problems
    assert where == ":20001"
    assert told.startswith(f"damaged: Expecting value at byte {len(sound.encode()) + 1};")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (b'{"a": 1, "a": 2}', "unusable JSON: the key 'a' stands twice in one object"),
        (b'{"a": NaN}', "unusable JSON: NaN is no JSON number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "unusable JSON: Exceeds the limit"),
        (b'"a"', "a str instead of an object"),
        (b'{"a": "\xe9"}', "no UTF-8 at byte 8"),
        (b'{"a": "\\ud800"}', "half a surrogate pair"),
        (b'{"a": "\\u0000"}', "a NUL character"),
    ],
)
def test_json_with_a_row_that_cannot_be_used_goes_on_behind_it(row, what, tmp_path):
    rows, problems = read(tmp_path / "a.json", b'[{"a": 1},\n' + row + b', {"a": 3}]')
    assert rows == [(1, {"a": 1}), (3, {"a": 3})]
    ((where, told),) = problems
    assert where == ":2"
    assert told.startswith(what)


@pytest.mark.parametrize("content", ['{"a": 1}\n{"a": 2}\n', "3", '"[]"', '{"a": [{"b": 1}]}', "x"])
def test_json_that_is_no_list_of_rows_says_what_is_expected(content, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(content)
    problems: list = []
    assert list(read_file(path, problems)) == []
    (problem,) = problems
    assert problem.what == "not a list of rows"
    assert ".jsonl" in problem.hint


def test_json_with_a_byte_order_mark_says_so_and_is_read(tmp_path):
    rows, problems = read(tmp_path / "a.json", b'\xef\xbb\xbf[{"a": 1}]')
    assert (rows, problems) == ([(1, {"a": 1})], [(":1", "byte order mark")])
