"""Conversations as OpenAI writes them; a `system` text may stand beside the messages.

{"messages": [{"role": "user", "content": "Che ore sono?"}, {"role": "assistant",
 "content": "Le tre."}]}
"""

from __future__ import annotations

from adatta.data.shape import Shape

SHAPE = Shape(kind="conversation", keys={"messages": "messages"})
