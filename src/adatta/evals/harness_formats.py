"""Layouts of the benchmarks' original releases, read into the columns that the harness' tasks expect."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from adatta.core.errors import Problem
from adatta.core.problems import Sink
from adatta.data.source import Numbered, read_file, sift
from adatta.evals.harness_suite import FormatName, Row


def _keep(row: Row) -> Iterator[Row]:
    yield row


def _convert_italic(row: Row) -> Iterator[Row]:
    letters, texts = zip(*(pair for option in row["options"] for pair in option.items()), strict=True)
    yield {**row, "letters": list(letters), "choices": list(texts), "label": letters.index(row["answer"])}


def _convert_squad(row: Row) -> Iterator[Row]:
    """Yield one row a question: of an article as released, of a text with its questions, of the Hub's row."""
    for passage in row.get("paragraphs", [row]):
        context = passage["context"] if "context" in passage else passage["text"]
        for asked in passage.get("qas", passage.get("questions", [passage])):
            found = asked["answers"]
            texts = found["text"] if isinstance(found, dict) else found
            answers = [answer["text"] if isinstance(answer, dict) else answer for answer in texts]
            yield {"context": context, "question": asked["question"], "answers": answers}


def _convert_itacola(row: Row) -> Iterator[Row]:
    fields = {name.lower(): value for name, value in row.items()}
    yield {"label": fields.get("acceptability"), "sentence": fields.get("text"), **fields}


def _convert_arc(row: Row) -> Iterator[Row]:
    asked = row["question"]
    if isinstance(asked, dict):
        choices = {key: [choice[key] for choice in asked["choices"]] for key in ("text", "label")}
        row = {**row, "question": asked["stem"], "choices": choices}
    yield row


def _convert_truthfulqa(row: Row) -> Iterator[Row]:
    targets = row["mc2_targets"]
    if "choices" not in targets:
        targets = {"choices": list(targets), "labels": list(targets.values())}
    yield {**row, "mc2_targets": targets}


def _convert_include(row: Row) -> Iterator[Row]:
    names = ("option_a", "option_b", "option_c", "option_d")
    yield {**row, **dict(zip(names, row["choices"], strict=True))} if "choices" in row else row


def _convert_honest(row: Row) -> Iterator[Row]:
    yield {**row, "template_masked": " ".join(row["template_masked"].split())}


CONVERTERS: Mapping[FormatName, Callable[[Row], Iterator[Row]]] = {
    "rows": _keep,
    "italic": _convert_italic,
    "squad": _convert_squad,
    "itacola": _convert_itacola,
    "arc": _convert_arc,
    "truthfulqa": _convert_truthfulqa,
    "include": _convert_include,
    "mmlu": _keep,
    "honest": _convert_honest,
}
"""What turns a row of a release, or of the Hub, into rows with the task's columns."""


def read_release(path: Path, layout: FormatName, problems: Sink) -> Iterator[Numbered]:
    """Read the rows of one file of a release, with or without byte order mark.

    Args:
        path: The file.
        layout: `mmlu` tables have no header and are named by their subject; all others are told by suffix.
        problems: Takes what is wrong.

    Yields:
        Line or record from 1, and fields.
    """
    if layout != "mmlu" or path.suffix != ".csv":
        yield from read_file(path, problems, skip_mark=True)
        return
    subject = path.stem.rpartition("_")[0]
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        table = csv.reader(file)
        for cells in table:
            if len(cells) == 6 and cells[5] in ("A", "B", "C", "D"):
                answer = "ABCD".index(cells[5])
                row = {"subject": subject, "question": cells[0], "choices": cells[1:5], "answer": answer}
                yield from sift([(table.line_num, row)], path=path, problems=problems)
            else:
                where, hint = f"{path}:{table.line_num}", "expected a question, four options and their letter"
                problems.append(Problem(where=where, what=f"{len(cells)} fields: {cells[:6]}", hint=hint))
