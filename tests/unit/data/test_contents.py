"""Every text of a row is listed once, with its field."""

from __future__ import annotations

import pytest

from adatta.core.records import Conversation, Document, Message, Origin, Preference
from adatta.data.contents import Content, list_contents
from adatta.data.shape import shape_row

ORIGIN = Origin(path="a.jsonl", line=1)
ASK = Message(role="user", content="a")
ANSWER = Message(role="assistant", content="b", thoughts="c")


def test_contents_of_each_kind_of_row() -> None:
    named = {"row_id": "0" * 16, "origin": ORIGIN}
    assert list_contents(Document(text="x", **named)) == [Content("text", "", "x", True)]
    assert list_contents(Conversation(messages=(ASK, ANSWER), **named)) == [
        Content("user message 1", "user", "a", False),
        Content("thoughts of answer 1", "thoughts", "c", False),
        Content("answer 1", "assistant", "b", True),
    ]
    pair = Preference(prompt=(ASK, ANSWER, ASK), chosen=ANSWER, rejected=ANSWER, **named)
    assert [(content.field, content.is_target) for content in list_contents(pair)] == [
        ("user message 1", False),
        ("thoughts of answer 1", False),
        ("answer 1", False),
        ("user message 2", False),
        ("thoughts of chosen", False),
        ("chosen", True),
        ("thoughts of rejected", False),
        ("rejected", True),
    ]


@pytest.mark.parametrize("has_system", [False, True])
@pytest.mark.parametrize("shape", ["messages", "sharegpt", "alpaca", "prompt_completion"])
def test_fields_are_true_of_every_layout(shape: str, has_system: bool) -> None:
    system = {"system": "s"} if has_system else {}
    turns = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    rows = {
        "messages": {"messages": [{"role": role, "content": text} for role, text in turns]},
        "sharegpt": {"conversations": [{"from": role, "value": text} for role, text in turns]},
        "alpaca": {"history": [["a", "b"]], "instruction": "c", "output": "d"},
        "prompt_completion": {
            "prompt": [{"role": role, "content": text} for role, text in turns[:3]],
            "completion": "d",
        },
    }
    row = shape_row({**rows[shape], **system}, "conversation", origin=ORIGIN).row
    assert row is not None
    expected = ["user message 1", "answer 1", "user message 2", "answer 2"]
    assert [part.field for part in list_contents(row)] == ["system message 1"] * has_system + expected
