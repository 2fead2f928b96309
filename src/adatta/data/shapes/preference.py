"""A prompt with a better and a worse answer, as texts or messages.

A prompt written as text beside whole conversations, as in UltraFeedback binarized and orpo-dpo-mix-40k, is in
them already.

    {"prompt": "Che ore sono?", "chosen": "Sono le tre.", "rejected": "It's three o'clock."}
"""

from __future__ import annotations

from adatta.data.pair import read_pair
from adatta.data.shape import Shape

SHAPE = Shape(
    kind="preference",
    keys=("prompt", "chosen", "rejected"),
    convert=lambda fields, reader: read_pair(
        reader.turns(fields["prompt"], "prompt", role="user"), fields, reader=reader
    ),
)
