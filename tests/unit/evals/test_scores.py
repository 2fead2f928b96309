"""Scores survive the way to disk and back."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adatta.core.errors import EvalError
from adatta.core.records import Score
from adatta.evals.scores import read_scores, write_scores

SCORED = Score(
    model_fingerprint="a1",
    stage="base",
    suite="offline",
    suite_version=1,
    task="pairs_it",
    language="it",
    item_id="0" * 16,
    item_hash="f" * 64,
    cluster_id="0" * 16,
    metric="accuracy",
    status="scored",
    score=0.1 + 0.2,
    log_prob=-12.5,
    num_tokens=7,
    num_bytes=19,
    prompt_hash="e" * 16,
    output="agreement: è giusto\n",
)
FAILED = replace(
    SCORED, status="failed", reason="a log-prob is not a finite number", score=None, log_prob=None
)


def test_scores_are_read_as_written(tmp_path):
    write_scores(tmp_path / "scores.parquet", [SCORED, FAILED])
    assert read_scores(tmp_path / "scores.parquet") == [SCORED, FAILED]


def test_equal_scores_give_equal_bytes(tmp_path):
    for name in "ab":
        write_scores(tmp_path / name, [SCORED, FAILED])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "wrong",
    [
        replace(SCORED, score=None),
        replace(SCORED, reason="why"),
        replace(FAILED, reason=None),
        replace(FAILED, reason=""),
        replace(FAILED, score=0.0),
    ],
)
def test_score_without_value_or_reason_is_refused(tmp_path, wrong):
    with pytest.raises(EvalError, match="a scored item has a score, any other a reason"):
        write_scores(tmp_path / "scores.parquet", [wrong])
    assert not list(tmp_path.iterdir())


def test_no_scores_are_refused(tmp_path):
    with pytest.raises(EvalError, match="no scores"):
        write_scores(tmp_path / "scores.parquet", [])


def test_other_files_and_columns_are_refused(tmp_path):
    path = tmp_path / "scores.parquet"
    path.write_text("no parquet")
    with pytest.raises(EvalError, match="can't be read"):
        read_scores(path)
    pq.write_table(pa.table({"score": [1.0]}), path)
    with pytest.raises(EvalError, match="other columns"):
        read_scores(path)
    with pytest.raises(EvalError, match="can't be read"):
        read_scores(tmp_path / "missing.parquet")
