"""A prompt and its completion, each a text or messages; every answer among them is learnt.

{"prompt": "Che ore sono?", "completion": "Le tre."}
"""

from __future__ import annotations

from adatta.data.shape import Shape

SHAPE = Shape(kind="conversation", keys={"prompt": "user", "completion": "assistant"})
