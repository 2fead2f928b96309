"""One form of a text for comparing it: signs, typed accents, composed letters, lower case; and its words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from adatta.lang.profile import Traits

# Replaced one by one: str.replace looks for a sign in 0.1 µs a kB, str.translate builds the whole text anew.
_SIGNS = {
    **dict.fromkeys("’‘‛ʼ′`´", "'"),
    **dict.fromkeys("“”„‟″«»", '"'),
}
_QUOTED = re.compile(r"'(?<!\w')([^\W\d_][^']*(?:'(?<=\w')(?=\w)[^']*)*)'(?!\w)")
_DIVIDED = re.compile(r"[^\W_]+")
_JOINED = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_TYPED_ACCENT = re.compile(r"(?<![^\W\d_])([^\W\d_]*[aeiou])'(?!\w)")


def normalize(text: str, language: Traits) -> str:
    """Bring a text into the form in which texts are compared.

    Apostrophes and quotes of all shapes become `'` and `"`, an apostrophe that stands for an accent becomes
    the accent (by its `typed_accents`: `perche'` is `perché`, `po'` stays), letters are composed
    (NFC) and in lower case. Normalising twice changes nothing.

    Args:
        text: Any text.
        language: Its profile, or what else is known of it.

    Returns:
        The text; about as long as before.
    """
    text = unicodedata.normalize("NFC", text.lower())
    if not text.isascii() or "`" in text:
        for sign, plain in _SIGNS.items():
            text = text.replace(sign, plain)
    before = None if language.typed_accents and "'" in text else text
    while text != before:  # what is replaced may leave another pair of quotes
        before = text
        text = _accent(_QUOTED.sub(r'"\1"', text), language.typed_accents)
    return text


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


def _accent(text: str, accents: Mapping[str, str]) -> str:
    """Replace a vowel and an apostrophe at the end of a word by what `accents` has for word or ending."""

    def compose(match: re.Match[str]) -> str:
        word = match[1]
        found = next((ending for ending in (word, word[-3:], word[-1:]) if ending in accents), None)
        return match[0] if found is None else word.removesuffix(found) + accents[found]

    return _TYPED_ACCENT.sub(compose, text)
