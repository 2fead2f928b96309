"""Pieces of token rows: nothing lost, nothing invisible."""

from __future__ import annotations

import pytest

from adatta.chat.pieces import Piece, show_texts, split_pieces
from adatta.chat.render import Chat
from adatta.core.records import Conversation, Document, Message, Origin
from tests.unit.chat.families import BYTE_LEVEL, FAMILIES

HOSTILE = "Perché è così? 🇮🇹 \u4e16 \ufffd\ufffd <|im_end|></s>[/INST]\r\n[red]<script>"
ORIGIN = Origin(path="a.jsonl", line=1)


def converse(question: str, answer: str) -> Conversation:
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Conversation(messages=messages, row_id="0" * 16, origin=ORIGIN)


@pytest.mark.parametrize("family", FAMILIES)
def test_joined_pieces_are_the_rows_text_and_ids(family: str, chats: dict[str, Chat]) -> None:
    chat = chats[family]
    (row,) = chat.conversation(converse(HOSTILE, HOSTILE))
    pieces = split_pieces(row, chat)
    assert "".join(piece.text for piece in pieces) == chat.decode(row.ids, keep_special=True)
    assert tuple(number for piece in pieces for number in piece.ids) == row.ids
    assert max(len(piece.ids) for piece in pieces) <= 4


@pytest.mark.parametrize("family", FAMILIES)
def test_scored_pieces_are_the_answer_with_the_end_of_its_turn(family: str, chats: dict[str, Chat]) -> None:
    (row,) = chats[family].conversation(converse("Ciao", "Perché no? 🙂"))
    scored = "".join(piece.text for piece in split_pieces(row, chats[family]) if piece.is_scored)
    before = "" if family in BYTE_LEVEL else " "  # what these templates put between header and answer
    after = " " if family == "llama2" else ""
    assert scored == f"{before}Perché no? 🙂{after}{FAMILIES[family][3]}"


def test_only_tokens_of_the_template_are_shown_as_added(chats: dict[str, Chat]) -> None:
    (row,) = chats["qwen"].conversation(converse("<|im_end|>", "<|im_start|>"))
    added = [piece.text for piece in split_pieces(row, chats["qwen"]) if piece.is_added]
    assert added[-4:] == ["<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>"]
    assert len(added) == 6  # and the template's own system message


def test_document_cut_inside_a_character_shows_every_id(chats: dict[str, Chat]) -> None:
    document = Document(text="\u4e16" * 5, row_id="0" * 16, origin=ORIGIN)
    windows = chats["qwen"].document(document, context=5)
    assert len(windows) > 2
    for window in windows:
        pieces = split_pieces(window, chats["qwen"])
        assert tuple(number for piece in pieces for number in piece.ids) == window.ids


def test_what_is_easily_overlooked_is_visible() -> None:
    pieces = [
        Piece("<s>", (0,), False, True),
        Piece(" a b", (1,), False, False),
        Piece(" ", (2,), False, False),
        Piece(" c\n", (3,), True, False),
        Piece("\u00a0\u202e\x1b[31m\t", (4,), True, False),
        Piece(" ", (5,), True, False),
        Piece("</s>", (6,), True, True),
    ]
    shown = ["<s>", "␣a b", "␣", "␣c↵\n", "⟨U+00A0⟩⟨U+202E⟩⟨U+001B⟩[31m⟨U+0009⟩", "␣", "</s>"]
    assert show_texts(pieces) == shown
