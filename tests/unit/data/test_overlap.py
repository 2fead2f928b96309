"""Words for comparing, near duplicates, and evaluation items in training rows."""

from __future__ import annotations

import random

import pytest

from adatta.data.overlap import NearDuplicates, words

VOCABULARY = [
    first + last for first in ("ba", "ce", "di", "fo", "gu", "la") for last in ("ra", "no", "ti", "lu")
]


def make_text(seed: int, num_words: int = 60) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(VOCABULARY) + str(draw.randrange(50)) for _ in range(num_words))


def change(text: str, *places: int) -> str:
    listed = text.split()
    for place in places:
        listed[place] = "altro"
    return " ".join(listed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Perche' no?", "perche no"),
        ("PERCHÉ NO", "perche no"),
        ("perchè, no", "perche no"),
        ("E' l'acqua dell’Adda.", "e l acqua dell adda"),
        ("«È» “una” – prova…", "e una prova"),
        ("1.250,50 euro", "1 250 50 euro"),
        ("ﬁne\u00a0della_riga con tra\u00adttino\u200b", "fine della riga con trattino"),
        ("Straße Ωmega", "strasse ωmega"),
        ("... — !", ""),
    ],
)
def test_words_have_one_form(text, expected):
    assert " ".join(words(text)) == expected


def test_words_of_decomposed_and_composed_letters_are_equal():
    assert words("città perché") == words("citta\u0300 perche\u0301")


def test_words_keep_half_a_surrogate_pair_without_an_error():
    assert words("prima \ud800 dopo")[::2] == ["prima", "dopo"] or words("prima \ud800 dopo") == [
        "prima",
        "dopo",
    ]


def test_near_duplicate_is_found_with_the_number_of_the_earlier_row():
    rows = NearDuplicates()
    texts = [make_text(seed) for seed in range(50)]
    assert [rows.find(text) for text in texts] == [None] * 50
    assert rows.find(texts[7].upper().replace(" ", ", ")) == 7
    assert rows.find(change(texts[31], 20)) == 31


def jaccard(left: str, right: str) -> float:
    """The similarity by its definition, on sets of three words."""
    first, second = (
        set(zip(text.split(), text.split()[1:], text.split()[2:], strict=False)) for text in (left, right)
    )
    return len(first & second) / len(first | second)


@pytest.mark.parametrize(("num_changed", "is_found"), [(1, True), (2, True), (8, False), (30, False)])
def test_similarity_of_what_is_found_is_high(num_changed, is_found):
    rows, draw, found = NearDuplicates(), random.Random(0), 0
    for seed in range(100):
        text = make_text(seed, 90)
        other = change(text, *draw.sample(range(90), num_changed))
        assert (jaccard(text, other) >= 0.8) is is_found
        rows.find(text)
        found += rows.find(other) is not None
    assert found >= 95 if is_found else found == 0


def test_near_duplicates_of_two_parts_need_both():
    rows = NearDuplicates()
    asked, answer = make_text(1), make_text(2, 20)
    assert rows.find(asked, answer) is None
    assert rows.find(asked, make_text(3, 20)) is None
    assert rows.find(make_text(4), answer) is None
    assert rows.find(asked, answer + ".") == 0


def test_short_answer_makes_a_duplicate_of_equal_words_only():
    rows = NearDuplicates()
    passage = make_text(1, 150)
    assert rows.find(f"{passage} Chi parte?", "Lucia") is None
    assert rows.find(f"{passage} Chi resta a casa?", "Lucia") is None
    assert rows.find(f"{passage}, chi parte", "lucia!") == 0


def test_near_duplicates_are_the_same_in_every_process():
    rows = NearDuplicates()
    rows.find("uno due tre quattro cinque sei sette otto nove dieci")
    assert rows._bits.tolist() == [2791953936288334265, 4035517852138472973]
