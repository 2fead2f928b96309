"""Every text of a row is listed once, with its field."""

from __future__ import annotations

from adatta.core.records import Conversation, Document, Message, Origin, Preference
from adatta.data.contents import Content, list_contents

ORIGIN = Origin(path="a.jsonl", line=1)
ASK = Message(role="user", content="a")
ANSWER = Message(role="assistant", content="b", thoughts="c")


def test_contents_of_each_kind_of_row() -> None:
    named = {"row_id": "0" * 16, "origin": ORIGIN}
    assert list_contents(Document(text="x", **named)) == [Content("text", "", "x", True)]
    assert list_contents(Conversation(messages=(ASK, ANSWER), **named)) == [
        Content("messages.1.content", "user", "a", False),
        Content("messages.2.thoughts", "thoughts", "c", False),
        Content("messages.2.content", "assistant", "b", True),
    ]
    pair = Preference(prompt=(ASK, ANSWER, ASK), chosen=ANSWER, rejected=ANSWER, **named)
    assert [(content.field, content.is_target) for content in list_contents(pair)] == [
        ("prompt.1.content", False),
        ("prompt.2.thoughts", False),
        ("prompt.2.content", False),
        ("prompt.3.content", False),
        ("chosen.thoughts", False),
        ("chosen.content", True),
        ("rejected.thoughts", False),
        ("rejected.content", True),
    ]
