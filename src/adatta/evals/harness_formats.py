"""Layouts of the benchmarks' original releases, read into the columns that the harness' tasks expect."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from adatta.core.problems import Sink
from adatta.data.source import Numbered, read_file, sift
from adatta.evals.harness_suite import FormatName, Row


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


def _convert_mmlu(row: Row) -> Iterator[Row]:
    if "cells" in row:
        question, *choices, answer = row["cells"]
        if len(choices) != 4:
            raise ValueError(f"{len(choices)} options")
        row = {**row, "question": question, "choices": choices, "answer": ["A", "B", "C", "D"].index(answer)}
    yield row


CONVERTERS: Mapping[FormatName, Callable[[Row], Iterator[Row]]] = {
    "italic": _convert_italic,
    "squad": _convert_squad,
    "arc": _convert_arc,
    "truthfulqa": _convert_truthfulqa,
    "include": _convert_include,
    "mmlu": _convert_mmlu,
}
"""What turns a row of a release, or of the Hub, into rows with the task's columns; others have them."""


def read_release(path: Path, layout: FormatName, *, problems: Sink) -> Iterator[Numbered]:
    """Read the rows of one file of a release, with or without byte order mark.

    Args:
        path: The file.
        layout: `mmlu` tables have no header and are named by their subject; all others are told by suffix.
        problems: Takes what is wrong.

    Returns:
        Line or record from 1, and fields.
    """
    if layout != "mmlu" or path.suffix != ".csv":
        return read_file(path, problems, skip_mark=True)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        table, subject = csv.reader(file), path.stem.rpartition("_")[0]
        rows = [(table.line_num, {"subject": subject, "cells": cells}) for cells in table]
    return sift(rows, path=path, problems=problems)
