"""Answers that list something: what counts as found, and what as nothing said."""

from __future__ import annotations

import pytest

from adatta.core.errors import EvalError
from adatta.evals.extraction import score_entities, score_relations, score_substitutes, score_summary

PEOPLE = {
    "entities": [
        {"entity_text": "Ada Neri", "type": "PER"},
        {"entity_text": "Forlì", "type": "LOC"},
    ]
}
NOBODY = {"entities": []}


@pytest.mark.parametrize(
    ("doc", "answer", "f1"),
    [
        (PEOPLE, "Ada Neri$PER, Forlì$LOC", 1.0),
        (PEOPLE, " forli'$loc,ADA NERI$PER", 1.0),  # order, case and typed accents don't count
        (PEOPLE, "Ada Neri$PER", 2 / 3),
        (PEOPLE, "Ada Neri$ORG, Forlì$LOC", 0.5),
        (PEOPLE, "Ada Neri, Forlì", 0.0),
        (PEOPLE, "&&NOENT&&", 0.0),
        (PEOPLE, ",".join(f"Tizio {n}$PER" for n in range(30)), 0.0),  # the harness counts a person as found
        (PEOPLE, "Ada Neri$PER, Ada Neri$PER, Forlì$LOC", 0.8),
        (NOBODY, "&&NOENT&&", 1.0),
        (NOBODY, "Ada Neri$PER", 0.0),
        (NOBODY, "Ada Neri$PER, &&NOENT&&", 0.0),
        (NOBODY, "", 0.0),
        (NOBODY, "Che bel testo.", 0.0),
    ],
)
def test_entities(doc, answer, f1):
    assert score_entities(doc, [answer])["f1"] == pytest.approx(f1)


@pytest.mark.parametrize(
    ("answer", "f1"),
    [
        ("98%$saturazione%7 cm$milza", 1.0),
        ("7 cm$milza", 2 / 3),
        ("milza$7 cm%saturazione$98%", 0.0),  # the measure stands first
        ("7 cm$milza%98 %$saturazione\nEcco le misure.", 1.0),
        ("&&NOREL&&", 0.0),
        ("", 0.0),
    ],
)
def test_relations(answer, f1):
    doc = {"relations": [["98%", "saturazione"], ["7 cm", "milza"]]}
    assert score_relations(doc, [answer])["f1"] == pytest.approx(f1)


def test_no_relations_must_be_said():
    assert score_relations({"relations": []}, ["&&NOREL&&"]) == {"f1": 1.0}
    assert score_relations({"relations": []}, ["7 cm$milza"]) == {"f1": 0.0}


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("abitazione, dimora", 1.0),
        ("Abitazione.", 0.75),
        ("dimora, dimora, dimora", 0.25),
        (", ".join(["x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "dimora", "abitazione"]), 0.25),
        ("casa\nabitazione", 0.0),
        ("", 0.0),
    ],
)
def test_substitutes_are_worth_what_annotators_gave(answer, share):
    doc = {"answers": [{"word": "abitazione", "count": 3}, {"word": "dimora", "count": 1}]}
    assert score_substitutes(doc, [answer]) == {"oot": share}


def test_substitutes_that_nobody_gave_are_no_item():
    with pytest.raises(EvalError, match="no annotator gave a word"):
        score_substitutes({"answers": []}, ["casa"])


def test_a_summary_keeps_accented_words_whole():
    doc = {"target": "La città è più bella"}
    assert score_summary(doc, ["La citta, e piu bella!"]) == {"rouge1": 1.0}
    assert score_summary(doc, ["la città"])["rouge1"] == pytest.approx(2 * 2 / 7)
    assert score_summary(doc, [""]) == {"rouge1": 0.0}
