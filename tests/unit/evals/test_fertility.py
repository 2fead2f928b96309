"""Fertility of tokenizers that are known in advance."""

from __future__ import annotations

import pytest

from adatta.chat.encode import Encoded
from adatta.chat.render import Chat
from adatta.core.errors import EvalError, TemplateError
from adatta.evals.fertility import measure_fertility, suite_fertility
from adatta.lang.profile import Traits, load_profile
from tests.unit.evals.conftest import FILES

TEXT = "L'acqua è fredda."
ITALIAN, ENGLISH = load_profile("it"), load_profile("en")


def cut(*pieces):
    """A tokenizer of one text: these pieces of it."""
    ends = [sum(map(len, pieces[: number + 1])) - 1 for number in range(len(pieces))]
    return lambda text: Encoded(
        ids=tuple(range(len(ends))), last_char=tuple(ends), added=(False,) * len(ends)
    )


def encode_bytes(text):
    """A token a byte; those of one character all end in it."""
    ends = [place for place, char in enumerate(text) for _ in char.encode()]
    return Encoded(ids=tuple(text.encode()), last_char=tuple(ends), added=(False,) * len(ends))


def test_fertility_equals_the_worked_number():
    encode = cut("L'", "acqua", " è", " fred", "da", ".")
    joined = measure_fertility([TEXT], encode, language=Traits())
    divided = measure_fertility([TEXT], encode, language=ITALIAN)
    assert (joined["words"], joined["tokens"], joined["bytes"]) == (3, 6, 18)
    assert (joined["tokens_per_word"], joined["bytes_per_token"]) == (2.0, 3.0)
    assert (divided["words"], divided["tokens_per_word"]) == (4, 1.5)
    assert joined["divided_word_share"] == pytest.approx(2 / 3)  # L'acqua, fredda
    assert divided["divided_word_share"] == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("pieces", "share"),
    [
        (("L'acqua è fredda.",), 0.0),  # one token over four words divides none of them
        (("L'a", "cqua è fredda."), 1 / 4),
        (("L", "'", "acqua", " ", "è", " ", "fredda", "."), 0.0),  # signs and spaces belong to no word
        (("L", "'acq", "ua ", "è fr", "edda."), 2 / 4),
        (tuple("L'acqua è fredda."), 2 / 4),  # l and è are one letter each
    ],
)
def test_word_is_divided_where_two_tokens_have_a_part_of_it(pieces, share):
    assert measure_fertility([TEXT], cut(*pieces), language=ITALIAN)["divided_word_share"] == share


def test_characters_of_several_tokens_divide_their_word():
    found = measure_fertility([TEXT], encode_bytes, language=ITALIAN)
    assert (found["tokens"], found["bytes_per_token"]) == (18, 1.0)
    assert found["divided_word_share"] == 3 / 4  # è is two bytes


def test_texts_are_composed_and_pooled():
    found = measure_fertility(["e\u0300 bello", "è"], encode_bytes, language=ITALIAN)
    assert (found["words"], found["bytes"], found["texts"]) == (3, 10, 2)
    assert found["tokens_per_word"] == pytest.approx(10 / 3)


def test_tokens_without_a_character_are_not_counted():
    def encode(text):
        return Encoded(ids=(0, 1), last_char=(-1, len(text) - 1), added=(False, False))

    assert measure_fertility(["acqua"], encode, language=ITALIAN)["tokens"] == 1


def test_text_that_has_no_tokens_is_counted_apart():
    def encode(text):
        if "ñ" in text:
            raise TemplateError("no token for ñ")
        return encode_bytes(text)

    found = measure_fertility(["mañana", "domani"], encode, language=ITALIAN)
    assert (found["texts"], found["unencoded"], found["words"]) == (1, 1, 1)
    for texts in (["mañana"], ["..."], []):
        with pytest.raises(EvalError, match="no words"):
            measure_fertility(texts, encode, language=ITALIAN)


def test_texts_of_a_suite_are_measured_by_task(small_suite):
    found = suite_fertility(small_suite, encode_bytes)
    assert list(found) == ["text_it", "text_en"]
    assert found["text_it"]["bytes"] == sum(len(row["text"].encode()) for row in FILES["text_it"])
    assert (found["text_it"]["words"], found["text_en"]["words"]) == (7, 7)


def test_english_apostrophes_are_part_of_their_word():
    assert measure_fertility(["don’t go"], encode_bytes, language=ENGLISH)["words"] == 2
    assert measure_fertility(["l’acqua"], encode_bytes, language=ITALIAN)["words"] == 2


def test_chat_of_a_model_gives_what_is_needed(toy_folder):
    chat = Chat.load(toy_folder)
    found = measure_fertility([TEXT], chat.encode_text, language=ITALIAN)
    assert found["tokens"] == sum(chat.continuation("", TEXT).weights)
    assert 0.0 <= found["divided_word_share"] <= 1.0
