"""An instruction with two answers: `{"instruction": ..., "input": ..., "chosen": ..., "rejected": ...}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adatta.data.pair import read_instruction, read_pair
from adatta.data.shape import Shape
from adatta.data.turns import Reader


def _convert(fields: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    return read_pair(read_instruction(fields, reader), fields, reader=reader)


SHAPE = Shape(
    kind="preference",
    keys=("instruction", "chosen", "rejected"),
    optional=("input", "system", "history"),
    convert=_convert,
    example={
        "instruction": "Traduci in italiano.",
        "input": "The cat sleeps.",
        "chosen": "Il gatto dorme.",
        "rejected": "Il gatto dormono.",
    },
)
