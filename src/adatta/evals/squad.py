"""Short answers against the right ones, as SQuAD measures them, by Italian articles and by English ones."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

ARTICLES = {"it": ("il", "lo", "la", "i", "gli", "le", "l", "un", "uno", "una"), "en": ("a", "an", "the")}
APOSTROPHES = "'’‘`´"


def split_answer(text: str, language: str = "it") -> list[str]:
    """List the words that count: lower case, without punctuation and articles; Italian elision divides.

    Source: SQuAD's evaluate-v1.1.py. Differs: Italian articles, and an apostrophe divides words.
    """
    if language == "it":
        text = text.translate(dict.fromkeys(map(ord, APOSTROPHES), " "))
    kept = [char for char in text.lower() if not unicodedata.category(char).startswith("P") and char != "`"]
    return [word for word in "".join(kept).split() if word not in ARTICLES[language]]


def answer_f1(answer: str, right: str, language: str = "it") -> float:
    """Give the F1 of the words of two answers: 0 where they share none.

    Source: arXiv:1606.05250, section 6.1.
    """
    given, wanted = split_answer(answer, language), split_answer(right, language)
    return 2 * (Counter(given) & Counter(wanted)).total() / max(len(given) + len(wanted), 1)


def score_answer(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Score an answer against the best of the right ones, for the harness.

    Args:
        doc: Row with `answers`.
        results: The answer, alone.

    Returns:
        `f1` and `exact_match`, and as SQuAD's own script has them, `f1_squad` and `exact_match_squad`.
    """
    (answer,), scores = results, {}
    for language, suffix in (("it", ""), ("en", "_squad")):
        scores[f"f1{suffix}"] = max(answer_f1(answer, right, language) for right in doc["answers"])
        given, wanted = (
            split_answer(answer, language),
            [split_answer(right, language) for right in doc["answers"]],
        )
        scores[f"exact_match{suffix}"] = float(given in wanted and bool(given))
    return scores
