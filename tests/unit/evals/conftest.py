"""A small suite of every task, and models that are known in advance."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from adatta.evals.suite import Suite, load_suite

FILES = {
    "text_it": [
        {"text": "Il gatto dorme.", "title": "a", "register": "r"},
        {"text": "Perché piove così tanto?", "title": "b", "register": "r"},
    ],
    "text_en": [
        {"text": "The cat sleeps.", "title": "a", "register": "r"},
        {"text": "It rains a lot.", "title": "b", "register": "r"},
    ],
    "questions_it": [
        {
            "question": "Quanto fa due più due?",
            "options": ["tre", "quattro", "sei", "uno"],
            "answer": 1,
            "topic": "t",
        },
        {
            "question": "Di che colore è la neve?",
            "options": ["blu", "nera", "gialla", "bianca"],
            "answer": 3,
            "topic": "t",
        },
    ],
    "pairs_it": [
        {"right": "Le case sono belle.", "wrong": "Le case sono bello.", "phenomenon": "agreement"},
        {"right": "Non c'è nessuno.", "wrong": "C'è nessuno.", "phenomenon": "negation"},
    ],
    "prompts_it": [
        {"prompt": "Dimmi che cosa è un faro.", "topic": "t"},
        {"prompt": "Come si cuoce il riso?", "topic": "t"},
    ],
}


def write_files(folder, files):
    for name, rows in files.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


@pytest.fixture
def small_suite(tmp_path) -> Suite:
    """The offline suite over two items a task."""
    write_files(tmp_path, FILES)
    return replace(load_suite("offline"), folder=tmp_path)
