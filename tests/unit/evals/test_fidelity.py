"""The language of an answer, on answers of known language."""

from __future__ import annotations

from statistics import fmean

import pytest

from adatta.core.records import Item
from adatta.evals.fidelity import is_in_language, judge_language, judge_lines, strip_foreign
from adatta.evals.suite import Answer, load_tasks

ITALIAN = "Il pane va conservato in un sacchetto di carta, lontano dall'umidità."
ENGLISH = "Bread should be kept in a paper bag, away from moisture and light."
PROMPT = "Traduca «Good morning» e “good night, and good luck!”."
NO_LINE = "no line of 5 words"


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        (f"{ITALIAN}\n```python\nprint('hello world')\n```", ITALIAN),
        (f"{ITALIAN}\n```\nprint('cut by the limit", ITALIAN),
        ("Usa `git status` ora.", "Usa ora."),
        ("Vedi https://example.com/how-to?x=1 e poi.", "Vedi e poi."),
        ("Scrivi a mario.rossi@example.it oggi.", "Scrivi a oggi."),
        ("| mela | 3 |\n|---|--:|\n| pera | 1.250,50 |", "mela ---  --: pera"),
        ("|mela|3|\n|pera|1.250,50|", "mela pera"),
        ("Il 25% di 3.000, l'8 marzo 2024, covid-19.", "Il di marzo"),
        ("L'albero dell'orto non c'è più.", "L'albero dell'orto non c'è più."),
        ("Alto 5' 10\" circa.", "Alto circa."),
        ("<think>\nThe user asks about `bread`.\n\nOkay.\n</think>\n\nSì, certo.", "Sì, certo."),
        ("The prompt has opened the thoughts.\n</think>\n\nSì, certo.", "Sì, certo."),
        ("<think>Let me see, the answer was cut by the lim", ""),
        ("Sì. <think>Wait.</think> Certo.", "Sì. Certo."),
    ],
)
def test_thoughts_code_addresses_and_numbers_are_removed(answer, left):
    assert strip_foreign(answer).split() == left.split()


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ('Si dice "good morning" al mattino.', "Si dice al mattino."),
        ("«GOOD MORNING» vuol dire “buongiorno”.", "vuol dire “buongiorno”."),
        ("> good night\nVuol dire buonanotte.", "Vuol dire buonanotte."),
        ("Poi: «good night, and goo", "Poi:"),
        ("Si dice “good evening”.", "Si dice “good evening”."),
        ("> buona fortuna", "> buona fortuna"),
    ],
)
def test_quotes_are_removed_where_the_prompt_has_them(answer, left):
    assert strip_foreign(answer, prompt=PROMPT).split() == left.split()
    assert strip_foreign(answer) == answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ITALIAN, "right"),
        (f"«{ITALIAN}»", "right"),
        (ENGLISH, "wrong"),
        (f"{ENGLISH} {ENGLISH} Ciao.", "wrong"),
        ("", "too short to tell"),
        (" \n", "too short to tell"),
        ("42", "too short to tell"),
        ("```\nfor x in y: pass\n```", "too short to tell"),
        ("Roma.", "too short to tell"),
        ("Good morning.", "too short to tell"),
        ("Ci sono 7 re di Roma.", "too short to tell"),  # four words without the number
        ("a b c d e f g", "too short to tell"),  # seven words, thirteen characters
        ("Perché no? Non è mai troppo.", "right"),
        ("Direttamente nella sua stazione.", "right"),
        ("Directly in the station.", "too short to tell"),
        ("lorem ipsum dolor sit amet consectetur", "language unclear"),
        (". , ; : ! ? . , ; : ! ? . , ; : ! ? . , ; : !", "too short to tell"),
        (f"<think>\n{ENGLISH} {ENGLISH}\n</think>\n\n{ITALIAN}", "right"),
        (f"<think>\n{ITALIAN} {ITALIAN}\n</think>\n\n{ENGLISH}", "wrong"),
        (f"<think>\n{ITALIAN} {ITALIAN}", "too short to tell"),
    ],
)
def test_answer_is_right_wrong_or_unsure(answer, expected):
    assert judge_language(answer, "it") == expected


