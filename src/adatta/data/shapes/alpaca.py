"""Instructions as Alpaca writes them; an `input` follows the instruction on a new line.

`history` is a list of pairs of earlier messages, [user, assistant].

    {"instruction": "Traduci in inglese.", "input": "Il gatto dorme.", "output": "The cat sleeps."}
"""

from __future__ import annotations

from adatta.data.pair import read_instruction
from adatta.data.shape import Shape

SHAPE = Shape(
    kind="conversation",
    keys=("instruction", "output"),
    optional=("input", "system", "history"),
    convert=lambda fields, reader: reader.conversation(
        [*read_instruction(fields, reader), *reader.turns(fields["output"], "output", role="assistant")],
        fields,
    ),
)
