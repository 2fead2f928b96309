"""A ShareGPT conversation with two answers: `{"conversations": [...], "chosen": ..., "rejected": ...}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adatta.data.pair import read_pair
from adatta.data.shape import Shape
from adatta.data.turns import Reader


def _convert(fields: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    prompt = reader.messages(fields["conversations"], "conversations")
    return read_pair(prompt, fields, reader=reader)


SHAPE = Shape(
    kind="preference",
    keys=("conversations", "chosen", "rejected"),
    optional=("system", "tools"),
    convert=_convert,
    example={
        "conversations": [{"from": "human", "value": "Che ore sono?"}],
        "chosen": {"from": "gpt", "value": "Sono le tre."},
        "rejected": {"from": "gpt", "value": "It's three o'clock."},
    },
)
