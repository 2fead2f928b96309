"""A conversation, as ShareGPT writes it, with a better and a worse answer.

{"conversations": [{"from": "human", "value": "Che ore sono?"}], "chosen": {"from": "gpt",
 "value": "Sono le tre."}, "rejected": {"from": "gpt", "value": "Three."}}
"""

from __future__ import annotations

from adatta.data.shape import Shape

SHAPE = Shape(kind="preference", keys={"conversations": "messages", "chosen": "answer", "rejected": "answer"})
