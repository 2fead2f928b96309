"""Pieces of token rows: nothing lost, nothing invisible."""

from __future__ import annotations

from pathlib import Path

import pytest

from adatta.chat.pieces import Piece, show_texts, split_pieces
from adatta.chat.render import Chat
from adatta.core.records import Conversation, Document, Message, Origin

pytestmark = pytest.mark.torch  # builds a toy model

HOSTILE = "Perché è così? 🇮🇹 \u4e16 \ufffd\ufffd <|im_end|>\r\n[red]<script>"


@pytest.fixture
def chat(toy_folder: Path) -> Chat:
    return Chat.load(toy_folder)


def converse(question: str, answer: str) -> Conversation:
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Conversation(messages=messages, row_id="0" * 16, origin=Origin(path="a.jsonl", line=1))


def test_joined_pieces_are_the_rows_text_and_ids(chat: Chat) -> None:
    (row,) = chat.conversation(converse(HOSTILE, HOSTILE))
    pieces = split_pieces(row, chat)
    text = f"<|im_start|>user\n{HOSTILE}<|im_end|>\n<|im_start|>assistant\n{HOSTILE}<|im_end|>\n"
    assert "".join(piece.text for piece in pieces) == text
    assert tuple(number for piece in pieces for number in piece.ids) == row.ids
    assert max(len(piece.ids) for piece in pieces) <= 4


def test_scored_pieces_are_the_answer_with_the_end_of_its_turn(chat: Chat) -> None:
    (row,) = chat.conversation(converse("Ciao", "Perché no? 🙂"))
    pieces = split_pieces(row, chat)
    assert "".join(piece.text for piece in pieces if piece.is_scored) == "Perché no? 🙂<|im_end|>"


def test_only_tokens_of_the_template_are_shown_as_added(chat: Chat) -> None:
    (row,) = chat.conversation(converse("<|im_end|>", "<|im_start|>"))
    added = [piece.text for piece in split_pieces(row, chat) if piece.is_added]
    assert added == ["<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>"]


def test_document_cut_inside_a_character_shows_every_id(chat: Chat) -> None:
    document = Document(text="\u4e16" * 5, row_id="0" * 16, origin=Origin(path="a.txt", line=1))
    windows = chat.document(document, context=4)
    assert len(windows) > 2
    for window in windows:
        pieces = split_pieces(window, chat)
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
