"""A tokenizer as GGUF fields: tokens with their types, merges or scores, pre-tokeniser, special ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType

from adatta.chat.encode import token_names
from adatta.chat.render import Chat
from adatta.core.errors import ExportError
from adatta.export.turns import ANSWER, QUESTION, find_end_of_turn
from adatta.model.dialogue import STOP_IDS
from adatta.model.gguf_tokenizer import FAMILIES

_PHI = {"<unk>", "<s>", "</s>", "<|endoftext|>"}


def add_vocabulary(writer: GGUFWriter, folder: Path, *, size: int, chat: Chat) -> None:
    """Write the tokenizer of a model folder into a GGUF file's metadata.

    Args:
        writer: the file.
        folder: the model folder.
        size: rows of the embedding; what the tokenizer doesn't use becomes unused tokens.
        chat: its renderer: what ends an answer, and whether begin-of-text comes first.

    Raises:
        ExportError: if the tokenizer is of a kind that llama.cpp wouldn't read as it is.
    """
    fields = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    model = fields["model"]
    if model["type"] != "BPE":
        raise ExportError(f"the tokenizer is of type {model['type']!r}; GGUF has BPE: use safetensors")
    tokens, types = _tokens_and_types(fields, size)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    if model.get("byte_fallback"):
        writer.add_tokenizer_model("llama")
        writer.add_token_list(tokens)
        writer.add_token_scores(_scores(tokens, merges))
        writer.add_token_types(types)
        writer.add_add_space_prefix("Prepend" in json.dumps(fields["normalizer"]) or _prepends(fields))
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre_tokeniser_name(fields))
        writer.add_token_list(tokens)
        writer.add_token_types(types)
        writer.add_token_merges(merges)
    _add_special_ids(writer, folder, tokens, chat=chat)


def add_name(writer: GGUFWriter, name: str, *, folder: Path) -> None:
    """Write the model's name: only where it says Phi-3 do tokens swallow the whitespace behind them.

    Source: llama.cpp's src/llama-vocab.cpp, which then looks four tokens up.
    """
    added = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    is_phi = any(token["rstrip"] for token in added) and {token["content"] for token in added} >= _PHI
    writer.add_name(f"{name} (phi-3)" if is_phi else name)


def _tokens_and_types(fields: Mapping[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Return every id's text and type."""
    tokens = [f"[PAD{number}]" for number in range(size)]
    types = [int(TokenType.UNUSED)] * size
    for text, number in fields["model"]["vocab"].items():
        is_byte = fields["model"].get("byte_fallback") and len(text) == 6 and text.startswith("<0x")
        tokens[number] = text
        types[number] = int(TokenType.BYTE if is_byte else TokenType.NORMAL)
    for token in fields["added_tokens"]:
        tokens[token["id"]] = token["content"]
        types[token["id"]] = int(TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED)
    unknown = fields["model"].get("unk_token")
    if unknown in fields["model"]["vocab"] and fields["model"].get("byte_fallback"):
        types[fields["model"]["vocab"][unknown]] = int(TokenType.UNKNOWN)
    return tokens, types


def _scores(tokens: list[str], merges: list[str]) -> list[float]:
    """Score a token by the first merge that makes it: llama.cpp joins what scores highest first."""
    first: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        first.setdefault(merge.replace(" ", ""), rank)
    return [-float(first.get(token, len(merges))) for token in tokens]


def _prepends(fields: Mapping[str, Any]) -> bool:
    """Say whether the pre-tokeniser puts a space before the text."""
    cutter = fields["pre_tokenizer"] or {}
    return cutter.get("type") == "Metaspace" and cutter.get("prepend_scheme", "always") != "never"


def _add_special_ids(writer: GGUFWriter, folder: Path, tokens: list[str], *, chat: Chat) -> None:
    """Write the special ids (end of sequence is the end of turn), and whether begin-of-text comes first."""
    names = token_names(json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")))
    texts = {key: names.get(f"{key}_token") for key in ("bos", "pad", "unk")}
    ids = {key: tokens.index(text) for key, text in texts.items() if text in tokens}
    end_of_turn = find_end_of_turn(chat)
    writer.add_eos_token_id(end_of_turn)
    writer.add_eot_token_id(end_of_turn)
    writer.add_array(STOP_IDS, chat.stop_ids)
    for key, number in ids.items():
        getattr(writer, f"add_{key}_token_id")(number)
    writer.add_add_bos_token("bos" in ids and chat.template is not None and _begins_once(chat, ids["bos"]))
    writer.add_add_eos_token(False)


def _begins_once(chat: Chat, bos_id: int) -> bool:
    """Say whether the template writes begin-of-text in front and nowhere else, for any number of turns."""
    prompts = [chat.prompt(messages) for messages in ([QUESTION], [QUESTION, ANSWER, QUESTION])]
    return all(ids[0] == bos_id and ids.count(bos_id) == 1 for ids in prompts)


def pre_tokeniser_name(fields: Mapping[str, Any]) -> str:
    """Return the `tokenizer.ggml.pre` of a byte-level tokenizer, by the table that also reads it.

    Args:
        fields: content of a tokenizer.json.

    Raises:
        ExportError: if no name of the table cuts words in the same way.
    """
    cutter = fields["pre_tokenizer"] or {}
    steps = [_cut(step) for step in cutter.get("pretokenizers", [cutter])]
    normaliser = (fields["normalizer"] or {}).get("type")
    found = (steps, normaliser, bool(fields["model"].get("ignore_merges")))
    for name, family in FAMILIES.items():
        expected: list[tuple[Any, ...]] = [("digits",)] if family.digits else []
        expected += [("split", family.pattern)] if family.pattern else []
        expected += [("bytes", family.pattern is None)]
        if found == (expected, "NFC" if family.nfc else None, family.whole_words):
            return name
    raise ExportError(
        f"llama.cpp has no known pre-tokeniser that cuts words as this tokenizer does ({steps}, normaliser "
        f"{normaliser}); known are {', '.join(FAMILIES)}: export safetensors instead"
    )


def _cut(step: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return a pre-tokeniser's step without what doesn't change ids."""
    if step.get("type") == "Digits" and step["individual_digits"]:
        return ("digits",)
    if step.get("type") == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
        return ("split", step["pattern"].get("Regex"))
    if step.get("type") == "ByteLevel" and not step["add_prefix_space"]:
        return ("bytes", step.get("use_regex", True))
    return ("unknown", json.dumps(step))
