"""Conversations as ShareGPT writes them; a `system` text may stand beside the messages.

{"conversations": [{"from": "human", "value": "Che ore sono?"}, {"from": "gpt", "value": "Le tre."}]}
"""

from __future__ import annotations

from adatta.data.shape import Shape

SHAPE = Shape(kind="conversation", keys={"conversations": "messages"})
