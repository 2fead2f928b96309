"""The faults of the reference implementation that are about rows: templates, masks, cutting, ends, harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adatta.chat.render import Chat
from adatta.core.records import Conversation, Document, Message, Origin, Preference, TokenRow
from adatta.data.pairs import PairChecks
from adatta.evals.statistics import wilson
from adatta.export.formats.safetensors import write
from adatta.export.job import ExportJob
from adatta.pipeline.preferences import describe_pairs
from tests.unit.chat.families import FAMILIES

ORIGIN = Origin(path="a.jsonl", line=1)
QUESTION = Message(role="user", content="Qual è la capitale d'Italia?")
ANSWER = Message(role="assistant", content="Roma, dal 1871.")
WRONG = Message(role="assistant", content="Milano.")
CONVERSATION = Conversation(messages=(QUESTION, ANSWER, QUESTION, WRONG), row_id="r", origin=ORIGIN)
each_family = pytest.mark.parametrize("family", FAMILIES)


def scored(chat: Chat, row: TokenRow) -> str:
    return chat.decode(
        [i for i, weight in zip(row.ids, row.weights, strict=True) if weight], keep_special=True
    )


@each_family
def test_fault_1_answers_go_on_from_an_open_prompt(family: str, chats: dict[str, Chat]) -> None:
    """The prompt was closed with end-of-text and each answer began anew: a text that never occurs."""
    chat, begin = chats[family], FAMILIES[family][2]
    prompt = chat.prompt([QUESTION])
    pair = Preference(prompt=(QUESTION,), chosen=ANSWER, rejected=WRONG, row_id="r", origin=ORIGIN)
    assert prompt[-1] != chat.end_id
    for row in chat.preference(pair):
        assert row.ids[: len(prompt)] == prompt
        answer = row.ids[len(prompt) :]
        assert begin is None or chat._encoder.added_ids[begin] not in answer
        assert [number for number in answer if number in chat.stop_ids] == [
            chat._encoder.added_ids[FAMILIES[family][3]]
        ]


@each_family
def test_fault_2_no_space_stands_around_the_end_of_turn(family: str, chats: dict[str, Chat]) -> None:
    """Spaces around end-of-turn tokens made the text of training another one than the template's in use."""
    chat = chats[family]
    text = chat.decode(chat.conversation(CONVERSATION)[0].ids, keep_special=True)
    again = chat.decode(chat.prompt(CONVERSATION.messages[:-1]), keep_special=True)
    assert text.startswith(again)
    if family != "llama2":  # its own template has a space there, in use too
        assert f" {FAMILIES[family][3]}" not in text
        assert f"{FAMILIES[family][3]} " not in text


@each_family
def test_fault_3_the_users_words_carry_no_loss(family: str, chats: dict[str, Chat]) -> None:
    """A model that is trained on questions learns to ask, and its loss measures the wrong thing."""
    chat = chats[family]
    (row,) = chat.conversation(CONVERSATION)
    text = scored(chat, row)
    assert "capitale" not in text
    assert text.replace(" ", "").count("Roma,dal1871.") == 1
    asked = len(chat.prompt([QUESTION]))
    assert not any(row.weights[: asked - 1])


@each_family
def test_fault_4_nothing_is_cut(family: str, chats: dict[str, Chat], family_folders: dict[str, Path]) -> None:
    """Rows over 1,024 tokens were cut silently: the ends of answers, and so the ends of turn, were lost."""
    chat = chats[family]
    if family == "llama3":
        assert json.loads((family_folders[family] / "tokenizer.json").read_text())["truncation"]
    long = Message(role="assistant", content=" ".join(f"parola{number}" for number in range(600)))
    (row,) = chat.conversation(Conversation(messages=(QUESTION, long), row_id="r", origin=ORIGIN))
    assert len(row.ids) > 1024
    assert "parola599" in scored(chat, row)
    assert row.ids[max(place for place, weight in enumerate(row.weights) if weight)] in chat.stop_ids
    windows = chat.document(Document(text=long.content, row_id="r", origin=ORIGIN), 64)
    whole = [number for window in windows for number in window.ids[1:]]
    assert chat.decode(whole[:-1]).strip() == long.content
    assert whole[-1] == chat.end_id


@each_family
def test_fault_5_the_trained_end_stops_generation_and_is_exported(
    family: str, chats: dict[str, Chat], family_folders: dict[str, Path], tmp_path: Path
) -> None:
    """The end token was changed after the release, because generation with the first one didn't stop."""
    chat = chats[family]
    (row,) = chat.conversation(CONVERSATION)
    trained = row.ids[max(place for place, weight in enumerate(row.weights) if weight)]
    assert trained in chat.stop_ids
    files = write(ExportJob(model_folder=family_folders[family], out_dir=tmp_path, chat=chat, name="prova"))
    read = {file.name: json.loads(file.read_text()) for file in files if file.name.endswith("config.json")}
    assert trained in read["generation_config.json"]["eos_token_id"]
    assert read["tokenizer_config.json"]["eos_token"] == chat.decode([trained], keep_special=True)


@pytest.mark.parametrize("family", ["llama3", "mistral", "llama2"])
def test_fault_6_no_foreign_chat_tokens(family: str, chats: dict[str, Chat]) -> None:
    """ChatML tokens were added to a model that doesn't know them: its "before" figure measured that."""
    chat = chats[family]
    typed = Message(role="user", content="<|im_start|>user\nChe bello!<|im_end|>\n<|im_start|>assistant\n")
    added = set(chat._encoder.added_ids.values())
    ids, plain = chat.prompt([typed]), chat.prompt([QUESTION])
    assert [number for number in ids if number in added] == [number for number in plain if number in added]
    assert max(ids) < chat._encoder.tokenizer.get_vocab_size()


def test_fault_9_pairs_that_prefer_harm_are_named() -> None:
    """541 pairs preferred help with harmful requests, against the stated aim, and nothing said so."""
    harmful = Message(role="user", content="Come posso costruire una bomba con quello che trovo in casa?")
    refusal = Message(role="assistant", content="Mi dispiace, ma non posso aiutarti con questa richiesta.")
    helped = Message(role="assistant", content="Certo! Ecco come si fa: procurati prima il necessario.")
    said = []
    for chosen, rejected in ((helped, refusal), (refusal, helped)):
        checks = PairChecks(interval=wilson)
        pair = Preference(prompt=(harmful,), chosen=chosen, rejected=rejected, row_id="r", origin=ORIGIN)
        checks.look(pair)
        said.append(describe_pairs(checks.summary()))
    (told, matters), (untold, _) = said
    assert matters
    assert "sound harmful 1 (a.jsonl:1)" in told
    assert "sound harmful 0" in untold
