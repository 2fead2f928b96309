"""Rebuild a byte-level BPE tokenizer from a GGUF file's metadata, pre-tokeniser included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from adatta.core.errors import ModelError
from adatta.core.yaml_source import packaged_yaml

# Token types of the GGUF specification: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte.
_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """How text is cut before merging.

    `pattern` cuts words, None is GPT-2's own; `digits` splits every digit first; `whole_words` keeps a word
    that is in the vocabulary whole, whatever the merges say; `nfc` composes accents first; `adds_bos` puts
    begin-of-text in front where the file doesn't say.
    """

    pattern: str | None = None
    digits: bool = False
    whole_words: bool = False
    nfc: bool = False
    adds_bos: bool = False


GGUF_NAMES = packaged_yaml("adatta.model", "gguf.yaml")
FAMILIES: dict[str, _Family] = {name: _Family(**how) for name, how in GGUF_NAMES["pre_tokenisers"].items()}


def special_ids(fields: Mapping[str, Any]) -> dict[str, int]:
    """Return those of the ids bos, eos, pad and unk that a GGUF file's metadata has."""
    names = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    keys = {name: f"tokenizer.ggml.{long}_token_id" for name, long in names.items()}
    return {name: fields[key] for name, key in keys.items() if key in fields}


def write_config(path: Path, value: Mapping[str, Any]) -> None:
    """Write one of the JSON files that lie beside a model's weights."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tokenizer(fields: Mapping[str, Any], folder: Path, source: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja.

    Args:
        fields: the metadata of the GGUF file.
        folder: where the files go.
        source: the GGUF file, for messages.

    Raises:
        ModelError: if the kind of tokenizer or its pre-tokeniser isn't known.
    """
    family = _family(fields, source)
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    special = {f"{name}_token": tokens[number] for name, number in special_ids(fields).items()}
    adds_bos = bool(fields.get("tokenizer.ggml.add_bos_token", family.adds_bos)) and "bos_token" in special
    tokenizer = _build(fields, family)
    if adds_bos:
        bos = special["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokens.index(bos))]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **special,
        "add_bos_token": adds_bos,
        "model_max_length": fields[f"{fields['general.architecture']}.context_length"],
        "clean_up_tokenization_spaces": False,
    }
    write_config(folder / "tokenizer_config.json", config)
    if "tokenizer.chat_template" in fields:
        (folder / "chat_template.jinja").write_bytes(fields["tokenizer.chat_template"].encode())


def _family(fields: Mapping[str, Any], source: Path) -> _Family:
    model, pre = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if model != "gpt2":
        raise ModelError(
            f"{source} has a tokenizer of kind {model!r}; only byte-level BPE ('gpt2') is read from GGUF. "
            "Give the model's Hub id or folder"
        )
    if pre not in FAMILIES:
        raise ModelError(
            f"{source} has the pre-tokeniser {pre!r}; known are {', '.join(FAMILIES)}. "
            "Another one would cut words differently from training: give the model's Hub id or folder"
        )
    return FAMILIES[pre]


def _build(fields: Mapping[str, Any], family: _Family) -> Tokenizer:
    tokens = list(zip(fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"], strict=True))
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    vocabulary = {token: index for index, (token, kind) in enumerate(tokens) if kind != _UNUSED}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=family.whole_words))
    if family.nfc:
        tokenizer.normalizer = normalizers.NFC()
    cuts: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if family.digits else []
    if family.pattern is not None:
        cuts.append(pre_tokenizers.Split(Regex(family.pattern), behavior="isolated"))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=family.pattern is None)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    for token, kind in tokens:
        if kind in (_CONTROL, _USER_DEFINED):
            added = AddedToken(token, special=kind == _CONTROL, normalized=False)
            (tokenizer.add_special_tokens if kind == _CONTROL else tokenizer.add_tokens)([added])
    return tokenizer
