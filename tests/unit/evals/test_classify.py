"""Zero-shot classification against plain Python: calibration, judgements, templates, what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from zlib import crc32

import pytest

from adatta.core.errors import EvalError, RowError, UserError
from adatta.core.records import TokenRow
from adatta.evals.classify import CONTENT_FREE, MIN_BATCH, Question, classify, measure_agreement
from adatta.lang.profile import load_profile
from tests.toys.byte_chat import ByteChat

IT = load_profile("it")
TEMPLATE = "Testo: {text}\nEtichetta: {label}"
LABELS = ("bello", "brutto")


class PlainChat(ByteChat):
    """A format without chat template: questions are plain text."""

    template = None


def read(row: TokenRow) -> tuple[str, str]:
    """What is read and what is scored in a row of the byte chat."""
    first = row.weights.index(1.0)
    return bytes(row.ids[1:first]).decode(), bytes(row.ids[first:]).decode()


def odds(prompt: str, scored: str) -> float:
    """A made-up model: log-probs that depend on the text and, more, on the label's length."""
    return -3.0 * len(scored) - crc32(f"{prompt}|{scored}".encode()) % 100 / 40


def score(rows: Sequence[TokenRow]) -> list[float]:
    return [odds(*read(row)) for row in rows]


def ask(texts: Sequence[str], labels=LABELS, **how):
    how = {"template": TEMPLATE} | how
    named = {f"{number}": text for number, text in enumerate(texts)}
    return classify(named, Question(labels, IT, **how), chat=PlainChat(), context=400, score=score)


def shares(text: str, labels=LABELS) -> list[float]:
    weights = [math.exp(odds(f"Testo: {text}\nEtichetta:", f" {label}")) for label in labels]
    return [weight / sum(weights) for weight in weights]


def divided(found: Sequence[float], prior: Sequence[float]) -> list[float]:
    ratios = [share / other for share, other in zip(found, prior, strict=True)]
    return [ratio / sum(ratios) for ratio in ratios]


def mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


TEXTS = [f"testo{'!' * number}" for number in range(MIN_BATCH)]
PRIORS = {
    "none": [1.0, 1.0],
    "content-free": mean([shares(text) for text in CONTENT_FREE]),
    "batch": mean([shares(text) for text in TEXTS]),
}


@pytest.mark.parametrize("calibration", PRIORS)
def test_probabilities_are_those_of_plain_python(calibration: str) -> None:
    found = ask(TEXTS, calibration=calibration)
    for text, each in zip(TEXTS, found, strict=True):
        expected = divided(shares(text), PRIORS[calibration])
        assert list(each.probabilities.values()) == pytest.approx(expected, rel=1e-9)
        assert each.labels == (LABELS[expected.index(max(expected))],)
    assert len({each.labels for each in found}) == (1 if calibration == "none" else 2)


def test_a_text_that_says_nothing_has_no_likelier_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adatta.evals.classify.CONTENT_FREE", ("N/A",))
    assert list(ask(["N/A"])[0].probabilities.values()) == pytest.approx([0.5, 0.5])


def test_several_labels_are_judged_one_by_one() -> None:
    template = "{text}\n{label}? {sì|no}"
    labels = {"a": "breve", "bb": "", "ccc": ""}
    (found,) = ask(["prova"], labels, several=True, template=template)
    for name, label in (("a", "a (breve)"), ("bb", "bb"), ("ccc", "ccc")):
        pairs = [
            [math.exp(odds(f"{text}\n{label}?", f" {answer}")) for answer in ("sì", "no")]
            for text in ("prova", *CONTENT_FREE)
        ]
        own, *others = [[yes / (yes + no), no / (yes + no)] for yes, no in pairs]
        assert found.probabilities[name] == pytest.approx(divided(own, mean(others))[0])
    middle = sorted(found.probabilities.values())[1]
    (strict,) = ask(["prova"], labels, several=True, template=template, threshold=middle)
    assert strict.labels == tuple(name for name, share in strict.probabilities.items() if share >= middle)
    assert len(strict.labels) == 2


def test_one_label_is_enough_where_each_is_judged_alone() -> None:
    assert set(ask(["prova"], ["a"], several=True, template=None)[0].probabilities) == {"a"}


def test_the_language_s_own_words_list_labels_with_their_descriptions() -> None:
    seen: list[tuple[str, str]] = []

    def watch(rows: Sequence[TokenRow]) -> list[float]:
        seen.extend(read(row) for row in rows)
        return score(rows)

    question = Question(["bello=piace a chi scrive", "brutto"], IT)
    classify({"1": "Un {label} film"}, question, chat=PlainChat(), context=400, score=watch)
    listed = "Etichette:\n- bello: piace a chi scrive\n- brutto\n\n"
    prompt = f"{listed}Testo: Un {{label}} film\nEtichetta:"
    assert seen[:2] == [(prompt, " bello"), (prompt, " brutto")]
    assert len(seen) == 2 * (1 + len(CONTENT_FREE))


