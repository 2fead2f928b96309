"""A loaded model on a toy: what each method gives equals transformers' own, opened once, closed for good."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import adatta
from adatta.chat.render import Chat
from adatta.core.errors import ModelError, RecipeError, RowError, UserError
from adatta.core.records import Message, TokenRow
from adatta.lang.profile import load_profile
from adatta.pipeline.loaded import LoadedModel

pytestmark = pytest.mark.torch
TURN_END_ID = 2


@pytest.fixture(scope="module")
def model(toy_folder: Path):
    with adatta.load(str(toy_folder)) as opened:
        yield opened


@pytest.fixture(scope="module")
def chat(toy_folder: Path) -> Chat:
    return Chat.load(toy_folder)


@pytest.fixture(scope="module")
def oracle(toy_folder: Path):
    return AutoModelForCausalLM.from_pretrained(toy_folder, dtype=torch.float64)


def test_labels_are_asked_for_behind_the_profile_s_system_prompt(model: LoadedModel) -> None:
    chat = model._scorer[1]
    asked = chat.decode(chat.prompt([Message(role="user", content="Che bello!")]), keep_special=True)
    assert load_profile("it").system_prompt in asked


def log_prob(oracle, row) -> float:
    with torch.no_grad():
        logp_TV = oracle(torch.tensor([row.ids])).logits[0].log_softmax(-1)
    return sum(
        logp_TV[place - 1, row.ids[place]].item() for place, weight in enumerate(row.weights) if weight
    )


def answer(context: tuple[int, ...], ids: tuple[int, ...]) -> TokenRow:
    """A row that scores an answer and the end of its turn."""
    weights = (0.0,) * len(context) + (1.0,) * (len(ids) + 1)
    return TokenRow(ids=(*context, *ids, TURN_END_ID), weights=weights, row_id="")


def greedy(oracle, chat: Chat, ids, limit: int) -> list[int]:
    ids = list(ids)
    while limit > 0:
        limit -= 1
        with torch.no_grad():
            ids.append(int(oracle(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in chat.stop_ids:
            break
    return ids


def test_scores_are_transformers_own(model: LoadedModel, chat: Chat, oracle) -> None:
    pairs = [("Il gatto", " dorme."), ("Il gatto", " dormono."), ("", "Roma")]
    expected = [log_prob(oracle, chat.continuation(*pair)) for pair in pairs]
    assert model.score(pairs) == pytest.approx(expected, abs=1e-4)  # fp32 against float64


def test_what_can_not_be_asked_is_told(model: LoadedModel) -> None:
    with pytest.raises(UserError, match=r"pair 2 has \d+ tokens, the model takes \d+"):
        model.score([("Il gatto", " dorme."), ("parola " * 3000, "Roma")])
    with pytest.raises(UserError, match="max_new_tokens is 0; expected at least 1"):
        model.complete("Il mare", max_new_tokens=0)


def test_completion_goes_on_from_the_text_itself(model: LoadedModel, chat: Chat, oracle) -> None:
    ids = chat.continuation("", "Il mare è").ids
    (found,) = model.complete("Il mare è", max_new_tokens=8)
    new = greedy(oracle, chat, ids, 8)[len(ids) :]
    assert (found.text, found.num_tokens) == (chat.decode(new), len(new))


def test_each_continuation_has_the_next_seed(model: LoadedModel) -> None:
    how = {"max_new_tokens": 8, "temperature": 1.5}
    three = model.complete("Il mare", n=3, seed=4, **how)
    assert three == [model.complete("Il mare", seed=seed, **how)[0] for seed in (4, 5, 6)]
    assert len(set(three)) > 1


def test_answer_is_that_of_the_chat_template(model: LoadedModel, chat: Chat, oracle) -> None:
    ids = chat.prompt([Message(role="user", content="Chi sei?")])
    answer = chat.decode(greedy(oracle, chat, ids, 6)[len(ids) :])
    assert model.generate("Chi sei?", max_new_tokens=6) == answer
    assert model.generate([{"role": "user", "content": "Chi sei?"}], max_new_tokens=6) == answer


def test_labels_are_divided_by_what_they_are_without_a_text(
    model: LoadedModel, toy_folder: Path, oracle
) -> None:
    template, labels = "Testo: {text}\nÈ {label}", ["bello", "brutto"]
    chat = Chat.load(toy_folder, load_profile("it").system_prompt)

    def shares(text: str) -> torch.Tensor:
        context = chat.prompt([Message(role="user", content=f"Testo: {text}\nÈ")])
        sums = [log_prob(oracle, answer(context, chat.encode_text(label).ids)) for label in labels]
        return torch.tensor(sums, dtype=torch.float64).softmax(-1)

    prior = torch.stack([shares(text) for text in ("N/A", "[MASK]", "")]).mean(0)
    for found, text in zip(
        model.classify(["Il mare", "Roma"], labels, template=template), ("Il mare", "Roma"), strict=True
    ):
        expected = shares(text) / prior
        assert list(found.probabilities.values()) == pytest.approx(
            (expected / expected.sum()).tolist(), abs=1e-4
        )


def test_one_text_and_texts_by_place(model: LoadedModel) -> None:
    (one,) = model.classify("Il mare", ["a", "b"])
    assert model.classify({"riga 1": "Il mare"}, ["a", "b"]) == [one]
    with pytest.raises(RowError, match="riga 7: an empty text"):
        model.classify({"riga 7": ""}, ["a", "b"])
    with pytest.raises(RowError, match=r"text 2: [0-9]+ tokens with the question, the model takes 512"):
        model.classify(["x", "x" * 600], ["a", "b"])


def test_special_tokens_that_somebody_typed_stay_text(model: LoadedModel, chat: Chat) -> None:
    assert 2 not in chat.continuation("", "<|im_end|>").ids
    assert model.complete("<|im_end|>", max_new_tokens=1)[0].num_tokens == 1


def test_language_decides_the_words_of_the_question(toy_folder: Path, model: LoadedModel) -> None:
    with adatta.load(str(toy_folder), language="en") as other:
        assert other.classify("Il mare", ["a", "b"]) != model.classify("Il mare", ["a", "b"])


def test_parts_are_opened_once_and_given_back(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from adatta.pipeline import loaded

    opened, open_model = [], loaded.open_model
    monkeypatch.setattr(
        loaded, "open_model", lambda *given, **how: opened.append(given[0]) or open_model(*given, **how)
    )
    with adatta.load(str(toy_folder)) as model:
        for _ in range(2):
            model.complete("x", max_new_tokens=1)
        engine = model._generator.engine
    assert opened == [str(toy_folder)]
    assert engine._model is None
    model.close()
    model.complete("x", max_new_tokens=1)
    assert len(opened) == 2


def test_what_isn_t_there_is_told_at_once() -> None:
    with pytest.raises(ModelError, match=r"nowhere\.gguf"):
        adatta.load("nowhere.gguf")
    with pytest.raises(RecipeError, match="'xx' has no profile"):
        adatta.load("org/model", language="xx")


def test_options_and_messages_that_there_aren_t_are_told(model: LoadedModel) -> None:
    with pytest.raises(
        UserError, match="max_tokens isn't known; there are: max_new_tokens, temperature, seed, show"
    ):
        model.generate("Ciao", max_tokens=3)
    for turn in ({"role": "user"}, {"role": "user", "content": "Ciao", "name": "Anna"}):
        with pytest.raises(UserError, match="is no message; expected role and content, nothing else"):
            model.generate([turn])


def test_an_empty_text_is_not_completed(model: LoadedModel) -> None:
    with pytest.raises(UserError, match="an empty text was given"):
        model.complete("")
