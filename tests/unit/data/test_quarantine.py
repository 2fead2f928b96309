"""Rows put aside are written with their reasons, counted, and their loss is told."""

from __future__ import annotations

import json
from functools import partial
from io import BytesIO

import pytest

from adatta.core.errors import Problem
from adatta.core.records import Document, Origin
from adatta.core.rows import parse_row, read_lines
from adatta.data.quarantine import Quarantine
from adatta.data.validate import Refused, Validation


def problem(line: int, reason: str, what: str = "wrong") -> Problem:
    return Problem(where=f"a.jsonl:{line}", what=what, reason=reason, field="text")


def test_rows_are_written_and_counted_by_their_first_reason() -> None:
    aside = Quarantine()
    fields = {"text": "perché \udc80", "n": float("inf")}
    aside.add(
        Refused(problems=(problem(1, "empty"), problem(1, "nul", "worse")), fields=fields), scored_tokens=None
    )
    aside.add(Refused(problems=(problem(2, "broken_json"),)), scored_tokens=None)
    row = Document(text="ciao", row_id="0" * 16, origin=Origin(path="a.jsonl", line=3))
    aside.add(Refused(problems=(problem(3, "empty"),), row=row), scored_tokens=4)
    first, second, third = (json.loads(line) for line in aside.content().decode("utf-8").splitlines())
    assert first == {
        "where": "a.jsonl:1",
        "reason": "empty",
        "field": "text",
        "what": "wrong",
        "also": ["worse"],
        "fields": fields,
    }
    assert (second["reason"], second["fields"]) == ("broken_json", None)
    assert third["fields"]["text"] == "ciao"
    assert (aside.rows, aside.reasons) == (3, {"empty": 2, "broken_json": 1})
    assert len(aside.problems) == 4
    size = len(json.dumps(fields, ensure_ascii=False).encode("utf-8", "backslashreplace"))
    assert aside.losses() == {"lost_scored_tokens": 4, "lost_bytes": size}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "perch\xc3\xa9", ', "broken_json"),
        (b'{"text": "perch\xe9 \xf0\x9f"}', "not_utf8"),
        (b'{"a": "\x00"}', "nul"),
        (b'\xef\xbb\xbf{"text": "a"}', "byte_order_mark"),
    ],
)
def test_line_that_is_no_json_is_kept_byte_by_byte(line: bytes, reason: str) -> None:
    aside = Quarantine()
    validation = Validation(
        "document", refuse=partial(aside.add, scored_tokens=None), warn=pytest.fail, meaning=None
    )
    assert list(read_lines(BytesIO(line + b"\r\n"), path="a.jsonl", problems=validation)) == []
    (put,) = (json.loads(text) for text in aside.content().decode("utf-8").splitlines())
    assert (put["where"], put["reason"]) == ("a.jsonl:1", reason)
    assert put["fields"].encode("utf-8", "surrogateescape") == line
    assert aside.losses() == {"lost_scored_tokens": 0, "lost_bytes": len(line)}
    assert aside.problems.first[0].read is None, "what may be long isn't kept twice"


@pytest.mark.parametrize(
    ("line", "read"),
    [(b"[1, 2]", [1, 2]), (b'{"text": "a\\ud800"}', {"text": "a\ud800"}), (b'{"a": "\\u0000"}', {"a": "\0"})],
)
def test_json_that_is_no_row_is_kept_as_it_was_read(line: bytes, read: object) -> None:
    problem = parse_row(line, where="a.jsonl:1")
    assert isinstance(problem, Problem)
    assert problem.read == read
