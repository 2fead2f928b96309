"""Rows put aside are written with their reasons, counted, and their loss is told."""

from __future__ import annotations

import json

from adatta.core.errors import Problem
from adatta.core.records import Document, Origin
from adatta.data.quarantine import Quarantine
from adatta.data.validate import Refused


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
