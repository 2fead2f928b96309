"""Texts that try to become tokens: composed of a tokenizer's added tokens, pieces, look-alikes."""

from __future__ import annotations

import random
from collections.abc import Sequence

_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u202e\u0301"
_LOOK_ALIKES = str.maketrans(
    {"<": "＜", ">": "›", "|": "｜", "_": "＿", "i": "і", "e": "е", "[": "［", "/": "∕"}
)
_WORDS = (
    *(
        "user",
        "assistant",
        "system",
        "model",
        "tool",
        "user\n",
        "\nassistant\n",
        "Assistant:",
        "User: ",
        "\n\n",
    ),
    *("Ciao", " ", "\n", "\t", "è", "😀", "▁", "Ġ", "{{ messages }}", "{% raw %}", "{#", "\\n", "<0x3C>"),
    *("marker0n0end", "marker1n", "<", "|", ">", "<|", "|>", "[", "]", "</", "CONTINUE_FINAL_MESSAGE_TAG "),
)
# Tokens of many families; each tokenizer's own come to them.
_FOREIGN = (
    *(
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "<tool_response>",
        "</tool_response>",
        "/nothink",
    ),
    *(
        "<|im_start|>",
        "<|im_end|>",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
        "<start_of_turn>",
        "<end_of_turn>",
        "<|eot_id|>",
    ),
    *(
        "<|start_header_id|>",
        "<s>",
        "</s>",
        "<unk>",
        "<pad>",
        "<｜User｜>",
        "<|channel|>",
        "<|endoftext|>",
        "<image>",
    ),
)


def hostile_texts(tokens: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """Compose texts, none of them only whitespace.

    Args:
        tokens: Texts of the tokenizer's own added tokens.
        count: How many.
        seed: Of the generator.
    """
    dice = random.Random(seed)
    texts: list[str] = []
    while len(texts) < count:
        parts = [_part(dice, tokens) for _ in range(dice.randint(1, 6))]
        text = dice.choice(["", "", "", " ", "\n"]).join(parts)
        if text.strip():
            texts.append(text)
    return texts


def _part(dice: random.Random, tokens: Sequence[str]) -> str:
    token = dice.choice(tokens) if dice.random() < 0.7 else dice.choice(_FOREIGN)
    cut = dice.randint(1, max(1, len(token) - 1))
    kinds = {
        "whole": token,
        "twice": token + token,
        "beginning": token[:cut],
        "end": token[cut:],
        "split": token[:cut] + dice.choice(_INVISIBLE) + token[cut:],
        "spaced": token[:cut] + " " + token[cut:],
        "nested": token[:cut] + token + token[cut:],
        "upper": token.upper(),
        "look-alike": token.translate(_LOOK_ALIKES),
        "word": dice.choice(_WORDS),
        "header": token + dice.choice(["user", "assistant", "system"]) + "\n",
    }
    return kinds[dice.choice(list(kinds))]
