"""Rows of plain text: `{"text": "..."}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adatta.core.fingerprint import content_id
from adatta.core.records import Document, Origin
from adatta.data.shape import Mistake, Shape, check_text, metadata


def _check(fields: Mapping[str, Any]) -> Iterator[Mistake]:
    return check_text(fields["text"], name="text")


def _build(fields: Mapping[str, Any], origin: Origin) -> Document:
    text = fields["text"]
    return Document(text=text, row_id=content_id({"text": text}), origin=origin, **metadata(fields))


SHAPE = Shape(keys=("text",), check=_check, build=_build)
