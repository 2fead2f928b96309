"""Instructions as Alpaca writes them: `{"instruction": "...", "input": "...", "output": "..."}`.

An `input` that isn't empty follows the instruction on a new line. `history` is a list of pairs of earlier
messages, [user, assistant].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adatta.data.pair import read_instruction
from adatta.data.shape import Shape
from adatta.data.turns import Reader


def _convert(fields: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    answer = reader.message({"role": "assistant", "content": fields["output"]}, "output")
    return reader.conversation([*read_instruction(fields, reader), answer], fields)


SHAPE = Shape(
    kind="conversation",
    keys=("instruction", "output"),
    optional=("input", "system", "history"),
    convert=_convert,
    example={"instruction": "Traduci in inglese.", "input": "Il gatto dorme.", "output": "The cat sleeps."},
)
