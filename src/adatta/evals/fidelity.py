"""Whether a free answer is written in the language asked for: as a whole, and line by line."""

from __future__ import annotations

import re
from typing import Literal

from adatta.lang.identify import identify
from adatta.lang.normalize import normalize, split_words
from adatta.lang.profile import Traits, list_profiles, load_profile

Verdict = Literal["right", "wrong", "too short to tell", "language unclear"]

MIN_WORDS, MIN_CHARS = 5, 25  # below either, identification is right on three quarters of Italian texts
MIN_PROBABILITY = 0.5  # unsure on 1% of texts of 5 to 9 words, wrong on 1%
LINE_PROBABILITY = 0.3
# What says nothing about the language of the answer; what was never closed goes to the end.
_REMOVED = re.compile(
    r"""
      \A(?:(?!<think>).)*</think> | <think>.*?(?:</think>|\Z)  # thoughts; the prompt may have opened them
    | (?P<fence>```|~~~).*?(?:(?P=fence)|\Z)      # code blocks
    | `[^`\n]*`                                   # inline code
    | (?:https?://|www\.)\S+ | [^\s@]+@[^\s@]+\.\w+  # URLs and mail addresses
    | (?P<quote>^[ \t]*>[^\n]* | «[^»]*(?:»|\Z) | [“„][^”“]*(?:[”“]|\Z) | "[^"\n]*")
    | \| | (?<![^\s|])[^\s|]*\d[^\s|]*            # tables and numbers
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_WRITTEN_WORD = re.compile(r"\S*\w\S*")


def strip_foreign(answer: str, *, prompt: str = "") -> str:
    """Remove what isn't the answer's own prose.

    Args:
        answer: What the model wrote.
        prompt: What it answers; quotes of it are removed.

    Returns:
        What is left without thoughts, code, addresses, numbers and quotes, without whitespace at its ends.
    """
    known = normalize(prompt, Traits())

    def replace(match: re.Match[str]) -> str:
        quote = match["quote"] or ""
        return " " if normalize(quote.strip(' \t>«»“”„"'), Traits()) in known else quote

    return _REMOVED.sub(replace, answer).strip()


def is_in_language(text: str, language: str) -> bool:
    """Tell whether the top language of a text is the one asked for, however short and unsure.

    Args:
        text: Any text; one without a letter is in no language.
        language: BCP 47 tag; only its language part counts.
    """
    return _tell(text, language)[0]


def judge_language(answer: str, language: str, *, prompt: str = "") -> Verdict:
    """Judge in which language an answer is written.

    The rule: what `strip_foreign` leaves is in the language if that is its top language, with a probability
    of at least 0.5. Under 5 words or 25 characters only an answer counts as right whose every word is a stop
    word of the language or looks like it; any other is too short to tell, also one of which nothing is left.

    Args:
        answer: What the model wrote.
        language: BCP 47 tag; only its language part counts.
        prompt: What it answers.

    Source: own; after arXiv:2406.20052, which judges line by line and skips short ones.
    """
    text = strip_foreign(answer, prompt=prompt)
    if _count_words(text) < MIN_WORDS or len(text) < MIN_CHARS:
        return "right" if _is_plausible(text, language) else "too short to tell"
    is_right, probability = _tell(text, language)
    if probability < MIN_PROBABILITY:
        return "language unclear"
    return "right" if is_right else "wrong"


def judge_lines(answer: str, language: str, *, prompt: str = "") -> list[bool]:
    """Judge each line of an answer, as the Language Confusion Benchmark does.

    Args:
        answer: What the model wrote.
        language: BCP 47 tag; only its language part counts.
        prompt: What it answers.

    Returns:
        Whether each line of at least 5 words is in the language with a probability above 0.3; empty where
        there is no such line. The answer ends where a further question begins (`Q:`).

    Source: arXiv:2406.20052 (line level). Differs: `strip_foreign` first, punctuation stays, identification
        is our own.
    """
    lines = strip_foreign(answer.partition("\nQ:")[0], prompt=prompt).splitlines()
    judged = [_tell(line, language) for line in lines if _count_words(line) >= MIN_WORDS]
    return [is_right and probability > LINE_PROBABILITY for is_right, probability in judged]


def _tell(text: str, language: str) -> tuple[bool, float]:
    tag, probability = identify(text)
    return tag == language.partition("-")[0], probability


def _count_words(text: str) -> int:
    return len(_WRITTEN_WORD.findall(text))


def _is_plausible(text: str, language: str) -> bool:
    traits = load_profile(language) if language in list_profiles() else Traits()
    words = split_words(text, traits)
    return bool(words) and all(
        word in traits.stop_words or (traits.typical.search(word) and not traits.foreign.search(word))
        for word in words
    )
