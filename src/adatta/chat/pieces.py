"""Token rows as text, a piece for each token: what a person looks at."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from adatta.chat.render import Chat
from adatta.core.records import TokenRow

_BROKEN = "\ufffd"  # what half a character decodes to
_MOST_TOKENS = 4  # in one character
_SPACES = re.compile(r"^ +| +$| {2,}", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Piece:
    """A token's text, or that of several tokens that share a character; `is_added`: an added token's name."""

    text: str
    ids: tuple[int, ...]
    is_scored: bool
    is_added: bool


def split_pieces(row: TokenRow, chat: Chat) -> list[Piece]:
    """Decode a row token by token.

    Args:
        row: ids and loss weights.
        chat: its chat format.

    Returns:
        Pieces whose texts, joined, are the row's text with special tokens in it.
    """
    pieces: list[Piece] = []
    before, begin = 0, 0  # where the piece before and this one begin
    for end, token in enumerate(row.ids, start=1):
        is_added = token in chat.added_tokens
        is_last = end == len(row.ids) or row.ids[end] in chat.added_tokens
        if not is_added and not is_last and _is_open(row.ids[begin : end + 1], chat):
            continue
        text = chat.added_tokens[token] if is_added else _decode(row.ids[before:end], begin - before, chat)
        pieces.append(Piece(text, row.ids[begin:end], any(row.weights[begin:end]), is_added))
        before, begin = begin, end
    return pieces


def show_texts(pieces: Sequence[Piece]) -> list[str]:
    """Return the pieces' texts with all visible that is easily overlooked.

    A newline is `↵` and a newline; a space is `␣` where two stand together or one stands at the border of a
    line or of an added token; other invisible characters are written as `⟨U+00A0⟩`.

    Args:
        pieces: of one row, in order.
    """
    texts = ["\n" * len(piece.text) if piece.is_added else piece.text for piece in pieces]
    marked = _SPACES.sub(lambda spaces: "␣" * len(spaces[0]), "".join(texts))
    shown, start = [], 0
    for piece in pieces:
        end = start + len(piece.text)
        shown.append("".join(map(_sign, piece.text if piece.is_added else marked[start:end])))
        start = end
    return shown


def _is_open(ids: Sequence[int], chat: Chat) -> bool:
    """Return whether all ids but the last end inside a character, not behind one that looks like it."""
    text = chat.decode(ids[:-1], keep_special=True)
    if not text.endswith(_BROKEN) or len(ids) > _MOST_TOKENS:
        return False
    longer = chat.decode(ids, keep_special=True)
    return text.count(_BROKEN) == len(ids) - 1 or len(longer) <= len(text)


def _decode(ids: Sequence[int], num_before: int, chat: Chat) -> str:
    """Decode ids behind others: some tokenizers write no space before the first token of a text."""
    before = chat.decode(ids[:num_before], keep_special=True)
    return chat.decode(ids, keep_special=True)[len(before) :]


def _sign(char: str) -> str:
    if char == "\n":
        return "↵\n"
    invisible = char != " " and unicodedata.category(char)[0] in "CZ"
    return f"⟨U+{ord(char):04X}⟩" if invisible else char
