"""Rows read from files the short way, and the reasons that docs/data-formats.md gives for refusing one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adatta.core.errors import Problem, RowError
from adatta.core.problems import Problems
from adatta.core.records import Row
from adatta.data.shape import RowKind
from adatta.data.source import find_files, read_file
from adatta.data.validate import Input, Refused, Validation

PAGE = (Path(__file__).parents[2] / "docs" / "data-formats.md").read_text(encoding="utf-8")
REASONS = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.partition("| reason |")[2], re.MULTILINE))


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsReport:
    """The good rows of some files, in order, and all problems of the others."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]

    def require(self) -> tuple[Row, ...]:
        """Return the rows if there is no problem."""
        if self.problems:
            found = Problems()
            for problem in self.problems:
                found.append(problem)
            raise RowError(found.shortened(), counts=found.counts)
        return self.rows


def read_rows(paths: Sequence[str | Path], kind: RowKind) -> RowsReport:
    """Read rows of one kind and check their structure, repetitions apart."""
    problems: list[Problem] = []
    rows: list[Row] = []

    def refuse(refused: Refused) -> None:
        problems.extend(refused.problems)

    validation = Validation(kind, refuse=refuse, warn=problems.append, meaning=None)
    for path in paths:
        for file in find_files(path, validation):
            rows += validation.rows(Input(name=str(file), records=read_file(file, validation)))
    return RowsReport(rows=tuple(rows), problems=tuple(problems))
