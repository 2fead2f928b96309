"""Plain text: `{"text": "..."}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adatta.data.shape import Shape
from adatta.data.turns import Reader


def _convert(fields: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    return {"text": reader.text(fields["text"], "text")}


SHAPE = Shape(kind="document", keys=("text",), convert=_convert, example={"text": "C'era una volta."})
