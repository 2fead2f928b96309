"""A prompt with a better and a worse answer, as texts or messages.

A prompt written as text beside whole conversations, as in UltraFeedback binarized and orpo-dpo-mix-40k, is in
them already.

    {"prompt": "Che ore sono?", "chosen": "Sono le tre.", "rejected": "It's three o'clock."}
"""

from __future__ import annotations

from adatta.data.shape import Shape

SHAPE = Shape(kind="preference", keys={"prompt": "user", "chosen": "answer", "rejected": "answer"})
