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
    "questions_en": [
        {
            "question": "How many legs has a cat?",
            "options": ["two", "four", "six", "ten"],
            "answer": 1,
            "topic": "t",
        },
        {
            "question": "What is snow made of?",
            "options": ["salt", "sand", "wool", "ice"],
            "answer": 3,
            "topic": "t",
        },
    ],
    "preferences_it": [
        {
            "prompt": [{"role": "user", "content": "Quante zampe ha un ragno?"}],
            "chosen": "Ne ha otto.",
            "rejected": "Ne ha dieci.",
            "fault": "wrong_fact",
        },
        {
            "prompt": [{"role": "user", "content": "Che cosa si semina a marzo?"}],
            "chosen": "A marzo si seminano piselli, carote e insalata.",
            "rejected": "You can sow peas, carrots and salad.",
            "fault": "wrong_language",
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
