"""Read training rows from files and name every mistake in them, all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adatta.core.errors import Problem, RowError, TemplateError
from adatta.core.records import Document, Origin, Row
from adatta.data.shape import RowKind, shape_row
from adatta.data.source import find_files, read_file

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsReport:
    """The good rows of some files, in order, and all problems of the others."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]

    def require(self) -> tuple[Row, ...]:
        """Return the rows if there is no problem.

        Raises:
            RowError: There are problems; the first twenty are told in full, the rest are counted.
        """
        if self.problems:
            raise RowError(shorten_problems(self.problems))
        return self.rows


def shorten_problems(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Keep the first twenty problems and put a count in place of the rest."""
    if len(problems) <= _SHOWN:
        return tuple(problems)
    rest = len(problems) - _SHOWN
    return (*problems[:_SHOWN], Problem(where="", what=f"... and {rest} more problem{'s' * (rest > 1)}"))


def read_rows(paths: Sequence[str | Path], kind: RowKind) -> RowsReport:
    """Read rows of one kind.

    Args:
        paths: Files (`.jsonl`: one row a line; `.txt`: one document) and folders of them, read sorted.
        kind: The row kind that is expected.

    Returns:
        Good rows and problems; a row with a problem is not among the rows.
    """
    rows: list[Row] = []
    problems: list[Problem] = []
    for path in paths:
        for file in find_files(path, problems):
            _read_file(file, kind, rows, problems)
    return RowsReport(rows=tuple(rows), problems=tuple(problems))


def check_lengths(rows: Sequence[Row], measure: Callable[[Row], int], context: int) -> tuple[Problem, ...]:
    """Find the rows that don't fit into the context; documents always do, as they are cut into windows.

    Args:
        rows: The rows.
        measure: Number of tokens of a row.
        context: Largest number of tokens.

    Returns:
        A problem for each row over the context, and for each that the chat template can't render exactly.
    """
    problems = []
    for row in rows:
        where = f"{row.origin.path}:{row.origin.line}"
        try:
            tokens = 0 if isinstance(row, Document) else measure(row)
        except TemplateError as error:
            problems.append(Problem(where=where, what=str(error)))
            continue
        if tokens > context:
            what = f"{tokens} tokens, the context has {context}"
            problems.append(
                Problem(where=where, what=what, hint="shorten the row, or raise the recipe's context")
            )
    return tuple(problems)


def _read_file(path: Path, kind: RowKind, rows: list[Row], problems: list[Problem]) -> None:
    for line, fields in read_file(path, problems):
        shaped = shape_row(fields, kind, origin=Origin(path=str(path), line=line))
        problems += [Problem(where=f"{path}:{line}", **mistake._asdict()) for mistake in shaped.mistakes]
        if shaped.row is not None:
            rows.append(shaped.row)
