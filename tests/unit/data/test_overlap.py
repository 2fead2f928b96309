"""Words for comparing, near duplicates, and evaluation items in training rows."""

from __future__ import annotations

import random

import pytest

from adatta.data.overlap import ItemText, LeakFinder, NearDuplicates, is_too_short, words

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
        ("ｆｉｎｅ １２ m²", "fine 12 m2"),
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


def test_answers_that_differ_are_no_repetition_however_equal_the_questions():
    found = 0
    for seed in range(40):
        rows, answer = NearDuplicates(), make_text(seed + 500, 60)
        other = change(answer, 5, 20, 35, 50)
        assert 0.6 < jaccard(answer, other) < 0.7
        rows.find(make_text(seed), answer)
        found += rows.find(make_text(seed), other) is not None
    assert found <= 4


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


def find_leaks(items, *rows):
    finder = LeakFinder(items)
    for number, row in enumerate(rows, start=1):
        finder.look(row, source="rows.jsonl", where=f"rows.jsonl:{number}")
    return finder.leaks()


def join(*parts: str) -> str:
    return " ".join(parts)


def part(text: str, first: int, last: int) -> str:
    return join(*text.split()[first:last])


ASKED = make_text(100, 20)
BEFORE, AFTER = make_text(101, 30), make_text(102, 30)


def test_whole_question_is_an_exact_leak_with_place_and_words():
    (leak,) = find_leaks(
        [ItemText(make_text(99, 20)), ItemText(ASKED)], BEFORE, f"{BEFORE}\n{ASKED.upper()}? {AFTER}"
    )
    assert (leak.kind, leak.item, leak.source, leak.rows) == ("exact", 1, "rows.jsonl", ("rows.jsonl:2",))
    assert (leak.num_words, leak.covered_share, leak.text) == (20, 1.0, ASKED)


@pytest.mark.parametrize(
    ("row", "kind", "num_words", "share"),
    [
        (join(BEFORE, part(ASKED, 0, 13), AFTER), "strong", 13, 0.65),
        (join(part(ASKED, 3, 20), AFTER), "strong", 17, 0.85),
        (join(part(ASKED, 0, 8), AFTER, part(ASKED, 12, 20)), "strong", 8, 0.8),
        (join(BEFORE, part(ASKED, 0, 12), AFTER), "weak", 12, 0.6),
        (join(BEFORE, part(ASKED, 12, 20)), "weak", 8, 0.4),
    ],
)
def test_part_of_a_question_is_judged_by_longest_match_and_covered_share(row, kind, num_words, share):
    (leak,) = find_leaks([ItemText(ASKED)], row)
    assert (leak.kind, leak.num_words) == (kind, num_words)
    assert leak.covered_share == pytest.approx(share)


def test_seven_words_in_a_row_are_no_leak():
    assert find_leaks([ItemText(ASKED)], join(BEFORE, part(ASKED, 0, 7), AFTER, part(ASKED, 10, 17))) == []


def test_question_of_twelve_words_is_judged():
    asked = part(ASKED, 0, 12)
    (leak,) = find_leaks([ItemText(asked)], join(BEFORE, asked, AFTER))
    assert leak.kind == "exact"


def test_short_question_leaks_with_its_answer_in_the_row():
    items = [ItemText("Quale fiume attraversa la città di Torino?", "il Po")]
    found = [
        [(leak.kind, leak.num_words) for leak in find_leaks(items, row)]
        for row in (
            "quale fiume attraversa la citta' di Torino\nE' il PO, che nasce dal Monviso.",
            "Quale fiume attraversa la città di Torino?\nNon lo so.",
            "Quale fiume attraversa la città di Verona?\nIl Po, no: l'Adige.",
        )
    ]
    assert found == [[("exact", 7)], [("weak", 7)], []]


def test_short_item_without_an_answer_leaks_by_itself():
    (leak,) = find_leaks(
        [ItemText("Queste scarpe nere mi vanno strette.")], "Diceva: queste scarpe nere mi vanno strette!"
    )
    assert (leak.kind, leak.num_words) == ("exact", 6)


