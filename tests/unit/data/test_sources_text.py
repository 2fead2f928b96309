"""JSONL and texts: one mistake costs one row and never a neighbour."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from adatta.core import rows as core_rows
from adatta.data.source import find_files, read_file

DAMAGES = [b"\xff", b"\0", b"{", b'"', b"]", b"\\ud800", b"\xef\xbb\xbf", b"\r", b"[" * 2000, b"NaN"]


def read(path: Path) -> tuple[list, list]:
    problems: list = []
    return list(read_file(path, problems)), problems


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "perch\xe9"}', "not_utf8"),
        (b'{"text": "\xed\xa0\x80"}', "not_utf8"),  # a surrogate, written as bytes
        (b'\xef\xbb\xbf{"text": "a"}', "byte_order_mark"),
        (b'{"text": "a\0b"}', "nul"),
        (b'{"text": "a\\u0000b"}', "nul"),
        (b'{"text": ["a", {"b": "\\uD83D"}]}', "surrogate"),
        (b'{"\\udfff": "a"}', "surrogate"),
        (b'{"text": {"a\\u0000": 1}}', "nul"),
        (b'{"text": ', "broken_json"),
        (b'{"text": "a"} {"text": "b"}', "broken_json"),
        (b'{"text": Infinity}', "broken_json"),
        (b'{"text": "a", "text": "b"}', "broken_json"),
        (b'{"text": ' + b"9" * 5000 + b"}", "broken_json"),
        (b'{"text": ' + b"[" * 100_000, "broken_json"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
    ],
)
def test_a_broken_line_costs_its_row_only(line, reason, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "prima"}\n' + line + b'\n{"text": "dopo"}')
    rows, problems = read(path)
    assert rows == [(1, {"text": "prima"}), (3, {"text": "dopo"})]
    assert [(problem.where, problem.reason) for problem in problems] == [(f"{path}:2", reason)]
    str(problems[0]).encode()  # can be printed
    problems[0].field.encode()


def test_good_escapes_are_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "\\ud83d\\ude00 \\\\ud800 \\\\u0000 \\ud55c"}\n')
    assert read(path) == ([(1, {"text": "\U0001f600 \\ud800 \\u0000 \ud55c"})], [])


def test_rows_in_are_used_and_problems_and_untouched_rows_are_used(tmp_path):
    draw = random.Random(4)
    path = tmp_path / "a.jsonl"
    for _ in range(80):
        lines = [json.dumps({"text": f"riga {number}"}).encode() for number in range(30)]
        touched = set(draw.sample(range(30), draw.randrange(1, 6)))
        for number in touched:
            place = draw.randrange(len(lines[number]))
            lines[number] = lines[number][:place] + draw.choice(DAMAGES) + lines[number][place:]
        path.write_bytes(b"\n".join(lines))
        rows, problems = read(path)
        assert len(rows) + len(problems) == 30
        assert {number - 1 for number, _ in rows} >= set(range(30)) - touched


def test_a_line_beyond_the_limit_costs_its_row_only(tmp_path, monkeypatch):
    monkeypatch.setattr(core_rows, "LONGEST_LINE_BYTES", 64)
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "prima"}\n{"text": "' + "x" * 300 + '"}\n{"text": "dopo"}\n')
    rows, problems = read(path)
    assert [number for number, _ in rows] == [1, 3]
    assert [(problem.where, problem.what) for problem in problems] == [
        (f"{path}:2", "a line of 64 bytes or more")
    ]


def test_each_text_of_a_folder_is_a_row_or_a_problem(tmp_path):
    files = {
        "a.txt": (b"prima\r\n\n", None),
        "b.md": (b"# due\n\nC'era\n", None),
        "c.txt": (b"uno\ndue\xff", ("c.txt:2", "not_utf8")),
        "d.txt": (b"\xef\xbb\xbftre", ("d.txt:1", "byte_order_mark")),
        "e.txt": (b"uno\n\ndue\0", ("e.txt:3", "nul")),
        "f.txt": (b" \n", ("f.txt", "empty")),
        "g.txt": ("perché".encode("utf-16"), ("g.txt:1", "not_utf8")),
    }
    for name, (content, _) in files.items():
        (tmp_path / name).write_bytes(content)
    problems: list = []
    rows = [row for file in find_files(tmp_path, problems) for row in read_file(file, problems)]
    assert rows == [(1, {"text": "prima"}), (1, {"text": "# due\n\nC'era"})]
    told = [(problem.where.removeprefix(f"{tmp_path}/"), problem.reason) for problem in problems]
    assert told == [expected for _, expected in files.values() if expected]
