"""Texts of a user to work on: read from a file or the standard input; what was found, written and shown."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from adatta.core.artefact import write_atomic
from adatta.core.errors import DataError, Problem, RowError
from adatta.core.problems import Problems
from adatta.core.rows import read_lines
from adatta.pipeline.numbers import show_plainly

if TYPE_CHECKING:
    from adatta.data.source import Numbered
    from adatta.evals.classify import Classified

_TABLE = re.compile(r"\.(csv|tsv|jsonl?|parquet)(\.gz|\.zst)?$")


def read_texts(
    file: Path | None,
    column: str,
    *,
    gold_column: str | None = None,
    labels: Collection[str] = (),
    jsonl: bool = False,
) -> tuple[dict[str, str], list[str]]:
    """Read the texts of a column, or the lines of what is no table.

    Args:
        file: a table (CSV, TSV, JSONL, JSON, Parquet) or a file of lines; None for the standard input.
        column: of the texts; lines have the column `text`.
        gold_column: of the right labels.
        labels: those that there are.
        jsonl: whether the standard input has JSON objects in its lines.

    Returns:
        The texts by their place, and the right label of each where a column has them.

    Raises:
        DataError: the file can't be read, or has no such column.
        RowError: rows can't be read, or hold something else than a text, or a right label that there isn't.
    """
    name, problems = str(file or "standard input"), Problems()
    texts: dict[str, str] = {}
    gold = []
    for number, row in _read_rows(file, problems, jsonl=jsonl):
        place = f"{name}:{number}"
        place += f", row {len(texts) + 1}" * (place in texts)
        for wanted in (column, gold_column or column):
            if wanted not in row:
                what = f"no column {wanted!r}; there are: {', '.join(map(repr, row))}"
                hint = "name a column that there is; the first line of a table has their names"
                raise DataError(Problem(where=place, what=what, hint=hint))
        if not isinstance(row[column], str):
            problems.append(Problem(where=place, what=f"{column!r} is {row[column]!r}, no text"))
        texts[place] = row[column]
        if gold_column:
            gold.append(str(row[gold_column]))
            if gold[-1] not in labels:
                what, hint = f"unknown label {gold[-1]!r}", f"the labels are: {', '.join(labels)}"
                problems.append(Problem(where=place, what=what, hint=hint))
    if problems.first:
        raise RowError(problems.shortened())
    if not texts:
        raise DataError(Problem(where=name, what="nothing in it", hint="give at least one text"))
    return texts, gold


def _read_rows(file: Path | None, problems: Problems, *, jsonl: bool) -> Iterator[Numbered]:
    from adatta.data.source import read_file, sift

    name = file or "standard input"
    if file is None and sys.stdin.isatty():
        print("reading what you type; Ctrl-D ends it", file=sys.stderr)
    try:
        stream = file.open("rb") if file else sys.stdin.buffer
    except OSError as error:
        what = f"can't be read: {error.strerror}"
        raise DataError(Problem(where=str(name), what=what, hint="give the path of a file")) from error
    with stream:
        if file and _TABLE.search(file.name.lower()):
            yield from read_file(file, problems, skip_mark=True)
        elif jsonl:
            yield from read_lines(stream, path=name, problems=problems)
        else:
            lines = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape")
            rows = ((number, {"text": line.rstrip("\n")}) for number, line in enumerate(lines, start=1))
            yield from sift(rows, path=name, problems=problems)


def check_out(out: Path) -> None:
    """Refuse a file that can't be written, before anything is computed.

    Raises:
        DataError: it is of another kind, or its folder isn't there or can't be written to.
    """
    try:
        if out.suffix not in (".jsonl", ".csv") or out.is_dir():
            raise OSError(0, "not the name of a .jsonl or .csv file")
        TemporaryFile(dir=out.parent).close()
    except OSError as error:
        what, hint = (
            f"can't be written: {error.strerror}",
            "name a .jsonl or .csv file in a folder that there is",
        )
        raise DataError(Problem(where=str(out), what=what, hint=hint)) from error


def write_results(texts: Collection[str], found: Sequence[Classified], *, out: Path | None) -> None:
    """Write what each text got, in order: as CSV where `out` says so, else as JSON lines."""
    file = io.StringIO()
    rounded = [{label: round(share, 6) for label, share in each.probabilities.items()} for each in found]
    if out is not None and out.suffix == ".csv":
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["text", "labels", *(f"p({label})" for label in rounded[0])])
        for text, each, shares in zip(texts, found, rounded, strict=True):
            table.writerow([text, "; ".join(each.labels), *shares.values()])
    else:
        for text, each, shares in zip(texts, found, rounded, strict=True):
            line = {"text": text, "labels": each.labels, "probabilities": shares}
            print(json.dumps(line, ensure_ascii=False), file=file)
    if out is None:
        print(file.getvalue(), end="")
    else:
        write_atomic(out, file.getvalue())
        print(f"wrote {out}")


def agreement_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Write what `evals.classify.measure_agreement` gives as lines: accuracy, macro F1, confusion table."""
    yield f"n = {figures['n']}, 95% intervals"
    for name in ("accuracy", "macro_f1"):
        yield f"{name:<10} {show_plainly(figures[name])}"
    confusion = figures["confusion"]
    labels = list(dict.fromkeys(label for row in confusion.values() for label in row))
    width = max(map(len, [*labels, "right | found"]))
    yield "  ".join([f"\n{'right | found':<{width}}", *(f"{label:>6}" for label in labels), "recall"])
    for right, row in confusion.items():
        counts = (f"{row[label]:>{max(6, len(label))}}" for label in labels)
        yield "  ".join([f"{right:<{width}}", *counts, show_plainly(figures["recall"][right])])
