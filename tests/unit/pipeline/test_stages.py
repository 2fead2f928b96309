"""What an evaluation warns of in its benchmarks, and when it is tried again."""

from __future__ import annotations

from typing import Any

from adatta.pipeline.plan import has_failed
from adatta.pipeline.stages import warn_of

RUN: dict[str, Any] = {"task": "mele", "status": "run", "num_rows": 10, "counts": {"rows": 10}}


def warn(**changes: Any) -> list[str]:
    return list(warn_of("base", {"benchmarks": [RUN | changes]}))


def test_nothing_is_said_of_what_is_as_published() -> None:
    assert warn() == []
    assert warn(num_rows=None, counts={"rows": 7}) == []


def test_another_number_of_rows_than_published_is_told() -> None:
    assert warn(counts={"rows": 9}) == ["mele has 9 rows, its split was published with 10"]


def test_cut_requests_and_their_items_are_counted() -> None:
    (said,) = warn(counts={"rows": 10, "truncated": 8}, cut={"a": 3, "b": 1})
    assert said.startswith("mele: 8 requests to base lost their beginning")
    assert said.endswith("the record names their 2 items")


def test_a_task_that_failed_or_was_not_run_has_no_counts() -> None:
    failed = {"task": "mele", "status": "failed", "reason": "out of memory"}
    assert list(warn_of("base", {"benchmarks": [failed]})) == ["mele failed for base: out of memory"]
    assert list(warn_of("base", {"benchmarks": [failed | {"status": "not run"}]})) == []


def test_only_what_failed_is_tried_again() -> None:
    assert has_failed([RUN, {"status": "failed"}])
    assert not has_failed([RUN, {"status": "not run"}])
    assert not has_failed([])
