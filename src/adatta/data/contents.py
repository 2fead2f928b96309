"""The texts of a row, one by one, with the field that each stands in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from adatta.core.records import Conversation, Document, Message, Preference, Row


class Content(NamedTuple):
    """A text, its field (messages count from 1) and who says it; a document's text has no role.

    `is_target` says whether the row is there to teach this text.
    """

    field: str
    role: str
    text: str
    is_target: bool


def list_contents(row: Row) -> list[Content]:
    """List the texts of a row in order; thoughts stand before their answer and are no target."""
    match row:
        case Conversation():
            return list(_read(row.messages, "messages"))
        case Preference():
            answers = {"chosen": row.chosen, "rejected": row.rejected}
            parts = [Content(*part[:3], False) for part in _read(row.prompt, "prompt")]
            return [*parts, *(part for name in answers for part in _read((answers[name],), name))]
        case Document():
            return [Content("text", "", row.text, True)]


def _read(messages: tuple[Message, ...], name: str) -> Iterator[Content]:
    for number, message in enumerate(messages, start=1):
        place = f"{name}.{number}" if name in ("messages", "prompt") else name
        if message.thoughts:
            yield Content(f"{place}.thoughts", "thoughts", message.thoughts, False)
        yield Content(f"{place}.content", message.role, message.content, message.role == "assistant")
