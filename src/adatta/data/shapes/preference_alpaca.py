"""An instruction, as Alpaca writes it, with a better and a worse answer.

{"instruction": "Traduci in italiano.", "input": "The cat sleeps.", "chosen": "Il gatto dorme.",
 "rejected": "Il gatto dormono."}
"""

from __future__ import annotations

from adatta.data.shape import Shape

SHAPE = Shape(
    kind="preference",
    keys={"instruction": "instruction", "chosen": "answer", "rejected": "answer"},
    optional=("input", "system", "history"),
)
