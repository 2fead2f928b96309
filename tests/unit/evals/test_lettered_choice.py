"""Multiple choice by letter: what is given to the model, and what comes out."""

from __future__ import annotations

import math

import pytest

from adatta.core.records import Item
from adatta.evals.suite import Branch, load_tasks
from tests.toys.byte_chat import ByteChat

TASK = load_tasks()["lettered_choice"]
OPTIONS = ["tre", "quattro", "sei", "uno"]


def make_item(options=OPTIONS, answer=1, language="it"):
    fields = {"question": "Quanto fa due più due?", "options": options, "answer": answer, "topic": "t"}
    return Item(item_id="1", task="letters", language=language, cluster_id="1", fields=fields)


def measure(log_prob, options=OPTIONS, answer=1):
    """Ask of a model that gives `log_prob(option, letter)` to each letter."""
    num = len(options)
    rotations = [options[shift:] + options[:shift] for shift in range(num)]
    branches = [
        Branch(log_prob(option, letter), 1)
        for rotation in rotations
        for option, letter in zip(rotation, "ABCDE", strict=False)
    ]
    outcomes = TASK.measure(make_item(options, answer), branches)
    return {outcome.metric: outcome for outcome in outcomes}


def scores(found):
    return {metric: outcome.score for metric, outcome in found.items()}


def test_each_option_stands_once_at_each_letter():
    prompts = TASK.question(make_item())["prompts"]
    assert prompts[0] == ("Domanda: Quanto fa due più due?\nA. tre\nB. quattro\nC. sei\nD. uno\nRisposta:")
    lines = [line for prompt in prompts for line in prompt.splitlines()[1:-1]]
    assert sorted(lines) == sorted(f"{letter}. {option}" for letter in "ABCD" for option in OPTIONS)


def test_question_is_asked_in_its_language():
    assert TASK.question(make_item(language="en"))["prompts"][0].endswith("\nAnswer:")


def test_rows_are_letters_behind_a_shared_prompt():
    rows = TASK.branches(make_item(), ByteChat(), context=256)
    assert len(rows) == 16
    texts = [bytes(token for token in row.ids if token < 256).decode() for row in rows]
    prompts = TASK.question(make_item())["prompts"]
    assert texts == [f"{prompt} {letter}" for prompt in prompts for letter in "ABCD"]
    assert all(sum(row.weights) == len(" A") for row in rows)


@pytest.mark.parametrize("answer", range(4))
def test_model_that_knows_is_right_at_every_letter(answer):
    found = measure(lambda option, letter: 0.0 if option == OPTIONS[answer] else -9.0, answer=answer)
    assert set(scores(found).values()) == {1.0}
    places = [(answer - shift) % 4 for shift in range(4)]
    assert found["accuracy"].output == " ".join("ABCD"[place] for place in places)


def test_model_that_is_surely_wrong_is_consistent():
    found = scores(measure(lambda option, letter: 0.0 if option == "uno" else -9.0))
    assert found.pop("consistency") == 1.0
    assert set(found.values()) == {0.0}


@pytest.mark.parametrize("letter", "ABCD")
@pytest.mark.parametrize("answer", range(4))
def test_model_of_one_letter_is_right_where_the_answer_stands_there(letter, answer):
    found = scores(measure(lambda option, other: -1.0 if other == letter else -2.0, answer=answer))
    assert found.pop("accuracy") == 0.25
    assert found.pop("consistency") == 0.0
    assert found == {f"recall_{other}": float(other == letter.lower()) for other in "abcd"}


def test_constant_model_gets_one_kth_and_prefers_nothing():
    found = measure(lambda option, letter: -5.0)
    assert scores(found) == {"accuracy": 0.25, "consistency": 0.0} | {f"recall_{x}": 0.25 for x in "abcd"}
    assert found["accuracy"].output == "ABCD ABCD ABCD ABCD"
    assert found["accuracy"].probability == 0.25


def test_one_slip_makes_an_item_inconsistent():
    """Right where the answer stands at A; elsewhere A ties with it."""
    found = measure(lambda option, letter: 0.0 if option == "quattro" or letter == "A" else -9.0)
    expected = {"accuracy": (1 + 3 / 2) / 4, "consistency": 0.0, "recall_a": 1.0}
    assert scores(found) == expected | {f"recall_{x}": 0.5 for x in "bcd"}


def test_probability_is_the_mean_of_what_is_preferred():
    found = measure(lambda option, letter: math.log(0.4 if letter == "A" else 0.2))
    assert found["accuracy"].probability == pytest.approx(0.4)
    assert found["consistency"].probability is None


def test_letters_that_an_item_has_not_are_unscored():
    found = measure(lambda option, letter: 0.0 if option == "sì" else -1.0, options=["no", "sì"])
    assert (found["accuracy"].score, found["recall_a"].score, found["recall_b"].score) == (1.0, 1.0, 1.0)
    assert [found[f"recall_{x}"].score for x in "cd"] == [None, None]
    assert {found[f"recall_{x}"].reason for x in "cd"} == {"fewer options"}
    five = measure(lambda option, letter: 0.0 if option == "e" else -1.0, options=list("abcde"), answer=4)
    assert five["accuracy"].score == 1.0


def test_broken_items_are_refused_as_those_of_multiple_choice():
    for fields in ({"options": ["a", "a"]}, {"answer": 4}, {"question": " "}):
        given = dict(make_item().fields) | fields
        assert TASK.find_fault(given) == load_tasks()["multiple_choice"].find_fault(given) != ""
