"""A prompt and its completion, each a text or messages: `{"prompt": "...", "completion": "..."}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adatta.data.shape import Shape
from adatta.data.turns import Reader


def _convert(fields: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    completion = fields["completion"]
    if isinstance(completion, str):
        completion = [{"role": "assistant", "content": completion}]
    if fields.get("label") is False:
        what, hint = "label is false: a completion not to be learnt", "take the row out"
        reader.refuse(what, hint, reason="unsupported", place="label")
    prompt = reader.prompt(fields["prompt"], "prompt")
    return reader.conversation([*prompt, *reader.messages(completion, "completion")], fields)


SHAPE = Shape(
    kind="conversation",
    keys=("prompt", "completion"),
    optional=("system", "tools"),
    convert=_convert,
    example={"prompt": "Che ore sono?", "completion": "Le tre."},
)
