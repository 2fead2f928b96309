"""The language of an answer, on answers of known language."""

from __future__ import annotations

import pytest

from adatta.evals.fidelity import is_in_language, strip_foreign

ITALIAN = "Il pane va conservato in un sacchetto di carta, lontano dall'umidità."
ENGLISH = "Bread should be kept in a paper bag, away from moisture and light."


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        (f"{ITALIAN}\n```python\nprint('hello world')\n```", ITALIAN),
        (f"{ITALIAN}\n```\nprint('cut by the limit", ITALIAN),
        ("Usa `git status` ora.", "Usa ora."),
        ("Vedi https://example.com/how-to?x=1 e poi.", "Vedi e poi."),
        ("Scrivi a mario.rossi@example.it oggi.", "Scrivi a oggi."),
        ('Si dice "good morning" al mattino.', "Si dice al mattino."),
        ("Si dice «good morning» e “good night”.", "Si dice e ."),
        ("> how are you\nBene.", "Bene."),
        ("L'albero dell'orto non c'è più.", "L'albero dell'orto non c'è più."),
        ("Alto 5' 10\" circa.", "Alto 5' 10\" circa."),
        ('"All of it."', ""),
        ("<think>\nThe user asks about `bread`.\n\nOkay.\n</think>\n\nSì, certo.", "Sì, certo."),
        ("The prompt has opened the thoughts.\n</think>\n\nSì, certo.", "Sì, certo."),
        ("<think>Let me see, the answer was cut by the lim", ""),
        ("Sì. <think>Wait.</think> Certo.", "Sì. Certo."),
    ],
)
def test_thoughts_code_and_quotes_are_removed(answer, left):
    assert " ".join(strip_foreign(answer).split()) == left


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ITALIAN, True),
        (ENGLISH, False),
        ("", False),
        (" \n", False),
        ("42", False),
        ("```\nfor x in y: pass\n```", False),
        (f'{ITALIAN} In inglese si dice "{ENGLISH} {ENGLISH}"', True),
        (f"{ENGLISH} {ENGLISH} Ciao.", False),
        ("Sì, certo.", True),
        (f"<think>\n{ENGLISH} {ENGLISH}\n</think>\n\n{ITALIAN}", True),
        (f"<think>\n{ITALIAN} {ITALIAN}\n</think>\n\n{ENGLISH}", False),
        (f"<think>\n{ITALIAN} {ITALIAN}", False),
    ],
)
def test_answer_is_judged_by_the_top_language_of_what_is_left(answer, expected):
    assert is_in_language(answer, "it") is expected


def test_only_the_language_part_of_a_tag_counts():
    assert is_in_language(ITALIAN, "it-CH")
    assert is_in_language(ENGLISH, "en")
