"""Short answers against the right ones, as SQuAD measures them, by Italian articles and by English ones."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

ARTICLES = {"it": ("il", "lo", "la", "i", "gli", "le", "l", "un", "uno", "una"), "en": ("a", "an", "the")}
APOSTROPHES = str.maketrans("'’‘`´", "     ")


def split_answer(text: str, language: str) -> list[str]:
    """List the words that count: lower case, without punctuation and articles; Italian elision divides.

    Source: SQuAD's evaluate-v1.1.py. Differs: Italian articles, and an apostrophe divides words.
    """
    text = text.translate(APOSTROPHES) if language == "it" else text
    kept = [char for char in text.lower() if not unicodedata.category(char).startswith("P")]
    return [word for word in "".join(kept).split() if word not in ARTICLES[language]]


def words_f1(given: Sequence[Hashable], wanted: Sequence[Hashable]) -> float:
    """Give the F1 of the words, or whatever else, of an answer: 0 where none is shared.

    Source: arXiv:1606.05250, section 6.1.
    """
    return 2 * (Counter(given) & Counter(wanted)).total() / max(len(given) + len(wanted), 1)


def score_answer(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Score an answer against the best of the right ones, for the harness.

    Args:
        doc: Row with `answers`.
        results: The answer, alone.

    Returns:
        `f1` and `exact_match`, and as SQuAD's own script has them, `f1_squad` and `exact_match_squad`.
    """
    scores = {}
    for language, suffix in (("it", ""), ("en", "_squad")):
        given = split_answer(results[0], language)
        wanted = [split_answer(right, language) for right in doc["answers"]]
        scores[f"f1{suffix}"] = max(words_f1(given, right) for right in wanted)
        scores[f"exact_match{suffix}"] = float(given != [] and given in wanted)
    return scores
