"""The texts of a row, one by one, with the field that each stands in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from adatta.core.records import Conversation, Document, Message, Preference, Row


class Content(NamedTuple):
    """A text, its field and who says it; a document's text has no role.

    Fields are named in words that are true of every layout: the 2nd answer is `answer 2`, whether it stands
    in `messages` or `output`. `is_target` says whether the row is there to teach this text.
    """

    field: str
    role: str
    text: str
    is_target: bool


def list_contents(row: Row) -> list[Content]:
    """List the texts of a row in order; thoughts stand before their answer and are no target."""
    match row:
        case Conversation():
            return list(_read(row.messages))
        case Preference():
            prompt = [Content(*part[:3], False) for part in _read(row.prompt)]
            return [*prompt, *_read((row.chosen,), "chosen"), *_read((row.rejected,), "rejected")]
        case Document():
            return [Content("text", "", row.text, True)]


def _read(messages: tuple[Message, ...], name: str = "") -> Iterator[Content]:
    turn = 0
    for message in messages:
        turn += message.role == "user"
        is_answer = message.role == "assistant"
        place = name or f"{'answer' if is_answer else message.role + ' message'} {turn or 1}"
        if message.thoughts:
            yield Content(f"thoughts of {place}", "thoughts", message.thoughts, False)
        yield Content(place, message.role, message.content, is_answer)
