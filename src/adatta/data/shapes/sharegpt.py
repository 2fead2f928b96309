"""Conversations as ShareGPT writes them: `{"conversations": [{"from": "human", "value": "..."}, ...]}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adatta.data.shape import Shape
from adatta.data.turns import Reader


def _convert(fields: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    return reader.conversation(reader.messages(fields["conversations"], "conversations"), fields)


SHAPE = Shape(
    kind="conversation",
    keys=("conversations",),
    optional=("system", "tools"),
    convert=_convert,
    example={
        "conversations": [
            {"from": "human", "value": "Che ore sono?"},
            {"from": "gpt", "value": "Le tre."},
        ]
    },
)
