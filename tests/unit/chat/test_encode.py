"""Text to ids: characters without a token, tokens on a border, look-alikes that a normaliser makes tokens."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from adatta.chat.encode import Encoder
from adatta.chat.render import Chat
from adatta.core.errors import TemplateError
from adatta.core.records import Conversation, Document, Message, Origin
from tests.unit.chat.families import write_family

ORIGIN = Origin(path="a.jsonl", line=1)


def read(folder: Path) -> dict:
    return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))


def conversation(*texts: str) -> Conversation:
    roles = ("user", "assistant") * len(texts)
    messages = tuple(Message(role=role, content=text) for role, text in zip(roles, texts, strict=False))
    return Conversation(messages=messages, row_id="r", origin=ORIGIN)


@pytest.fixture
def lacking(family_folders: dict[str, Path], tmp_path: Path) -> Chat:
    """A byte-level tokenizer without the bytes 04 and C3 (every letter à to ÿ)."""
    folder = shutil.copytree(family_folders["chatml"], tmp_path / "chatml")
    fields = read(folder)
    gone = {"Ą", "Ã"}  # how byte-level vocabularies write them
    model = fields["model"]
    model["merges"] = [merge for merge in model["merges"] if not gone & set("".join(merge))]
    parts = {part for merge in model["merges"] for part in (*merge, "".join(merge))}
    kept = [t for t in model["vocab"] if not gone & set(t) or t in parts]
    model["vocab"] = {text: number for text, number in model["vocab"].items() if text in kept}
    (folder / "tokenizer.json").write_text(json.dumps(fields), encoding="utf-8")
    # The harmless conversation of the check at load has such letters.
    (folder / "chat_template.jinja").rename(tmp_path / "template")
    return Chat.load(folder)


@pytest.mark.parametrize(
    ("text", "name"),
    [("Ciao\x04!", "U+0004 ('\\x04')"), ("mare 😀 città", "U+00E0 ('à')"), ("\u00ff", "U+00FF")],
)
def test_a_character_without_a_token_is_an_error_that_names_it(lacking: Chat, text: str, name: str) -> None:
    # The tokenizer itself says nothing: the text comes back shorter.
    own = lacking._encoder.tokenizer
    assert own.decode(own.encode(text, add_special_tokens=False).ids) != text
    with pytest.raises(TemplateError, match=re.escape(f"no token for the character {name}")):
        lacking.document(Document(text=text, row_id="r", origin=ORIGIN), 64)
    with pytest.raises(TemplateError, match=re.escape(name)):
        lacking.continuation("a", text)


def test_other_characters_pass_where_some_lack(lacking: Chat) -> None:
    text = "mare 漢 😀 ň\x05"
    assert (
        lacking.decode(lacking.document(Document(text=text, row_id="r", origin=ORIGIN), 64)[0].ids[1:-1])
        == text
    )


@pytest.mark.parametrize("family", ["chatml", "qwen", "llama3", "mistral", "llama2"])
def test_complete_vocabularies_lack_nothing(family: str, chats: dict[str, Chat]) -> None:
    assert chats[family]._encoder._missing is None


def test_embedded_vocabulary_lacks_six_control_characters(embedded_path: Path) -> None:
    from adatta.model.dialogue import read_gguf_chat

    encoder = read_gguf_chat(embedded_path)._encoder
    lost = []
    for number in range(32):
        try:
            encoder.encode_text(f"a{chr(number)}b")
        except TemplateError:
            lost.append(number)
    assert lost == [0x04, 0x06, 0x13, 0x14, 0x16, 0x1D]


def test_rows_with_a_token_on_the_border_are_remembered(chats: dict[str, Chat]) -> None:
    chat = Chat(
        encoder=chats["chatml"]._encoder,
        settings={"tokenizer": {}, "generation": {}, "model": {"eos_token_id": 0}},
        template=chats["chatml"].template,
        system_prompt=None,
    )
    (plain,) = chat.conversation(conversation("Uno", "due"))
    assert not chat.straddled
    # The header's line break melts with those of the answer; its last byte is the answer's, so it is scored.
    (row,) = chat.conversation(conversation("Uno", "\n\nDue."))
    assert chat.straddled == {"r"}
    assert len(plain.ids) == len(plain.weights)
    first = next(place for place, weight in enumerate(row.weights) if weight)
    assert chat.decode([row.ids[first]]) == "\n\n"


def test_load_refuses_a_tokenizer_that_gives_harmless_text_an_added_token(tmp_path: Path) -> None:
    folder = write_family(tmp_path / "chatml", "chatml")
    fields = json.loads((folder / "tokenizer.json").read_text())
    space = {**fields["added_tokens"][-1], "id": 900, "content": "  ", "special": False}
    fields["added_tokens"].append(space)
    (folder / "tokenizer.json").write_text(json.dumps(fields))
    with pytest.raises(TemplateError, match="harmless conversation gets other ids than the tokenizer's own"):
        Chat.load(folder)


@pytest.mark.parametrize("form", ["NFKC", "NFC"])
def test_look_alikes_that_a_normaliser_turns_into_a_token_stay_text(
    family_folders: dict[str, Path], form: str
) -> None:
    fields = read(family_folders["chatml"])
    fields["normalizer"] = {"type": form}
    for token in fields["added_tokens"]:
        token["normalized"] = True
    encoder = Encoder(json.dumps(fields))
    typed = "＜｜im_end｜＞ <|im_end|> <think>"
    unsafe = Tokenizer.from_str(json.dumps(fields)).encode(typed, add_special_tokens=False).ids
    added = set(encoder.added_ids.values())
    assert added & set(unsafe)
    assert not added & set(encoder.encode_text(typed).ids)
