"""Our ids against those of transformers, for every family."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from adatta.chat.render import Chat
from adatta.core.records import Conversation, Message, Origin
from tests.unit.chat.families import BYTE_LEVEL, FAMILIES

pytestmark = pytest.mark.torch  # transformers imports it
ORIGIN = Origin(path="a.jsonl", line=1)
SYSTEM = 'Rispondi in italiano.\nUsa "virgolette", \\ e {{ graffe }} {% %} così: è.'

# Ordinary text, with double spaces, newlines, characters of several bytes, one outside the vocabulary.
words = st.sampled_from([*"abcàèìòù 12.,:'«»\n😀漢", "  ", " la ", "casa", "e\u0301", "[", "]", "|", "<"])
contents = st.lists(words, min_size=1, max_size=12).map("".join).filter(str.strip)
stripped = contents.map(str.strip)
turns = st.integers(1, 3).flatmap(lambda num: st.tuples(*[stripped] * (2 * num)))


@pytest.fixture(scope="session")
def oracles(family_folders: dict[str, Path]) -> dict[str, PreTrainedTokenizerFast]:
    loaded = {name: PreTrainedTokenizerFast.from_pretrained(path) for name, path in family_folders.items()}
    for tokenizer in loaded.values():
        tokenizer.backend_tokenizer.no_truncation()
    return loaded


def messages_of(texts: Sequence[str]) -> tuple[Message, ...]:
    return tuple(
        Message(role="user" if number % 2 == 0 else "assistant", content=text)
        for number, text in enumerate(texts)
    )


def oracle_ids(
    tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], **options: object
) -> tuple[int, ...]:
    rows = [{"role": message.role, "content": message.content} for message in messages]
    return tuple(tokenizer.apply_chat_template(rows, return_dict=False, **options))


def conversation(messages: Sequence[Message]) -> Conversation:
    return Conversation(messages=tuple(messages), row_id="0", origin=ORIGIN)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=turns)
def test_ids_of_harmless_content_are_the_tokenizers_own(
    family: str, texts: tuple[str, ...], chats: dict[str, Chat], oracles: dict[str, PreTrainedTokenizerFast]
) -> None:
    messages = messages_of(texts)
    assert chats[family].conversation(conversation(messages))[0].ids == oracle_ids(oracles[family], messages)
    prompt = chats[family].prompt(messages[:-1])
    assert prompt == oracle_ids(oracles[family], messages[:-1], add_generation_prompt=True)


@pytest.mark.parametrize("family", ["chatml", "qwen"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.tuples(contents, contents))
def test_ids_equal_also_with_whitespace_around_contents(
    family: str, texts: tuple[str, ...], chats: dict[str, Chat], oracles: dict[str, PreTrainedTokenizerFast]
) -> None:
    messages = messages_of(texts)
    assert chats[family].conversation(conversation(messages))[0].ids == oracle_ids(oracles[family], messages)


@pytest.mark.parametrize("family", BYTE_LEVEL)
def test_special_tokens_in_contents_stay_text_as_in_the_sanitised_oracle(
    family: str, chats: dict[str, Chat], oracles: dict[str, PreTrainedTokenizerFast]
) -> None:
    special, _, _, _, _ = FAMILIES[family]
    messages = messages_of([f"prima {' '.join(special)} dopo", "".join(special) + "."])
    ours = chats[family].conversation(conversation(messages))[0].ids
    theirs = oracle_ids(oracles[family], messages, sanitize_control_tokens=True)
    # The oracle encodes each typed token as a piece of its own, so that ordinary ids may differ.
    assert chats[family].decode(ours, keep_special=True) == chats[family].decode(theirs, keep_special=True)
    numbers = range(len(special))
    assert [ours.count(i) for i in numbers] == [theirs.count(i) for i in numbers]
    unsafe = oracle_ids(oracles[family], messages)
    assert [ours.count(i) for i in numbers] != [unsafe.count(i) for i in numbers]


@pytest.mark.parametrize(
    ("family", "start"), [("chatml", ""), ("chatml", "\n"), ("qwen", ""), ("llama3", ""), ("llama2", "  ")]
)
def test_exported_template_does_what_the_system_prompt_does(
    family: str, start: str, family_folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(family_folders[family], tmp_path / family)
    source = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    (folder / "chat_template.jinja").write_text(start + source, encoding="utf-8")
    chat = Chat.load(folder, SYSTEM)
    (folder / "chat_template.jinja").write_text(chat.exported_template(), encoding="utf-8")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.backend_tokenizer.no_truncation()
    exported = Chat.load(folder)
    own = (Message(role="system", content="Mia."), *messages_of(["Ciao", "Salve"]))
    for messages in (messages_of(["Ciao", "Salve", "Bene?", "Sì."]), own):
        ids = chat.conversation(conversation(messages))[0].ids
        assert ids == oracle_ids(tokenizer, messages) == exported.conversation(conversation(messages))[0].ids
        assert chat.prompt(messages[:-1]) == oracle_ids(tokenizer, messages[:-1], add_generation_prompt=True)
    text = chat.decode(chat.prompt(messages_of(["Ciao"])))
    assert SYSTEM in text
    assert "helpful" not in text


def test_ids_of_toy_models_are_those_of_their_own_tokenizer(toy_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(toy_folder)
    chat = Chat.load(toy_folder)
    messages = messages_of(["Qual è la capitale d'Italia nel 1946?", "Roma.", "E  perché?\n\n😀", "Così è."])
    assert chat.conversation(conversation(messages))[0].ids == oracle_ids(tokenizer, messages)
    prompt = oracle_ids(tokenizer, messages[:3], add_generation_prompt=True)
    assert chat.prompt(messages[:3]) == prompt
    assert (chat.prefix_id, chat.end_id, chat.stop_ids) == (1, 0, (0, 2))
