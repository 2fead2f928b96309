"""The sentiment set and the conversations that teach it: balanced, different, Italian, and apart."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from adatta.core.records import Origin
from adatta.data.overlap import words
from adatta.data.shape import shape_row
from adatta.data.source import read_file
from adatta.data.text_checks import find_text_mistake
from adatta.lang.identify import identify

DATA = Path(__file__).parents[3] / "data"
ASKED, TAUGHT = DATA / "classification" / "sentiment.csv", DATA / "classification" / "sentiment_train.jsonl"
LABELS = ["negativo", "neutro", "positivo"]
PHENOMENA = {
    "none": LABELS,
    "negation": LABELS,
    "concession": LABELS,
    "comparison": LABELS,
    "irony": ["negativo", "positivo"],
    "understatement": ["negativo", "positivo"],
    "implicit_complaint": ["negativo"],
}
REGISTERS = {"recensione": 72, "messaggio": 36, "forum": 32, "e-mail": 30, "commento": 30}
MOST_REPEATED = 0.03
SHORT_CHARS, MOST_UNSURE = 60, 0.05  # below, a text may not tell its language


def read(path: Path) -> list[dict]:
    problems: list = []
    rows = [row for _, row in read_file(path, problems)]
    assert problems == []
    return rows


def grams(text: str, width: int) -> Iterator[tuple[str, ...]]:
    listed = words(text)
    yield from (tuple(listed[start : start + width]) for start in range(len(listed) - width + 1))


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from strings(each)


def repeated(texts: Iterable[str]) -> float:
    """Return the share of texts that begin with the same four words as another one."""
    begins = [tuple(words(text)[:4]) for text in texts]
    counts = Counter(begins)
    return sum(counts[begin] > 1 for begin in begins) / len(begins)


@pytest.fixture(scope="module")
def asked() -> list[dict]:
    return read(ASKED)


@pytest.fixture(scope="module")
def taught() -> list[dict]:
    return read(TAUGHT)


def prompt(row: dict) -> str:
    return row["messages"][0]["content"]


def test_labels_registers_and_phenomena_are_even_in_both_halves(asked):
    assert {tuple(row) for row in asked} == {("id", "text", "label", "split", "register", "phenomenon")}
    assert len(asked) == len({row["id"] for row in asked}) == 200
    assert Counter(row["split"] for row in asked) == {"dev": 100, "test": 100}
    cells = Counter((row["register"], row["label"], row["split"]) for row in asked)
    assert sum(cells.values()) == 200
    for register, rows in REGISTERS.items():
        found = [cells[register, label, split] for label in LABELS for split in ("dev", "test")]
        assert sum(found) == rows
        assert max(found) - min(found) <= 1
    for split in ("dev", "test"):
        labels = Counter(row["label"] for row in asked if row["split"] == split)
        assert set(labels.values()) == {33, 34}
        assert sorted(labels) == LABELS


def test_no_phenomenon_stands_in_one_half_only(asked):
    cells = Counter((row["phenomenon"], row["label"], row["split"]) for row in asked)
    for phenomenon, labels in PHENOMENA.items():
        for label in labels:
            pair = [cells.pop((phenomenon, label, split)) for split in ("dev", "test")]
            assert min(pair) >= 2
            assert max(pair) - min(pair) <= 3
    assert not cells


def test_the_conversations_answer_with_a_label_alone(taught):
    assert len(taught) == 120
    assert Counter(row["messages"][-1]["content"] for row in taught) == dict.fromkeys(LABELS, 40)
    for number, row in enumerate(taught, start=1):
        shaped = shape_row(row, kind="conversation", origin=Origin(path=str(TAUGHT), line=number))
        assert (shaped.mistakes, shaped.ignored) == ((), ())
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
        assert row["language"] == "it"
        assert row["register"] in REGISTERS
        assert all(label in prompt(row).lower() for label in LABELS)  # what may be answered is said


def test_texts_are_unique_short_and_begin_differently(asked, taught):
    texts = [row["text"] for row in asked]
    assert len({tuple(words(text)) for text in texts}) == 200
    assert all(5 <= len(text.split()) <= 80 for text in texts)
    assert repeated(texts) <= MOST_REPEATED
    assert len({tuple(words(prompt(row))) for row in taught}) == 120
    assert repeated(map(prompt, taught)) <= MOST_REPEATED
    assert [text for text in [*texts, *map(prompt, taught)] if find_text_mistake(text, "text")] == []


def test_nothing_that_is_asked_is_taught(asked, taught):
    held = {gram for row in taught for gram in grams(prompt(row), 8)}
    joined = [" ".join(words(prompt(row))) for row in taught]
    for row in asked:
        assert held.isdisjoint(grams(row["text"], 8))
        assert not any(" ".join(words(row["text"])) in text for text in joined)


def test_no_other_file_holds_a_text(asked, taught):
    files = [path for path in DATA.rglob("*.jsonl") if path != TAUGHT]
    others = [
        text
        for path in files
        for line in path.read_text(encoding="utf-8").splitlines()
        for text in strings(json.loads(line))
    ]
    assert len(others) > 2000
    wholes = {" ".join(words(text)) for text in others}
    held = {gram for text in others for gram in grams(text, 13)}
    for text in [*(row["text"] for row in asked), *map(prompt, taught)]:
        assert " ".join(words(text)) not in wholes
        assert held.isdisjoint(grams(text, 13))


def test_every_text_is_italian(asked, taught):
    texts = [*(row["text"] for row in asked), *map(prompt, taught)]
    others = [text for text in texts if identify(text)[0] != "it"]
    assert [text for text in others if len(text) >= SHORT_CHARS] == []
    assert len(others) <= MOST_UNSURE * len(texts)
