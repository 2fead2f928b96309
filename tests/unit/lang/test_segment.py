"""Words, divided as their language does."""

from __future__ import annotations

import pytest

from adatta.lang.profile import load_profile
from adatta.lang.segment import find_words, split_words


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
    assert split_words(text, load_profile("it")) == words


def test_english_words_keep_their_apostrophe() -> None:
    words = ["don't", "say", "o'clock", "the", "students", "said"]
    assert split_words("Don’t say 'o'clock', the students' said", load_profile("en")) == words


def test_words_of_one_text_are_the_same_with_other_signs_and_case() -> None:
    profile = load_profile("it")
    assert split_words("PERCHE' L’ACQUA, «QUI», E' FREDDA?", profile) == split_words(
        "perché l'acqua qui è fredda", profile
    )


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
