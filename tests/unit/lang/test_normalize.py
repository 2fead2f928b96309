"""One form of a text: apostrophes, quotes, typed accents, composed letters, lower case; and its words."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adatta.lang.normalize import find_words, normalize, split_words
from adatta.lang.profile import load_profile

IT, EN = load_profile("it"), load_profile("en")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("e'", "è"),
        ("E'", "è"),
        ("perche'", "perché"),
        ("poiche'", "poiché"),
        ("cosi'", "così"),
        ("citta'", "città"),
        ("piu'", "più"),
        ("pero'", "però"),
        ("caffe'", "caffè"),
        ("ne' qui ne' li'", "né qui né lì"),
        ("fra se' e se'", "fra sé e sé"),
        ("ventitre'", "ventitré"),
        ("l'unita'", "l'unità"),
        ("c'e'", "c'è"),
        ("perche’", "perché"),
        ("perche`", "perché"),
    ],
)
def test_accent_typed_as_apostrophe_becomes_the_accent(typed: str, meant: str) -> None:
    assert normalize(typed, IT) == meant
    assert normalize(f"Disse: {typed}, e poi?", IT) == f"disse: {meant}, e poi?"


@pytest.mark.parametrize(
    "text", ["po'", "di'", "fa'", "va'", "sta'", "da'", "be'", "anni '60", "5'", "l'acqua", "un'ora"]
)
def test_apostrophe_that_is_no_accent_stays(text: str) -> None:
    assert normalize(text, IT) == text
    assert normalize(f"dopo {text}, qui", IT) == f"dopo {text}, qui"


def test_words_in_single_quotes_get_no_accent() -> None:
    assert normalize("rispose 'ciao a tutti' e 'l'unita' d'Italia'", IT).startswith(
        'rispose "ciao a tutti" e'
    )
    assert normalize("rispose ‘ciao a tutti’", IT) == 'rispose "ciao a tutti"'


def test_typed_accents_belong_to_the_profile() -> None:
    assert normalize("the citta' of ROME", EN) == "the citta' of rome"


def test_signs_of_all_shapes_become_one() -> None:
    assert normalize("L’ACQUA dell‘anno", IT) == normalize("l'acqua dell'anno", IT) == "l'acqua dell'anno"
    assert {normalize(f"{left}ciao{right}", IT) for left, right in ("“”", "„“", "«»", '""')} == {'"ciao"'}


def test_letters_are_composed() -> None:
    assert normalize(unicodedata.normalize("NFD", "Perché è così"), IT) == "perché è così"


@example("`a«`a``")
@given(st.text(alphabet="aeiouchtr '’‘`\"«»É0\u0301.", max_size=30))
def test_normalising_twice_changes_nothing(text: str) -> None:
    for profile in (IT, EN):
        once = normalize(text, profile)
        assert normalize(once, profile) == once


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("L'acqua dell’anno scorso", ["l", "acqua", "dell", "anno", "scorso"]),
        ("C'e' un po' di caffe'.", ["c", "è", "un", "po", "di", "caffè"]),
        ("negli anni '60, alle 15.30", ["negli", "anni", "60", "alle", "15", "30"]),
        ("«Dimmelo», disse: “Gliel'ho detto”", ["dimmelo", "disse", "gliel", "ho", "detto"]),
        ("", []),
        ("... '' !", []),
    ],
)
def test_italian_words_are_divided_at_the_apostrophe(text: str, words: list[str]) -> None:
    assert split_words(text, IT) == words


def test_english_words_keep_their_apostrophe() -> None:
    words = ["don't", "say", "o'clock", "the", "students", "said"]
    assert split_words("Don’t say 'o'clock', the students' said", EN) == words


def test_words_of_one_text_are_the_same_with_other_signs_and_case() -> None:
    shouted = split_words("PERCHE' L’ACQUA, «QUI», E' FREDDA?", IT)
    assert shouted == split_words("perché l'acqua qui è fredda", IT)


@pytest.mark.parametrize(
    ("text", "tag", "words"),
    [
        ("«L’ACQUA», dell'anno 2024!", "it", ["L", "ACQUA", "dell", "anno", "2024"]),
        ("Don’t say 'o'clock'.", "en", ["Don’t", "say", "o'clock"]),
        ("... '' !", "it", []),
    ],
)
def test_words_are_found_where_they_stand(text: str, tag: str, words: list[str]) -> None:
    profile = load_profile(tag)
    found = [text[start:stop] for start, stop in find_words(text, profile)]
    assert found == words
    assert [split_words(word, profile) for word in found] == [[part] for part in split_words(text, profile)]
