"""Small tokenizers with the features of the families we meet, and their chat templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

SENTENCES = (
    "Qual è la capitale d'Italia? La capitale d'Italia è Roma.",
    "Perché il mare è salato? Perché i fiumi portano sale dalla terra al mare.",
    "La casa della nonna ha due piani, un giardino e una bella vista sul mare.",
    "Sei un assistente affidabile: rispondi in italiano, con parole chiare e corrette.",
    "user assistant system You are a helpful AI assistant. [INST] <<SYS>> [/INST]",
    "Uno.\n\n\nDue.\n\n\nTre.\n\n\nQuattro.\n\n\nCinque.\n\n\nSei.",
)

CHATML = """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
{{ '<|im_start|>system
You are a helpful AI assistant.<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""
LLAMA3 = """{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + \
'<|end_header_id|>

'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}\
{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>

' }}{% endif %}"""
MISTRAL = """{{- bos_token }}{%- for message in messages %}{%- if message["role"] == "system" %}
{{- raise_exception("no system messages here") }}{%- elif message["role"] == "user" %}
{{- "[INST]" + message["content"] + "[/INST]" }}{%- else %}
{{- " " + message["content"]|trim + eos_token}}{%- endif %}{%- endfor %}"""
LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}\
{% set system_message = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}{% else %}\
{% set loop_messages = messages %}{% set system_message = '' %}{% endif %}{% for message in loop_messages %}\
{% if loop.index0 == 0 %}{% set content = system_message + message['content'] %}{% else %}\
{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}\
{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}\
{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""

# family: (special tokens, ordinary added tokens, begin-of-text, end of answer, template)
FAMILIES: dict[str, tuple[list[str], list[str], str | None, str, str]] = {
    "chatml": (
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        ["<think>"],
        "<|im_start|>",
        "<|im_end|>",
        CHATML,
    ),
    "qwen": (["<|endoftext|>", "<|im_start|>", "<|im_end|>"], ["<tool_call>"], None, "<|im_end|>", CHATML),
    "llama3": (
        ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        [],
        "<|begin_of_text|>",
        "<|eot_id|>",
        LLAMA3,
    ),
    "mistral": (["<unk>", "<s>", "</s>", "[INST]", "[/INST]"], [], "<s>", "</s>", MISTRAL),
    "llama2": (["<unk>", "<s>", "</s>"], [], "<s>", "</s>", LLAMA2),
}
BYTE_LEVEL = ("chatml", "qwen", "llama3")


def write_family(folder: Path, family: str) -> Path:
    """Write a model folder without weights.

    Args:
        folder: Where the files go.
        family: Key of `FAMILIES`.

    Returns:
        The folder.
    """
    special, ordinary, begin, end, template = FAMILIES[family]
    tokenizer = _byte_level(family, special) if family in BYTE_LEVEL else _sentence_piece(family, special)
    fields = json.loads(tokenizer.to_str())
    if family not in BYTE_LEVEL:
        _add_byte_fallback(fields)
    tokenizer = Tokenizer.from_str(json.dumps(fields))
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in ordinary])
    if family == "chatml":
        # As on the Hub: it takes spaces off the offsets.
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    if family == "llama3":
        # As on the Hub: text gets a begin-of-text of its own, and here also a limit that nobody asked for.
        tokenizer.post_processor = _begin_of_text(begin or "", tokenizer)
        tokenizer.enable_truncation(8)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    number = tokenizer.token_to_id(end)
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": begin,
        "eos_token": end,
    }
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "config.json", {"eos_token_id": number})
    write_json(folder / "generation_config.json", {"eos_token_id": [number]})
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def write_json(path: Path, fields: dict[str, Any]) -> None:
    path.write_text(json.dumps(fields), encoding="utf-8")


def _byte_level(family: str, special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=family == "llama3"))
    first = {
        "chatml": pre_tokenizers.Digits(individual_digits=True),
        "qwen": pre_tokenizers.Split(Regex(r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"), "isolated"),
        "llama3": pre_tokenizers.Split(
            Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|[^\s\p{L}]+|\s+"), "isolated"
        ),
    }[family]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [first, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=family == "chatml")]
    )
    if family == "qwen":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    _train(tokenizer, special, alphabet)
    return tokenizer


def _sentence_piece(family: str, special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if family == "mistral":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    _train(tokenizer, special, [])
    return tokenizer


def _train(tokenizer: Tokenizer, special: list[str], alphabet: list[str]) -> None:
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
        max_token_length=12,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)


def _add_byte_fallback(fields: dict[str, Any]) -> None:
    vocabulary = fields["model"]["vocab"]
    for byte in range(256):
        vocabulary.setdefault(f"<0x{byte:02X}>", len(vocabulary))


def _begin_of_text(begin: str, tokenizer: Tokenizer) -> Any:
    return processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]
    )