def test_answer_behind_its_question_counts_as_part_of_the_item():
    items = [ItemText(part(ASKED, 0, 10), part(ASKED, 10, 20))]
    (leak,) = find_leaks(items, join(BEFORE, part(ASKED, 3, 16), AFTER))
    assert (leak.kind, leak.num_words) == ("strong", 13)


def test_item_under_four_words_is_not_judged():
    items = [ItemText("Chi parte?"), ItemText("Chi?", "io"), ItemText("?", "io parto domani presto")]
    assert find_leaks(items, "Chi parte? Chi? io parto domani presto") == []
    assert all(map(is_too_short, items))
    assert not is_too_short(ItemText("Chi parte?", "io domani"))


def test_passage_alone_is_its_own_kind_and_counts_once():
    passage = make_text(103, 80)
    items = [ItemText(make_text(seed, 10), "sì", passage) for seed in range(4)]
    (leak,) = find_leaks(items, join(BEFORE, passage))
    assert leak.kind == "passage"
    assert find_leaks(items, join(BEFORE, part(passage, 0, 12))) == []
    with_question = find_leaks(items, join(passage, items[2].question, "sì"))
    assert [(leak.kind, leak.item) for leak in with_question] == [("exact", 2), ("passage", 0)]


def test_run_in_more_than_three_items_is_a_turn_of_phrase():
    stem = part(ASKED, 0, 9)
    items = [ItemText(join(stem, make_text(seed, 4)), make_text(seed + 50, 3)) for seed in range(5)]
    assert find_leaks(items[:3], join(BEFORE, stem)) != []
    assert find_leaks(items, join(BEFORE, stem)) == []
    (leak,) = find_leaks(items, join(BEFORE, items[4].question, AFTER))
    assert leak.item == 4


def test_match_in_more_than_ten_rows_is_a_turn_of_phrase_unless_it_is_the_item():
    rows = [join(make_text(seed, 20), part(ASKED, 2, 12)) for seed in range(11)]
    (leak,) = find_leaks([ItemText(ASKED)], *rows[:10])
    assert (leak.num_rows, leak.rows) == (10, tuple(f"rows.jsonl:{line}" for line in range(1, 6)))
    assert find_leaks([ItemText(ASKED)], *rows) == []
    (copied,) = find_leaks([ItemText(ASKED)], *(join(make_text(seed, 20), ASKED) for seed in range(20)))
    assert (copied.kind, copied.num_rows) == ("exact", 20)


def test_worst_row_of_an_item_is_told_first():
    rows = [part(ASKED, 0, 10), BEFORE, ASKED, part(ASKED, 0, 15)]
    (leak,) = find_leaks([ItemText(ASKED)], *rows)
    assert (leak.kind, leak.rows, leak.num_rows) == (
        "exact",
        ("rows.jsonl:3", "rows.jsonl:1", "rows.jsonl:4"),
        3,
    )


def test_no_items_and_empty_rows_give_no_leaks():
    assert find_leaks([], ASKED) == []
    assert find_leaks([ItemText(ASKED)], "", "?") == []


def test_matches_agree_with_a_search_by_hand():
    draw = random.Random(5)
    vocabulary = ["a", "b", "c"]
    for _ in range(300):
        asked = draw.choices(vocabulary, k=draw.randrange(9, 25))
        row = draw.choices(vocabulary, k=40)
        at, first = draw.randrange(30), draw.randrange(len(asked) - 8)
        row[at : at + 9] = asked[first : first + 9]
        longest = max(
            num
            for num in range(1, len(asked) + 1)
            for start in range(len(asked) - num + 1)
            if f" {' '.join(asked[start : start + num])} " in f" {' '.join(row)} "
        )
        (leak,) = find_leaks([ItemText(" ".join(asked))], " ".join(row))
        assert leak.num_words == longest
