"""Metrics as JSON lines: appended and flushed step by step, cut back when a stage goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from adatta.core.artefact import write_atomic
from adatta.core.errors import ArtefactError


class MetricsLog:
    """Appends to a `metrics.jsonl`; a context manager.

    Args:
        path: the file; its folder exists.
        resume_step: the step of the checkpoint that training goes on from: lines after it are dropped, so
            that a step never stands twice. None begins an empty file.
    """

    def __init__(self, path: Path, *, resume_step: int | None = None) -> None:
        before = [] if resume_step is None else read_metrics(path)
        write_atomic(path, "".join(_line(row) for row in before if row["step"] <= resume_step))
        self._file = path.open("a", encoding="utf-8")

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one line; it holds `step` and finite numbers.

        Raises:
            ArtefactError: if it has no step, or a number that isn't finite.
        """
        if "step" not in row:
            raise ArtefactError(f"a line of metrics needs 'step', given: {', '.join(row)}")
        self._file.write(_line(row))
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file; one torn by a crash, at its end, is left out; no file is no lines.

    Raises:
        ArtefactError: if another line is broken.
    """
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ArtefactError(f"{path}:{number} is no JSON ({error}); move the file away") from error
    return rows


def _line(row: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(row), allow_nan=False, ensure_ascii=False) + "\n"
    except ValueError as error:
        raise ArtefactError(f"metrics must be finite numbers: {error}, given {dict(row)}") from error
