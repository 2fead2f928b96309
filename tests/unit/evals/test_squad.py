"""Short answers: worked numbers, Italian articles and elision, SQuAD's own rules."""

from __future__ import annotations

import pytest

from adatta.evals.squad import score_answer, split_answer, words_f1


def answer_f1(answer, right, language="it"):
    return words_f1(split_answer(answer, language), split_answer(right, language))


def test_worked_numbers_agree():
    # Italian: 2 shared of 2 right and 4 given words; English: "a" is an article, 2 of 3 and 2 of 3.
    assert split_answer("la torre Eiffel", "it") == ["torre", "eiffel"]
    assert split_answer("torre Eiffel a Parigi", "en") == ["torre", "eiffel", "parigi"]
    assert answer_f1("torre Eiffel a Parigi", "la torre Eiffel") == pytest.approx(2 / 3)
    assert answer_f1("torre Eiffel a Parigi", "la torre Eiffel", "en") == pytest.approx(2 / 3)


def test_elision_divides_in_italian_only():
    assert answer_f1("Italia", "l'Italia") == answer_f1("Italia", "l’Italia") == 1.0
    assert answer_f1("Italia", "l'Italia", "en") == 0.0


@pytest.mark.parametrize("answer", ["", " ", "il", "...", "qualcos'altro"])
def test_what_says_nothing_gets_nothing(answer):
    assert set(score_answer({"answers": ["nel 1500", "1500", "lo"]}, [answer]).values()) == {0.0}


def test_the_best_of_the_right_answers_counts():
    assert set(score_answer({"answers": ["nel 1500", "1500"]}, [" 1500."]).values()) == {1.0}
    assert score_answer({"answers": ["nel 1500"]}, ["1500"])["f1"] == pytest.approx(2 / 3)
    assert score_answer({"answers": ["due gatti"]}, ["gatti due"]) == {
        "f1": 1.0, "exact_match": 0.0, "f1_squad": 1.0, "exact_match_squad": 0.0
    }  # fmt: skip


def test_copying_the_context_gets_little():
    context = "Il mulino fu costruito nel 1500 da un fornaio di Parma"
    num_words, num_right = len(split_answer(context, "it")), 1
    scores = score_answer({"answers": ["1500"]}, [context])
    assert scores["f1"] == pytest.approx(2 * num_right / (num_right + num_words))
    assert scores["exact_match"] == 0.0