def test_words_are_plausible_by_the_profile_of_the_language_asked_for():
    assert judge_language("Could you?", "en") == "right"
    assert judge_language("Could you?", "it") == "too short to tell"
    assert judge_language("Nella stazione", "it-CH") == "too short to tell"  # there is no such profile


def test_what_the_prompt_quotes_says_nothing():
    quote = " ".join([ENGLISH] * 4)
    assert judge_language(f"{ITALIAN} «{quote}»", "it") == "wrong"
    assert judge_language(f"{ITALIAN} «{quote}»", "it", prompt=f"Traduca: {quote}") == "right"


def test_only_the_language_part_of_a_tag_counts():
    assert is_in_language(ITALIAN, "it-CH")
    assert judge_language(ITALIAN, "it-CH") == "right"
    assert is_in_language(ENGLISH, "en")
    assert not is_in_language("42", "it")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (f"{ITALIAN}\n{ENGLISH}", [True, False]),
        (f"Sure! Here it is:\n\n- {ITALIAN}\n1. {ITALIAN}", [True, True]),  # four words are dropped
        (f"Sure! Here it is, then:\n{ITALIAN}", [False, True]),
        (f"{ITALIAN}\nQ: {ENGLISH}", [True]),
        (f"```\n{ENGLISH}\n```\n{ITALIAN}", [True]),
        ("Sì.\nNo.\n", []),
        ("", []),
        ("ÿþ ý ü û ö", [False]),  # below 0.3
    ],
)
def test_lines_of_five_words_are_judged_one_by_one(answer, expected):
    assert judge_lines(answer, "it") == expected


def ask(answer, prompt="Come si conserva il pane?"):
    item = Item(item_id="1", task="t", language="it", cluster_id="1", fields={"prompt": prompt, "topic": "p"})
    outcomes = load_tasks()["free_answers"].measure(item, Answer(answer, 9, True))
    return {outcome.metric: outcome.reason or outcome.score for outcome in outcomes}


def test_line_figures_equal_the_worked_number():
    """Four answers: Italian; one English line of two; no line of 5 words; Italian with an English word."""
    loan = "Di sera guardo spesso una partita con il mio computer nuovo."
    found = [ask(answer) for answer in (ITALIAN, f"{ITALIAN}\n{ENGLISH}", "Va bene.\nGrazie.", loan)]
    assert found[2]["language_by_line"] == found[2]["line_accuracy"] == NO_LINE
    judged = [one for one in found if one["line_accuracy"] != NO_LINE]
    assert fmean(one["language_by_line"] for one in judged) == pytest.approx(2 / 3)
    assert fmean(one["line_accuracy"] for one in judged) == pytest.approx((1 + 0.5 + 1) / 3)


@pytest.mark.parametrize(
    ("answer", "lower", "sure"),
    [
        (ITALIAN, 1.0, 1.0),
        (ENGLISH, 0.0, 0.0),
        ("Roma.", 0.0, "too short to tell"),
        ("", 0.0, "too short to tell"),
        ("lorem ipsum dolor sit amet consectetur", 0.0, "language unclear"),
    ],
)
def test_unsure_answer_fails_in_the_lower_figure_and_is_left_out_of_the_other(answer, lower, sure):
    found = ask(answer)
    assert (found["language_fidelity"], found["language_fidelity_sure"]) == (lower, sure)


def test_answer_is_judged_without_the_quotes_of_its_prompt():
    answer, prompt = f'{ITALIAN}\n"{ENGLISH}"', f"Traduca: {ENGLISH}"
    assert ask(answer)["language_by_line"] == 0.0
    assert ask(answer, prompt)["language_by_line"] == 1.0
