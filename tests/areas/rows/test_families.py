"""Every chat template that is at hand: ids, masks, ends of turn, thoughts, and the template that is exported.

The oracle for ids is transformers' own `apply_chat_template`; what a model writes after each prompt was read
off the templates by hand (`ANSWERS`, `THOUGHTS`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from gguf import GGUFReader, GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from adatta.chat.family import list_families
from adatta.chat.render import Chat
from adatta.core.errors import TemplateError
from adatta.core.records import Conversation, Message, Origin, Preference, TokenRow
from adatta.export.formats.safetensors import write as write_safetensors
from adatta.export.gguf_vocabulary import add_vocabulary
from adatta.export.job import ExportJob
from adatta.model.dialogue import read_gguf_chat
from tests.unit.chat.published import (
    ANSWERS,
    BEGIN,
    NOT_COVERED,
    THOUGHTS,
    expected,
    published,
    write_published,
)

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
FAMILIES = sorted(published())
SYSTEM = "Rispondi in italiano,\ncon parole semplici."
with_fixtures = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
words = st.sampled_from(
    [*"abcàèìòù12.,:'«»\n😀漢", "  ", " la ", "casa", "e\u0301", "[", "|", "<", "user", "\t"]
)
stripped = st.lists(words, min_size=1, max_size=12).map("".join).map(str.strip).filter(bool)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("published")
    return {name: write_published(root / name, name) for name in FAMILIES}


@pytest.fixture(scope="session")
def chats(folders: dict[str, Path]) -> dict[str, Chat]:
    return {name: Chat.load(folder) for name, folder in folders.items()}


@pytest.fixture(scope="session")
def oracles(folders: dict[str, Path]) -> dict[str, PreTrainedTokenizerFast]:
    return {name: PreTrainedTokenizerFast.from_pretrained(folder) for name, folder in folders.items()}


def user(content: str) -> Message:
    return Message(role="user", content=content)


def answer(content: str, thoughts: str = "") -> Message:
    return Message(role="assistant", content=content, thoughts=thoughts)


def conversation(messages: Sequence[Message]) -> Conversation:
    return Conversation(messages=tuple(messages), row_id="row", origin=Origin(path="a.jsonl", line=1))


def own_ids(
    tokenizer: PreTrainedTokenizerFast, name: str, messages: Sequence[Message], **options: object
) -> tuple[int, ...]:
    """Return what transformers makes of messages, thinking switched off."""
    as_parts = name.startswith(("idefics", "smolvlm", "llava"))
    rows = [
        {
            "role": message.role,
            "content": [{"type": "text", "text": message.content}] if as_parts else message.content,
        }
        for message in messages
    ]
    return tuple(tokenizer.apply_chat_template(rows, return_dict=False, enable_thinking=False, **options))


def scored(chat: Chat, row: TokenRow) -> str:
    ids = [number for number, weight in zip(row.ids, row.weights, strict=True) if weight]
    return chat.decode(ids, keep_special=True)


def written(name: str, *turns: tuple[str, str]) -> str:
    """Say what a model writes: for each (thoughts, answer), joined."""
    texts = []
    for thoughts, text in turns:
        before = expected(THOUGHTS, name).format(thoughts=thoughts) if thoughts else ""
        after = expected(ANSWERS, name)
        if thoughts and name.startswith(("nemotron", "deepseek")):
            after = after.lstrip()
        texts.append(before + after.format(answer=text))
    return "".join(texts)


def test_what_is_covered_and_what_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    # Every profile that describes a template at hand is used; which families aren't covered is printed.
    used = {
        family.name for family in list_families() for source in published().values() if _fits(family, source)
    }
    unused = {family.name for family in list_families()} - used
    with capsys.disabled():
        print(f"\n{len(FAMILIES)} templates; not at hand: {', '.join(NOT_COVERED)}")
    assert unused == {"llama2", "mistral"}
    limits = (Path(__file__).parents[3] / "docs/limits.md").read_text(encoding="utf-8")
    assert all(name in limits for name in NOT_COVERED)


def _fits(family, source: str) -> bool:
    return all(mark in source for mark in family.recognised_by)


@pytest.mark.parametrize("name", FAMILIES)
def test_at_most_one_profile_recognises_a_template(name: str) -> None:
    assert sum(_fits(family, published()[name]) for family in list_families()) <= 1


@pytest.mark.parametrize("name", FAMILIES)
@with_fixtures
@given(texts=st.integers(1, 3).flatmap(lambda num: st.tuples(*[stripped] * (2 * num))))
def test_ids_of_harmless_content_are_the_tokenizers_own(
    name: str, texts: tuple[str, ...], chats: dict[str, Chat], oracles: dict[str, PreTrainedTokenizerFast]
) -> None:
    chat, oracle = chats[name], oracles[name]
    messages = [user(text) if place % 2 == 0 else answer(text) for place, text in enumerate(texts)]
    rows = chat.conversation(conversation(messages))
    ends = [len(messages)] if len(rows) == 1 else range(2, len(messages) + 1, 2)
    for row, end in zip(rows, ends, strict=True):
        own = own_ids(oracle, name, messages[:end])
        if name.startswith("glm4moe") and row.ids != own:
            # The template leaves the end of the last turn to the next one's header.
            own = (*own, oracle.convert_tokens_to_ids("<|user|>"))
        if name.startswith("deepseek"):
            # The template forgets the think block that its prompt opened; in use it is there.
            asked = oracle.apply_chat_template(
                [{"role": message.role, "content": message.content} for message in messages[: end - 1]],
                tokenize=False,
                add_generation_prompt=True,
            )
            whole = f"{asked}\n</think>\n\n{messages[end - 1].content}<｜end▁of▁sentence｜>"
            own = tuple(oracle.encode(whole, add_special_tokens=False))
        assert row.ids == own
    asked = own_ids(oracle, name, messages[:-1], add_generation_prompt=True)
    if name.startswith("deepseek"):
        closed = oracle.decode(asked) + "\n</think>\n\n"
        asked = tuple(oracle.encode(closed, add_special_tokens=False))
    assert chat.prompt(messages[:-1]) == asked


@pytest.mark.parametrize("system", [False, True], ids=["alone", "with system message"])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_scored_is_what_the_model_writes(name: str, system: bool, chats: dict[str, Chat]) -> None:
    chat = chats[name]
    first = [Message(role="system", content=SYSTEM)] if system else []
    messages = [
        *first,
        user("Chi è?"),
        answer("È Dante."),
        user("E poi?\n\nDimmi."),
        answer("1. Uno\n2. Due."),
    ]
    rows = chat.conversation(conversation(messages))
    assert "".join(scored(chat, row) for row in rows) == written(
        name, ("", "È Dante."), ("", "1. Uno\n2. Due.")
    )
    for number, row in enumerate(rows):
        assert row.branch == number
        last = max(place for place, weight in enumerate(row.weights) if weight)
        assert row.ids[last] in chat.stop_ids
        assert row.weights[0] == 0
        assert not system or SYSTEM in chat.decode(row.ids)
    assert not chat.straddled


@pytest.mark.parametrize("name", FAMILIES)
def test_begin_of_text_comes_as_often_as_the_template_has_it(
    name: str, chats: dict[str, Chat], oracles: dict[str, PreTrainedTokenizerFast]
) -> None:
    messages = [user("Chi è?"), answer("È Dante."), user("E poi?"), answer("Nulla.")]
    own = own_ids(oracles[name], name, messages)
    begin = oracles[name].convert_tokens_to_ids(BEGIN)
    rows = chats[name].conversation(conversation(messages))
    assert [row.ids.count(begin) for row in rows] == [own.count(begin)] * len(rows)


@pytest.mark.parametrize("name", FAMILIES)
@with_fixtures
@given(texts=st.tuples(stripped, stripped, stripped))
def test_both_answers_go_on_from_the_prompts_own_ids(
    name: str, texts: tuple[str, ...], chats: dict[str, Chat]
) -> None:
    chat, (asked, chosen, rejected) = chats[name], texts
    row = Preference(
        prompt=(user(asked),),
        chosen=answer(chosen),
        rejected=answer(rejected),
        row_id="row",
        origin=Origin(path="a.jsonl", line=1),
    )
    prompt = chat.prompt(row.prompt)
    for branch, text in zip(chat.preference(row), (chosen, rejected), strict=True):
        assert branch.ids[: len(prompt)] == prompt
        assert not any(branch.weights[: len(prompt)])
        assert scored(chat, branch) == written(name, ("", text))


@pytest.mark.parametrize("name", FAMILIES)
def test_thoughts_are_dropped_or_learnt(name: str, chats: dict[str, Chat]) -> None:
    chat = chats[name]
    turns = [("Devo pensare.\n\nA Dante.", "È Dante."), ("Altro pensiero.", "Nulla.")]
    messages = [
        user("Chi è?"),
        answer(turns[0][1], turns[0][0]),
        user("E poi?"),
        answer(turns[1][1], turns[1][0]),
    ]
    bare = [user("Chi è?"), answer(turns[0][1]), user("E poi?"), answer(turns[1][1])]
    row = conversation(messages)
    assert chat.conversation(row) == chat.conversation(conversation(bare))
    assert chat.prompt(messages[:-1]) == chat.prompt(bare[:-1])
    if expected(THOUGHTS, name) is None:
        with pytest.raises(TemplateError, match=r"the thoughts of message 2 \(assistant\) 0 times"):
            chat.conversation(row, "keep")
        return
    kept = chat.conversation(row, "keep")
    assert "".join(scored(chat, part) for part in kept) == written(name, *turns)
    # Without thoughts in the row, `keep` is the mode without thinking.
    assert chat.conversation(conversation(bare), "keep") == chat.conversation(conversation(bare))


@pytest.mark.parametrize("name", FAMILIES)
def test_exported_template_asks_as_training_does(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    chat = Chat.load(folders[name], SYSTEM)
    folder = write_published(tmp_path / name, name)
    (folder / "chat_template.jinja").write_text(chat.exported_template(), encoding="utf-8")
    exported = Chat.load(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    messages = [user("Chi è?"), answer("È Dante."), user("E poi?")]
    as_parts = name.startswith(("idefics", "smolvlm", "llava"))
    rows = [
        {"role": m.role, "content": [{"type": "text", "text": m.content}] if as_parts else m.content}
        for m in messages
    ]
    # Nobody tells the exported template not to think.
    theirs = tuple(tokenizer.apply_chat_template(rows, return_dict=False, add_generation_prompt=True))
    assert chat.prompt(messages) == theirs == exported.prompt(messages)
    thoughts = "Penso." if expected(THOUGHTS, name) else ""
    row = conversation([*messages, answer("Nulla.", thoughts)])
    assert chat.conversation(row) == exported.conversation(row)
    assert chat.conversation(row, "keep") == exported.conversation(row, "keep")
    folder.joinpath("chat_template.jinja").write_text(exported.exported_template(), encoding="utf-8")
    assert Chat.load(folder).prompt(messages) == theirs
    assert set(chat.stop_ids) == set(exported.stop_ids)


@pytest.mark.parametrize("name", FAMILIES)
def test_trained_end_of_turn_is_exported(
    name: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADATTA_CACHE", str(tmp_path / "cache"))
    chat = Chat.load(folders[name], SYSTEM)
    (row,) = chat.conversation(conversation([user("Chi è?"), answer("È Dante.")]))
    trained = max((place, number) for place, number in enumerate(row.ids) if row.weights[place])[1]
    ending = expected(ANSWERS, name).partition("{answer}")[2]
    assert chat.decode([trained], keep_special=True) == ending

    files = write_safetensors(
        ExportJob(model_folder=folders[name], out_dir=tmp_path, chat=chat, name="prova")
    )
    configs = {file.name: json.loads(file.read_text()) for file in files if file.name.endswith("config.json")}
    assert trained in configs["generation_config.json"]["eos_token_id"]
    assert configs["tokenizer_config.json"]["eos_token"] == ending
    assert Chat.load(files[0].parent).prompt([user("Chi è?")]) == chat.prompt([user("Chi è?")])

    path = tmp_path / "prova.gguf"
    with closing(GGUFWriter(path, "llama")) as writer:
        size = Tokenizer.from_file(str(folders[name] / "tokenizer.json")).get_vocab_size()
        add_vocabulary(writer, folders[name], size=size, chat=chat)
        writer.add_context_length(64)
        writer.add_chat_template(chat.exported_template())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
    fields = GGUFReader(path).fields
    for key in ("eos", "eot"):
        assert fields[f"tokenizer.ggml.{key}_token_id"].contents() == trained
    read = read_gguf_chat(path)
    assert trained in read.stop_ids
    assert set(chat.stop_ids) <= set(read.stop_ids)
    if not name.startswith("phi"):  # GGUF has no field for tokens that swallow the whitespace behind them
        assert read.prompt([user("Chi è?")]) == chat.prompt([user("Chi è?")])


def test_embedded_model_with_its_own_tokenizer(
    embedded_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADATTA_CACHE", str(tmp_path))
    chat = read_gguf_chat(embedded_path)
    folder = next(tmp_path.rglob("tokenizer.json")).parent
    messages = [
        user("Chi è?"),
        answer("È Dante."),
        user("E poi?\n\n1,5 e  due 😀"),
        answer("Così è: l'altro."),
    ]
    (row,) = chat.conversation(conversation(messages))
    oracle = PreTrainedTokenizerFast.from_pretrained(folder)
    assert row.ids == own_ids(oracle, "smollm2", messages)
    assert scored(chat, row) == "È Dante.<|im_end|>Così è: l'altro.<|im_end|>"
    assert chat.prompt(messages[:3]) == own_ids(oracle, "smollm2", messages[:3], add_generation_prompt=True)
