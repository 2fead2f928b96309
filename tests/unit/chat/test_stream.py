"""Text as it comes: whole characters only, nothing lost."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from adatta.chat.stream import stream_text


def decode(ids: Sequence[int]) -> str:
    return bytes(ids).decode("utf-8", errors="replace")


def test_no_half_character_is_shown() -> None:
    pieces = list(stream_text("è 👋🏽!".encode(), decode))
    assert pieces == ["è", " ", "👋", "🏽", "!"]


def test_what_never_becomes_a_character_is_shown_at_the_end() -> None:
    assert list(stream_text(b"a\xf0\x9f", decode)) == ["a", "�"]


@given(st.binary(max_size=40))
def test_joined_pieces_are_the_whole_text(data: bytes) -> None:
    assert "".join(stream_text(data, decode)) == decode(data)


@given(st.text(max_size=30))
def test_pieces_hold_only_characters_of_the_text(text: str) -> None:
    pieces = list(stream_text(text.encode("utf-8"), decode))
    assert all(pieces)
    assert "".join(pieces) == text
