"""Instructions as Alpaca writes them; an `input` follows the instruction on a new line.

`history` is a list of pairs of earlier messages, [user, assistant].

    {"instruction": "Traduci in inglese.", "input": "Il gatto dorme.", "output": "The cat sleeps."}
"""

from __future__ import annotations

from adatta.data.shape import Shape

SHAPE = Shape(
    kind="conversation",
    keys={"instruction": "instruction", "output": "assistant"},
    optional=("input", "system", "history"),
)
