"""Conversations as OpenAI writes them: `{"messages": [{"role": "user", "content": "..."}, ...]}`.

A `system` text may stand beside the messages. Rows with `tools` are refused: nothing trains on calls yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adatta.data.shape import Shape
from adatta.data.turns import Reader


def _convert(fields: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    return reader.conversation(reader.messages(fields["messages"], "messages"), fields)


SHAPE = Shape(
    kind="conversation",
    keys=("messages",),
    optional=("system", "tools"),
    convert=_convert,
    example={
        "messages": [
            {"role": "user", "content": "Che ore sono?"},
            {"role": "assistant", "content": "Le tre."},
        ]
    },
)