MISTAKES = {
    "labels given: none; expected 2 or more": ((), {}),
    "labels given: 'a'; expected 2 or more": (("a",), {}),
    "labels given: 'a', 'b', 'a'; expected 2 or more, all different": (("a", "b", "a=sì"), {}),
    "labels given: 'a', ' '; expected 2 or more, all different, none empty": (("a", " "), {}),
    "labels given: 'a', 'a'": (("a", "a"), {"several": True}),
    "template '{label}: {text}'; expected {text}, then {label}, once": (
        LABELS,
        {"template": "{label}: {text}"},
    ),
    "template '{text} {text} {label}'": (LABELS, {"template": "{text} {text} {label}"}),
    "template '{text} {label} {label}'": (LABELS, {"template": "{text} {label} {label}"}),
    "template '{text}: {label}? {sì|no}'": (LABELS, {"template": "{text}: {label}? {sì|no}"}),
    "then {label}, once, then both answers at its end, as {yes|no}": (LABELS, {"several": True}),
    "calibration 'forte', threshold 0.5; expected content-free, batch, none": (
        LABELS,
        {"calibration": "forte"},
    ),
    "threshold 1.0": (LABELS, {"threshold": 1.0}),
}


def test_labels_may_be_listed_behind_the_text() -> None:
    question = Question(LABELS, IT, template="{text}\nUna di:\n{labels}\nRisposta: {label}.")
    prompt = "Ciao {labels}\nUna di:\n- bello\n- brutto\nRisposta: "
    assert question.judgements("Ciao {labels}") == [[(prompt, "bello."), (prompt, "brutto.")]]


@pytest.mark.parametrize("message", MISTAKES)
def test_what_can_t_be_asked_is_told(message: str) -> None:
    labels, how = MISTAKES[message]
    with pytest.raises(UserError) as error:
        ask(["x"], labels, **how)
    assert message in str(error.value)


def test_empty_and_long_texts_are_all_named_and_nothing_is_computed() -> None:
    with pytest.raises(RowError) as error:
        classify(
            {"f:1": "x", "f:2": " \n", "f:3": "è" * 200},
            Question(LABELS, IT, template=TEMPLATE),
            chat=PlainChat(),
            context=400,
            score=lambda rows: pytest.fail("computed"),
        )
    assert "f:1" not in str(error.value)
    assert "f:2: an empty text" in str(error.value)
    assert "f:3: 426 tokens with the question, the model takes 400" in str(error.value)


def test_every_label_s_rows_are_measured_where_several_are_judged() -> None:
    labels = {"a" * 300: "", "b": "", "c": ""}
    with pytest.raises(RowError, match="the model takes 400"):
        ask(["x" * 150], labels, several=True, template=None)


def test_a_text_as_long_as_the_context_is_classified() -> None:
    longest = 400 - len("Testo: \nEtichetta: brutto") - 1
    assert ask(["x" * longest])
    with pytest.raises(RowError, match="401 tokens"):
        ask(["x" * (longest + 1)])


def test_a_small_batch_says_nothing_of_the_model() -> None:
    with pytest.raises(UserError, match=f"needs {MIN_BATCH} texts, {MIN_BATCH - 1} given; use content-free"):
        ask(TEXTS[1:], calibration="batch")


def test_a_broken_model_is_no_result() -> None:
    with pytest.raises(EvalError, match="not a finite number"):
        classify(
            {"1": "x"},
            Question(LABELS, IT),
            chat=PlainChat(),
            context=400,
            score=lambda rows: [math.nan] * len(rows),
        )


def test_agreement_counts_and_has_intervals() -> None:
    gold, found = ["a"] * 6 + ["b"] * 4, ["a"] * 5 + ["b"] * 4 + ["a"]
    figures = measure_agreement(gold, found)
    assert figures["n"] == 10
    assert figures["accuracy"]["value"] == 0.8
    assert figures["accuracy"]["ci95"] == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Wilson 1927 by hand
    assert figures["macro_f1"]["value"] == pytest.approx((10 / 12 + 6 / 8) / 2)
    low, high = figures["macro_f1"]["ci95"]
    assert low < figures["macro_f1"]["value"] < high
    assert figures["recall"]["b"]["value"] == 0.75
    assert figures["confusion"] == {"a": {"a": 5, "b": 1}, "b": {"a": 1, "b": 3}}
