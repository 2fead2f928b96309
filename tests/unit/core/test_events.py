"""Metrics survive a crash and never hold a step twice."""

from __future__ import annotations

import json

import pytest

from adatta.core.errors import ArtefactError
from adatta.core.events import MetricsLog, read_metrics


def test_metrics_are_readable_as_soon_as_they_are_appended(tmp_path):
    with MetricsLog(tmp_path / "m.jsonl") as log:
        log.append({"step": 1, "loss": 0.1})
        assert read_metrics(tmp_path / "m.jsonl") == [{"step": 1, "loss": 0.1}]


def test_metrics_resumed_equal_metrics_uninterrupted(tmp_path):
    rows = [{"step": step, "loss": 1 / step} for step in range(1, 7)]
    with MetricsLog(tmp_path / "whole.jsonl") as log:
        for row in rows:
            log.append(row)
    with MetricsLog(tmp_path / "torn.jsonl") as log:
        for row in rows[:5]:
            log.append(row)
    with (tmp_path / "torn.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    with MetricsLog(tmp_path / "torn.jsonl", resume_step=4) as log:
        for row in rows[4:]:
            log.append(row)
    assert (tmp_path / "torn.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_metrics_without_resume_begin_empty(tmp_path):
    with MetricsLog(tmp_path / "m.jsonl") as log:
        log.append({"step": 1})
    with MetricsLog(tmp_path / "m.jsonl") as log:
        log.append({"step": 0})
    assert read_metrics(tmp_path / "m.jsonl") == [{"step": 0}]
    assert read_metrics(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("row", [{"loss": 1.0}, {"step": 1, "loss": float("nan")}])
def test_metrics_that_cannot_be_compared_are_refused(tmp_path, row):
    with MetricsLog(tmp_path / "m.jsonl") as log, pytest.raises(ArtefactError):
        log.append(row)


def test_read_metrics_broken_in_the_middle_names_the_line(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"step": 1}) + "\n{\n" + json.dumps({"step": 2}) + "\n")
    with pytest.raises(ArtefactError, match=r"m\.jsonl:2"):
        read_metrics(path)
