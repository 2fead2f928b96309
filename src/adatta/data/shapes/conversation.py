"""Rows of messages: `{"messages": [{"role": "user", "content": "..."}, ...]}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adatta.core.fingerprint import content_id
from adatta.core.records import Conversation, Origin
from adatta.data.shape import Mistake, Shape, check_messages, metadata, read_messages


def _check(fields: Mapping[str, Any]) -> Iterator[Mistake]:
    return check_messages(fields["messages"], name="messages", last="assistant")


def _build(fields: Mapping[str, Any], origin: Origin) -> Conversation:
    return Conversation(
        messages=read_messages(fields["messages"]),
        row_id=content_id({"messages": fields["messages"]}),
        origin=origin,
        **metadata(fields),
    )


SHAPE = Shape(keys=("messages",), check=_check, build=_build)
