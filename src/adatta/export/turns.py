"""What ends a turn of the template that is exported."""

from __future__ import annotations

from adatta.chat.render import Chat
from adatta.core.records import Conversation, Message, Origin

QUESTION, ANSWER = Message(role="user", content="Ciao"), Message(role="assistant", content="Salve")


def find_end_of_turn(chat: Chat) -> int:
    """Return the id that training teaches as the end of an answer; without a template, end of text."""
    if chat.template is None:
        return chat.end_id
    example = Conversation(messages=(QUESTION, ANSWER), row_id="", origin=Origin(path="", line=0))
    (row,) = chat.conversation(example)
    return [token for token, weight in zip(row.ids, row.weights, strict=True) if weight][-1]
