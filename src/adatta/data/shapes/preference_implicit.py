"""Two conversations that differ in their last answer: `{"chosen": [...], "rejected": [...]}`.

A conversation is a list of messages, or a text in the layout of hh-rlhf (`Human: ... Assistant: ...`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adatta.data.pair import read_pair
from adatta.data.shape import Shape
from adatta.data.turns import Reader


def _convert(fields: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    return read_pair(None, fields, reader=reader)


_QUESTION = {"role": "user", "content": "Che ore sono?"}

SHAPE = Shape(
    kind="preference",
    keys=("chosen", "rejected"),
    optional=("system", "tools"),
    convert=_convert,
    example={
        "chosen": [_QUESTION, {"role": "assistant", "content": "Sono le tre."}],
        "rejected": [_QUESTION, {"role": "assistant", "content": "It's three o'clock."}],
    },
)
