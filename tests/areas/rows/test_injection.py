"""What is typed never becomes a token of the template: 2,000 hostile texts in every path of every family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from adatta.chat.render import Chat
from adatta.core.records import Conversation, Document, Message, Origin, Preference
from adatta.model.dialogue import read_gguf_chat
from tests.unit.chat.hostile import hostile_texts
from tests.unit.chat.published import THOUGHTS, expected, published, tokens_of, write_published

NUM_TEXTS = 2000
ORIGIN = Origin(path="a.jsonl", line=1)
HARMLESS = ("Sii breve.", "Chi è?", "È Dante.", "E poi?", "Nulla.")


def paths(chat: Chat, texts: Sequence[str], thoughts: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Encode five texts (or their like) in every path by which content becomes ids."""
    system, asked, first, again, second = texts
    messages = (
        Message(role="system", content=system),
        Message(role="user", content=asked),
        Message(role="assistant", content=first, thoughts=second if thoughts else ""),
        Message(role="user", content=again),
        Message(role="assistant", content=second, thoughts=first if thoughts else ""),
    )
    row = Conversation(messages=messages, row_id="r", origin=ORIGIN)
    for part in chat.conversation(row, "keep" if thoughts else "drop"):
        yield f"conversation {part.branch}", part.ids
    if thoughts:
        return
    yield "prompt with history", chat.prompt(messages[:-1])
    both = Preference(
        prompt=messages[1:2],
        chosen=Message(role="assistant", content=first.lstrip()),
        rejected=Message(role="assistant", content=second.lstrip()),
        row_id="r",
        origin=ORIGIN,
    )
    for part in chat.preference(both):
        yield f"preference {part.branch}", part.ids


def plain_paths(chat: Chat, text: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    document = Document(text=text, row_id="r", origin=ORIGIN)
    yield "document", chat.document(document, 10_000)[0].ids[1:-1]
    yield "continuation", chat.continuation("", text).ids[1:]
    yield "context", chat.continuation(text, "a").ids[1:]


def check(chat: Chat, own: Sequence[str], *, with_thoughts: bool, count: int = NUM_TEXTS) -> None:
    texts = hostile_texts(own, count)
    added = set(chat._encoder.added_ids.values())
    offences = [
        (path, text)
        for text in texts
        for path, ids in plain_paths(chat, text)
        if added & set(ids)
        or chat.decode(ids, keep_special=True) != (text if path != "context" else text + "a")
    ]
    modes = (False, True) if with_thoughts else (False,)
    for thoughts in modes:
        expected_tokens = {
            path: Counter(number for number in ids if number in added)
            for path, ids in paths(chat, HARMLESS, thoughts)
        }
        for five in _fives(texts):
            offences += [
                (path, five)
                for path, ids in paths(chat, five, thoughts)
                if Counter(number for number in ids if number in added) != expected_tokens[path]
            ]
    assert not offences, f"{len(offences)}, first: {offences[0]}"


def _fives(texts: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(texts), 5):
        yield tuple(texts[start : start + 5])


@pytest.mark.parametrize("name", sorted(published()))
def test_no_text_becomes_a_token_of_the_template(name: str, tmp_path: Path) -> None:
    chat = Chat.load(write_published(tmp_path / name, name))
    check(chat, tokens_of(name), with_thoughts=expected(THOUGHTS, name) is not None)


def test_no_text_becomes_a_token_of_the_embedded_model(embedded_path: Path) -> None:
    chat = read_gguf_chat(embedded_path)
    check(chat, [*chat._encoder.added_ids], with_thoughts=False)
