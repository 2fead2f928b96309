"""A conversation, as ShareGPT writes it, with a better and a worse answer.

{"conversations": [{"from": "human", "value": "Che ore sono?"}], "chosen": {"from": "gpt",
 "value": "Sono le tre."}, "rejected": {"from": "gpt", "value": "Three."}}
"""

from __future__ import annotations

from adatta.data.pair import read_pair
from adatta.data.shape import Shape

SHAPE = Shape(
    kind="preference",
    keys=("conversations", "chosen", "rejected"),
    convert=lambda fields, reader: read_pair(
        reader.messages(fields["conversations"], "conversations"), fields, reader=reader
    ),
)
