"""Read training rows from files and name every mistake in them, all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from adatta.core.errors import Problem, RowError, TemplateError
from adatta.core.records import Document, Origin, Row
from adatta.core.registry import load_registry
from adatta.data.shape import RowKind, shape_row

_SHOWN = 20
_NOT_DATA = ("readme", "license")


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
        for file in find_files(Path(path), problems):
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


@cache
def _sources() -> Mapping[str, Any]:
    return load_registry("adatta.data.sources")


def find_files(path: Path, problems: list[Problem]) -> Iterator[Path]:
    """Yield the data files that a path stands for, sorted.

    Args:
        path: A file or a folder.
        problems: What is missing or of an unknown kind is added here.

    Yields:
        Files of a known kind.
    """
    known = ", ".join(f".{name}" for name in sorted(_sources()))
    if path.is_dir():
        found = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file() and not _is_extra(file.relative_to(path))
        ]
        if not found:
            problems.append(
                Problem(where=str(path), what="no data file in this folder", hint=f"put {known} there")
            )
    else:
        found = [path]
    for file in found:
        if not file.is_file():
            problems.append(Problem(where=str(file), what="no such file", hint="correct the path"))
        elif file.suffix.removeprefix(".") not in _sources():
            hint = f"data files are {known}"
            problems.append(Problem(where=str(file), what=f"unknown kind of file {file.suffix!r}", hint=hint))
        else:
            yield file


def _is_extra(file: Path) -> bool:
    """Say whether a file of a folder is not meant as data: hidden, a README, a licence."""
    return any(part.startswith(".") for part in file.parts) or file.name.lower().startswith(_NOT_DATA)


def _read_file(path: Path, kind: RowKind, rows: list[Row], problems: list[Problem]) -> None:
    num_before = len(rows) + len(problems)
    for line, fields in _sources()[path.suffix.removeprefix(".")](path, problems):
        shaped = shape_row(fields, kind, origin=Origin(path=str(path), line=line))
        problems += [Problem(where=f"{path}:{line}", **mistake._asdict()) for mistake in shaped.mistakes]
        if shaped.row is not None:
            rows.append(shaped.row)
    if len(rows) + len(problems) == num_before:
        problems.append(
            Problem(where=str(path), what="empty file", hint="write rows into it, or take it out")
        )
