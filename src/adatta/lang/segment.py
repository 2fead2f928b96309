"""The words of a text, as its language divides them."""

from __future__ import annotations

import re

from adatta.lang.normalize import normalize
from adatta.lang.profile import Traits

_DIVIDED = re.compile(r"[^\W_]+")
_JOINED = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def split_words(text: str, language: Traits) -> list[str]:
    """List the words of a text, normalised, without signs and spaces.

    Where the language has `elision`, an apostrophe stands between words (`l'acqua` is `l`, `acqua`);
    elsewhere it is part of one (`don't`).

    Args:
        text: Any text, normalised or not.
        language: Its profile, or what else is known of it.

    Returns:
        The words in order, digits among them.
    """
    return (_DIVIDED if language.elision else _JOINED).findall(normalize(text, language))


def find_words(text: str, language: Traits) -> list[tuple[int, int]]:
    """Find where the words of a text stand, as `split_words` divides them, without normalising it.

    Args:
        text: Any text.
        language: Its profile, or what else is known of it.

    Returns:
        First character and the one after the last, of each word.
    """
    pattern = _DIVIDED if language.elision else _JOINED
    return [match.span() for match in pattern.finditer(text.replace("’", "'"))]
