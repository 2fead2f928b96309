"""Answers in a language nobody asked for are found; short, mixed and translated ones are never accused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adatta.core.records import Conversation, Document, Message, Origin, Preference, Row
from adatta.data.answer_language import find_language_mistake
from adatta.data.shape import shape_row
from adatta.data.source import read_file
from adatta.lang.identify import identify

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared" / "data"
ORIGIN = Origin(path="a.jsonl", line=1)

ASK_IT = "Perché in autunno le foglie degli alberi cambiano colore?"
ASK_EN = "Why do the leaves of trees change their colour in autumn?"
IT = "In autunno le giornate si accorciano, l'albero produce meno clorofilla e si vedono i colori gialli."
EN = "In autumn the days grow shorter, the tree makes less chlorophyll and the yellow colours become visible."
CODE = (
    "```python\ndef add(first, second):\n    return first + second  # the sum of the two numbers given\n```"
)


def talk(question: str, answer: str, language: str | None = None) -> Conversation:
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Conversation(messages=messages, row_id="0" * 16, origin=ORIGIN, language=language)


def text(content: str, language: str | None = None) -> Document:
    return Document(text=content, row_id="0" * 16, origin=ORIGIN, language=language)


def prefer(chosen: str, rejected: str) -> Preference:
    answers = [Message(role="assistant", content=answer) for answer in (chosen, rejected)]
    prompt = (Message(role="user", content=ASK_IT),)
    return Preference(prompt=prompt, chosen=answers[0], rejected=answers[1], row_id="0" * 16, origin=ORIGIN)


def find(row: Row) -> str:
    mistake = find_language_mistake(row, language="it", identify=identify)
    return mistake.field if mistake else ""


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (talk(ASK_IT, EN), "answer 1"),
        (talk(ASK_IT, EN, "it"), "answer 1"),
        (talk(ASK_IT, EN, "it-IT"), "answer 1"),
        (talk(ASK_EN, IT, "en"), "answer 1"),
        (talk(ASK_EN, EN, "it"), "answer 1"),
        (talk("Rispondi in italiano: " + ASK_IT, EN), "answer 1"),
        (text(EN), "text"),
        (prefer(EN, IT), "chosen"),
    ],
)
def test_answer_in_another_language_is_found(row: Row, field: str) -> None:
    assert find(row) == field


@pytest.mark.parametrize(
    "row",
    [
        talk(ASK_IT, IT),
        talk(ASK_EN, EN),
        talk(ASK_EN, IT),
        talk(ASK_IT, EN, "en"),
        talk(ASK_IT, EN, "en-GB"),
        talk(ASK_IT, "Romeo and Juliet"),
        talk(ASK_IT, "Si fa così:\n" + CODE),
        talk(ASK_IT, CODE),
        talk(
            ASK_IT,
            "Oasis, Blur, Pulp, The Verve, Suede, Elastica, Supergrass, The Stone Roses, Ride, Slowdive",
        ),
        talk("Traduci: " + IT, EN),
        talk("Come lo diresti in inglese? " + IT, EN),
        text(EN, "en"),
        text(IT),
        prefer(IT, EN),
    ],
)
def test_answer_that_may_be_meant_is_not_accused(row: Row) -> None:
    assert find(row) == ""


def test_only_the_first_300_characters_count() -> None:
    assert find(talk(ASK_IT, IT * 3 + EN * 3)) == ""
    assert find(talk(ASK_IT, EN * 3 + IT * 3)) != ""


def test_every_answer_is_judged() -> None:
    first, second = talk(ASK_IT, IT), talk(ASK_IT, EN)
    row = Conversation(messages=first.messages + second.messages, row_id="0" * 16, origin=ORIGIN)
    assert find(row) == "answer 2"


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("conversations.jsonl", "conversation"),
        ("preferences.jsonl", "preference"),
        ("text/prose.jsonl", "document"),
    ],
)
def test_projects_own_rows_are_not_accused_with_or_without_their_language(file: str, kind: str) -> None:
    for line, fields in read_file(ROOT / "data" / file, []):
        for language in (fields.get("language"), None):
            row = shape_row({**fields, "language": language}, kind, origin=Origin(path=file, line=line)).row
            assert row is not None
            mistake = find_language_mistake(row, language="it", identify=identify)
            assert mistake is None, (fields, mistake)


def test_public_italian_text_is_not_accused() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    texts = [
        json.loads(line)[key]
        for name, key in (("squad_it.jsonl", "text"), ("italic_sample.jsonl", "question"))
        for line in (SHARED / name).read_text(encoding="utf-8").split("\n")
        if line
    ]
    assert [content for content in texts if find(text(content))] == []
