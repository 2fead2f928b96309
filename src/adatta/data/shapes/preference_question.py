"""A question with two answers, as in orca_dpo_pairs: `{"question": ..., "chosen": ..., "rejected": ...}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adatta.data.pair import read_pair
from adatta.data.shape import Shape
from adatta.data.turns import Reader


def _convert(fields: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    return read_pair(reader.prompt(fields["question"], "question"), fields, reader=reader)


SHAPE = Shape(
    kind="preference",
    keys=("question", "chosen", "rejected"),
    optional=("system", "tools"),
    convert=_convert,
    example={
        "system": "Rispondi in italiano.",
        "question": "Che ore sono?",
        "chosen": "Sono le tre.",
        "rejected": "It's three o'clock.",
    },
)
