"""Whether a free answer is written in the language asked for."""

from __future__ import annotations

import re

from adatta.lang.identify import identify

# What says nothing about the language of the answer; what was never closed goes to the end.
_REMOVED = re.compile(
    r"""
      \A(?:(?!<think>).)*</think> | <think>.*?(?:</think>|\Z)  # thoughts; the prompt may have opened them
    | (?P<fence>```|~~~).*?(?:(?P=fence)|\Z)      # code blocks
    | `[^`\n]*`                                   # inline code
    | (?:https?://|www\.)\S+ | [^\s@]+@[^\s@]+\.\w+  # URLs and mail addresses
    | ^[ \t]*>[^\n]*                              # quoted lines
    | «[^»]*(?:»|\Z) | [“„][^”“]*(?:[”“]|\Z) | "[^"\n]*"  # quotes
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)


def strip_foreign(answer: str) -> str:
    """Remove thoughts, code, inline code, URLs, mail addresses and quotes from an answer.

    Args:
        answer: What the model wrote.

    Returns:
        What is left to judge, without whitespace at its ends.
    """
    return _REMOVED.sub(" ", answer).strip()


def is_in_language(answer: str, language: str) -> bool:
    """Tell whether an answer is in a language.

    The rule: after removing thoughts, code and quotes, the top language of the whole remaining answer is the
    one asked for, however short the answer and however unsure the identification; so a short answer still
    counts, with more noise. An answer of which no letter is left (empty, code only, a number) fails.

    Args:
        answer: What the model wrote.
        language: BCP 47 tag; only its language part counts.

    Returns:
        Whether it is.

    Source: own; after arXiv:2406.20052, which judges line by line and skips short ones.
    """
    return identify(strip_foreign(answer))[0] == language.partition("-")[0]
