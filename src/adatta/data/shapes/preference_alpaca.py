"""An instruction, as Alpaca writes it, with a better and a worse answer.

{"instruction": "Traduci in italiano.", "input": "The cat sleeps.", "chosen": "Il gatto dorme.",
 "rejected": "Il gatto dormono."}
"""

from __future__ import annotations

from adatta.data.pair import read_instruction, read_pair
from adatta.data.shape import Shape

SHAPE = Shape(
    kind="preference",
    keys=("instruction", "chosen", "rejected"),
    optional=("input", "system", "history"),
    convert=lambda fields, reader: read_pair(read_instruction(fields, reader), fields, reader=reader),
)
