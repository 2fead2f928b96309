"""A prompt with a better and a worse answer: `{"prompt": ..., "chosen": ..., "rejected": ...}`.

Prompt and answers are texts or messages. A prompt written as text beside whole conversations, as in
UltraFeedback binarized and orpo-dpo-mix-40k, is in them already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adatta.data.pair import ANSWERS, read_pair
from adatta.data.shape import Shape
from adatta.data.turns import Reader


def _convert(fields: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    prompt = fields["prompt"]
    answers = [fields[key] for key in ANSWERS]
    if isinstance(prompt, str) and all(isinstance(answer, list) and len(answer) > 1 for answer in answers):
        if not any(prompt.strip() in str(message) for message in answers[0]):
            reader.ignored.add("prompt")
        return read_pair(None, fields, reader=reader)
    return read_pair(reader.prompt(prompt, "prompt"), fields, reader=reader)


SHAPE = Shape(
    kind="preference",
    keys=("prompt", "chosen", "rejected"),
    optional=("system", "tools"),
    convert=_convert,
    example={"prompt": "Che ore sono?", "chosen": "Sono le tre.", "rejected": "It's three o'clock."},
)
