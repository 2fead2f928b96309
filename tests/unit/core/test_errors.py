"""Problems of rows as a table and as JSON; both say where, what, why and in which field."""

from __future__ import annotations

import json

from adatta.core.errors import Problem, RowError, problems_json
from adatta.core.problems import Problems


def found(num_problems: int) -> Problems:
    problems = Problems()
    for line in range(1, num_problems + 1):
        reason, field = ("empty", "messages.2.content") if line % 3 else ("not_utf8", "")
        problems.append(
            Problem(
                where=f"a.jsonl:{line}", what=f"mistake {line}", hint="mend it", reason=reason, field=field
            )
        )
    return problems


def test_table_tells_the_first_twenty_in_full_and_counts_all() -> None:
    problems = found(33)
    lines = str(RowError(problems.shortened(), counts=problems.counts)).splitlines()
    assert lines[:4] == [
        "a.jsonl:1: mistake 1",
        "    empty     messages.2.content  mend it",
        "a.jsonl:2: mistake 2",
        "    empty     messages.2.content  mend it",
    ]
    assert lines[5] == "    not_utf8                      mend it"
    assert lines[40:] == ["... and 13 more problems", "", "number  why", "    22  empty", "    11  not_utf8"]


def test_json_holds_the_same() -> None:
    problems = found(33)
    told = json.loads(json.dumps(problems_json(problems.shortened(), problems.counts)))
    assert len(told["problems"]) == 20
    assert told["problems"][2] == {
        "where": "a.jsonl:3",
        "what": "mistake 3",
        "hint": "mend it",
        "reason": "not_utf8",
        "field": "",
        "rows": 1,
    }
    assert told["counts"] == {"empty": 22, "not_utf8": 11}
