"""Scores on disk: `scores.parquet`, one row an item, metric and model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from adatta.core.artefact import write_atomic
from adatta.core.errors import EvalError
from adatta.core.records import Score

_TYPES = {"int": pa.int64(), "float": pa.float64()}  # all else is text


def _column(field: Field[Any]) -> pa.Field:
    """Make the column of a field of `Score`: what may be None may be null."""
    kind = str(field.type).removesuffix(" | None")
    return pa.field(field.name, _TYPES.get(kind, pa.string()), nullable=kind != field.type)


SCHEMA = pa.schema(map(_column, fields(Score)))


def write_scores(path: Path, scores: Sequence[Score]) -> None:
    """Write scores, in the order given; equal scores give equal bytes.

    Args:
        path: Of the file.
        scores: At least one.

    Raises:
        EvalError: There are none, or a scored item has no finite score or another one has one.
    """
    if not scores:
        raise EvalError(f"no scores for {path.name}; an evaluation without scores is none")
    for score in scores:
        is_scored = score.status == "scored"
        if is_scored != (score.score is not None) or is_scored == bool(score.reason):
            raise EvalError(
                f"item {score.item_id} of {score.task} is {score.status} with score {score.score} and reason "
                f"{score.reason!r}; a scored item has a score, any other a reason"
            )
    table = pa.Table.from_pylist([asdict(score) for score in scores], schema=SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes())


def read_scores(path: Path) -> list[Score]:
    """Read scores.

    Args:
        path: Of the file.

    Returns:
        The scores in the order written.

    Raises:
        EvalError: The file isn't Parquet or has other columns.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise EvalError(f"{path} can't be read as scores: {error}; evaluate again") from error
    if not table.schema.equals(SCHEMA):
        raise EvalError(f"{path} has other columns than this version of adatta writes; evaluate again")
    return [Score(**row) for row in table.to_pylist()]
