"""Small tokenizers of the kinds that GGUF holds, with the templates that go with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM

from adatta.model.gguf_tokenizer import FAMILIES
from tests.toys.models import SENTENCES, save_toy, toy_config, toy_tokenizer

_GEMMA = (
    "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + message['role'].replace('assistant', "
    "'model') + '\\n' + message['content'] + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
_PHI = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
_MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}"
    "{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
# kind: (special tokens beside begin and end, whether they swallow what follows, end of turn, template)
SENTENCE_PIECE: dict[str, tuple[tuple[str, ...], bool, str, str]] = {
    "gemma": (("<start_of_turn>", "<end_of_turn>"), False, "<end_of_turn>", _GEMMA),
    "phi3": (("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"), True, "<|end|>", _PHI),
    "mistral": ((), False, "</s>", _MISTRAL),
}
BYTE_LEVEL = tuple(FAMILIES)
NUMBERS = ("Nel 1861 e nel 1946, 12345 volte 678.", "3,14 per 2025 fa 6358,5 euro; 100 e 1000.")


def write_kind(folder: Path, kind: str) -> Path:
    """Write a model folder with a tokenizer of a kind: a pre-tokeniser's name, or one of `SENTENCE_PIECE`."""
    size = _write_byte_level(folder, kind) if kind in FAMILIES else _write_sentence_piece(folder, kind)
    config = toy_config("phi3" if kind == "phi3" else "llama", vocab_size=size)
    save_toy(AutoModelForCausalLM.from_config(config), folder)
    end = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id(_end_of(kind))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": end}))
    return folder


def _end_of(kind: str) -> str:
    return SENTENCE_PIECE[kind][2] if kind in SENTENCE_PIECE else "<|im_end|>"


def _write_byte_level(folder: Path, pre: str) -> int:
    family, tokenizer = FAMILIES[pre], Tokenizer.from_str(toy_tokenizer(folder).to_str())
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    fresh = Tokenizer(models.BPE(ignore_merges=family.whole_words))
    cuts: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if family.digits else []
    if family.pattern is not None:
        cuts.append(pre_tokenizers.Split(Regex(family.pattern), behavior="isolated"))
    cuts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=family.pattern is None))
    fresh.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    fresh.decoder = decoders.ByteLevel()
    if family.nfc:
        fresh.normalizer = normalizers.NFC()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    fresh.train_from_iterator([*SENTENCES, *NUMBERS], trainer)
    fresh.save(str(folder / "tokenizer.json"))
    return fresh.get_vocab_size()


def _write_sentence_piece(folder: Path, kind: str) -> int:
    special, swallows, end, template = SENTENCE_PIECE[kind]
    toy_tokenizer(folder)
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    trainer = trainers.BpeTrainer(vocab_size=200, show_progress=False)
    trained.train_from_iterator([*SENTENCES, *NUMBERS], trainer)
    learnt = json.loads(trained.to_str())["model"]
    begin = ["<unk>", "<s>", "</s>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = sorted(learnt["vocab"], key=learnt["vocab"].get)
    vocabulary = {piece: number for number, piece in enumerate([*begin, *bytes_, *pieces])}
    merges = [tuple(merge) for merge in learnt["merges"]]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    spaces = normalizers.Replace(" ", "▁")
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if kind == "gemma":
        tokenizer.normalizer = spaces
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces])
        steps.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens([*begin, *["<|endoftext|>"] * swallows])
    tokenizer.add_special_tokens([AddedToken(token, rstrip=swallows, normalized=False) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "unk_token": "<unk>"}))
    (folder / "chat_template.jinja").write_text(template)
    return tokenizer.get_vocab_size()
