"""Tokenizers as GGUF fields, against llama.cpp's own ids and the table that reads them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from gguf import GGUFReader, GGUFWriter, TokenType
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from adatta.chat.render import Chat
from adatta.core.errors import ExportError
from adatta.export.conversations import HARD_STRINGS
from adatta.export.gguf_vocabulary import add_vocabulary, pre_tokeniser_name
from adatta.export.turns import find_end_of_turn
from adatta.model.engines.llamacpp import LlamaCppEngine
from adatta.model.gguf_tokenizer import FAMILIES, write_tokenizer
from tests.toys.exports import edit_json, write_toy
from tests.toys.models import SENTENCES, VOCABULARY

pytestmark = pytest.mark.torch


def read_fields(path: Path) -> dict:
    return {key: field.contents() for key, field in GGUFReader(path).fields.items()}


@pytest.fixture
def folder(toy_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_folder, tmp_path / "model"))


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_pre_tokeniser_name_is_the_inverse_of_reading_it(tmp_path: Path, name: str) -> None:
    fields = {
        "general.architecture": "llama",
        "llama.context_length": 64,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": name,
        "tokenizer.ggml.tokens": ["a", "b", "ab", "<s>"],
        "tokenizer.ggml.token_type": [1, 1, 1, 3],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": 3,
    }
    write_tokenizer(fields, tmp_path, tmp_path / "file.gguf")
    found = pre_tokeniser_name(json.loads((tmp_path / "tokenizer.json").read_text()))
    assert (FAMILIES[found].pattern, FAMILIES[found].digits) == (
        FAMILIES[name].pattern,
        FAMILIES[name].digits,
    )


@pytest.mark.parametrize(
    "cutter",
    [
        None,
        {"type": "Whitespace"},
        {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True},
        {"type": "Digits", "individual_digits": False},
    ],
)
def test_unknown_pre_tokeniser_is_refused(folder: Path, cutter: dict | None) -> None:
    fields = json.loads((folder / "tokenizer.json").read_text())
    with pytest.raises(ExportError, match=r"no known pre-tokeniser.*export safetensors instead"):
        pre_tokeniser_name({**fields, "pre_tokenizer": cutter})


def test_tokenizer_that_is_not_bpe_is_refused(folder: Path, toy_folder: Path) -> None:
    edit_json(folder / "tokenizer.json", model={"type": "Unigram", "vocab": [["<unk>", 0.0]], "unk_id": 0})
    with pytest.raises(ExportError, match="'Unigram'"):
        add_vocabulary(GGUFWriter(None, "llama"), folder, size=400, chat=Chat.load(toy_folder))


def test_token_types_tell_control_from_text(folder: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["<think>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    edit_json(folder / "config.json", vocab_size=VOCABULARY)
    fields = json.loads((folder / "tokenizer.json").read_text())
    fields["added_tokens"][-1]["id"] = 399  # in place of an ordinary token: the embedding stays as it is
    last = next(text for text, number in fields["model"]["vocab"].items() if number == 399)
    del fields["model"]["vocab"][last]
    fields["model"]["merges"] = [merge for merge in fields["model"]["merges"] if "".join(merge) != last]
    (folder / "tokenizer.json").write_text(json.dumps(fields))
    written = read_fields(write_toy(folder, tmp_path))
    types = written["tokenizer.ggml.token_type"]
    assert types[:3] == [TokenType.CONTROL] * 3
    assert set(types[3:399]) == {TokenType.NORMAL}
    assert (written["tokenizer.ggml.tokens"][399], types[399]) == ("<think>", TokenType.USER_DEFINED)


def test_special_ids_say_end_of_turn_and_every_stop(folder: Path, tmp_path: Path) -> None:
    edit_json(folder / "generation_config.json", eos_token_id=[7, 2])
    fields = read_fields(write_toy(folder, tmp_path))
    assert fields["tokenizer.ggml.eos_token_id"] == fields["tokenizer.ggml.eot_token_id"] == 2
    assert fields["adatta.stop_token_ids"] == [0, 2, 7]
    assert fields["tokenizer.ggml.padding_token_id"] == 2
    # <|im_start|> is named as begin-of-text, but it opens every turn: one more in front would be too many.
    assert fields["tokenizer.ggml.add_bos_token"] is False


@pytest.fixture(scope="module")
def sentencepiece_folder(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy with a tokenizer as Llama 2 has it: `▁` for spaces, bytes for unknown characters."""
    folder = Path(shutil.copytree(toy_folder, tmp_path_factory.mktemp("spm") / "model"))
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    trained.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=141, show_progress=False))
    learnt = json.loads(trained.to_str())["model"]
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces = sorted(learnt["vocab"], key=learnt["vocab"].get)
    vocabulary = {piece: number for number, piece in enumerate([*first, *pieces])}
    merges = [tuple(merge) for merge in learnt["merges"]]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    edit_json(
        folder / "tokenizer_config.json", bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token=None
    )
    (folder / "chat_template.jinja").write_text(
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
        "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}"
        "{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
    )
    return folder


def test_sentencepiece_tokenizer_gives_llama_cpp_the_same_ids(
    sentencepiece_folder: Path, tmp_path: Path
) -> None:
    path = write_toy(sentencepiece_folder, tmp_path)
    tokenizer = Tokenizer.from_file(str(sentencepiece_folder / "tokenizer.json"))
    with LlamaCppEngine(path, context=64, threads=1) as engine:
        for text in (*SENTENCES, *HARD_STRINGS):
            assert engine.tokenise(text) == tokenizer.encode(text, add_special_tokens=False).ids, text
    fields = read_fields(path)
    assert fields["tokenizer.ggml.add_bos_token"] is True
    assert fields["tokenizer.ggml.add_space_prefix"] is True


def test_byte_level_tokenizer_gives_llama_cpp_the_same_ids(toy_folder: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(toy_folder / "tokenizer.json"))
    with LlamaCppEngine(write_toy(toy_folder, tmp_path), context=64, threads=1) as engine:
        for text in (*SENTENCES, *HARD_STRINGS):
            assert engine.tokenise(text) == tokenizer.encode(text, add_special_tokens=False).ids, text


def test_end_of_turn_is_the_trained_one(folder: Path, sentencepiece_folder: Path) -> None:
    assert find_end_of_turn(Chat.load(folder)) == 2
    assert find_end_of_turn(Chat.load(sentencepiece_folder)) == 2
    (folder / "chat_template.jinja").unlink()
    assert find_end_of_turn(Chat.load(folder)) == 0
