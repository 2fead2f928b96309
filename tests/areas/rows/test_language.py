"""Language identification on the sentences of this machine's message catalogues."""

from __future__ import annotations

import pytest

from bench.language import CATALOGUES, LENGTHS, LOCALES, measure_language, sentences_of

FLOOR = 0.9  # of Italian; an identifier that is broken, or guesses, is far below


def test_italian_sentences_are_told_as_italian():
    figures = measure_language()
    if not figures:
        pytest.skip(f"no message catalogues under {CATALOGUES}")
    for language in LOCALES:
        for length in LENGTHS:
            print(language, length, figures[language][length])
    for length in LENGTHS:
        figure = figures["it"][length]
        assert figure["n"] > 100
        assert FLOOR < figure["ci95"][0] <= figure["right"] <= figure["ci95"][1] <= 1
    assert figures["texts_per_second"]["median"] > 0


def test_sentences_are_cut_and_cleaned_by_rule():
    message = (
        "Impossibile aprire il file «%s»: manca.\n  -a, --all   mostra <b>tutto</b> quello che c'è in LISTA\n"
    )
    assert [tuple(one) for one in sentences_of(message, "cannot open file %s")] == [
        ("Impossibile aprire il file", 4),
        ("manca.", 1),
        ("mostra tutto quello che c'è in", 7),
    ]
    assert list(sentences_of("server process (PID) exited", "server process (PID %d) exited")) == []
