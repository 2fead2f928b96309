"""Language identification on sentences of the message catalogues that this machine's packages carry.

The sentences are read where they lie and never kept. What counts as one is decided by rules that look at the
text and at its English original, never at the identifier's answer. Tune on the half `dev`, report `test`.
"""

from __future__ import annotations

import gettext
import hashlib
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from adatta.evals.statistics import wilson
from adatta.lang.identify import identify
from bench.rounds import time_rounds

CATALOGUES = Path("/usr/share/locale")
LOCALES = {"it": ("it",), "es": ("es",), "pt": ("pt", "pt_BR"), "ro": ("ro",), "ca": ("ca",), "fr": ("fr",)}
LISTS_OF_NAMES = ("iso_", "xkeyboard-config", "shared-mime-info")
LENGTHS = {"4-9": range(4, 10), "10+": range(10, 10_000)}
GOALS = {("it", "10+"): 0.995, ("it", "4-9"): 0.97}
GOAL_ELSEWHERE = 0.95

_MARKUP = re.compile(
    r"""
      <[^<>]*>                                                                  # tags
    | %\([^)]*\)[a-z] | %[-+ #0-9.*$'lhzjtL]*[A-Za-z] | \{[^{}]*\} | &\w+;      # placeholders, entities
    | `[^`'\n]*[`'] | «[^»]*» | [“„][^”“]*[”“] | ‘[^’]*’ | "[^"]*" | (?<!\w)'[^']*'(?!\w)  # quoted names
    """,
    re.VERBOSE,
)
_PART = re.compile(r"\n\s*\n|\n(?=\s+-)|(?<=[.!?:;])\s+")
_CODE = re.compile(r"[\d_=\\|<>{}\[\]^~#@*/$+]|\w[.:(]\w|^-|\w[A-Z]")
_WORD = re.compile(r"[^\W\d_]+")


class Sentence(NamedTuple):
    """A translated sentence and its number of words."""

    text: str
    num_words: int


def clean(text: str) -> str:
    """Take markup, placeholders, quoted names and codes out of a message."""
    words = _MARKUP.sub(" ", text).split()
    return " ".join(word for word in words if not _CODE.search(word)).strip(" \n-–—,;:()")


def sentences_of(message: str, original: str) -> Iterator[Sentence]:
    """Cut a message into sentences; leave out those of which half the words stand in the English original."""
    english = {word.lower() for word in _WORD.findall(original)}
    for part in _PART.split(message):
        text = clean(" ".join(part.split()))
        words = _WORD.findall(text)
        if words and 2 * sum(word.lower() in english for word in words) < len(words):
            yield Sentence(text, len(words))


def read_messages(locale: str) -> Iterator[tuple[str, str]]:
    """Read original and translation of every message of a locale's catalogues."""
    for path in sorted((CATALOGUES / locale / "LC_MESSAGES").glob("*.mo")):
        if path.name.startswith(LISTS_OF_NAMES):
            continue
        try:
            with path.open("rb") as file:
                catalogue = gettext.GNUTranslations(file)._catalog  # gettext has no other way to list them
        except UnicodeDecodeError:
            continue  # a catalogue that isn't in the encoding that it names
        for key, message in catalogue.items():
            original = key[0] if isinstance(key, tuple) else key
            if original:
                yield original.rpartition("\x04")[2], message


def read_sentences(half: Literal["dev", "test"]) -> dict[str, list[Sentence]]:
    """Collect the sentences of every language, each once; those that two languages share are nobody's.

    Args:
        half: Which half, by the hash of the English original.
    """
    found: dict[str, dict[str, Sentence]] = defaultdict(dict)
    for language, locales in LOCALES.items():
        for original, message in (pair for locale in locales for pair in read_messages(locale)):
            is_test = hashlib.sha256(original.encode()).digest()[0] % 2
            if is_test == (half == "test"):
                found[language].update((one.text.lower(), one) for one in sentences_of(message, original))
    owners = Counter(key for sentences in found.values() for key in sentences)
    return {
        language: [one for key, one in sentences.items() if owners[key] == 1]
        for language, sentences in found.items()
    }


def measure_language(half: Literal["dev", "test"] = "test") -> dict[str, Any]:
    """Measure how often the language of a sentence is told right, and how fast.

    Returns:
        By language and length `{"n", "right", "ci95", "goal", "said_instead"}`, and `texts_per_second` for
        texts of 300 characters; an empty mapping on a machine without catalogues.
    """
    sentences = read_sentences(half)
    if not sentences:
        print(f"language identification: skipped, no message catalogues under {CATALOGUES}", file=sys.stderr)
        return {}
    figures: dict[str, Any] = {}
    for language, ones in sentences.items():
        for length, num_words in LENGTHS.items():
            said = Counter(identify(one.text)[0] for one in ones if one.num_words in num_words)
            n, right = said.total(), said.pop(language, 0)
            figures.setdefault(language, {})[length] = {
                "n": n,
                "right": right / n if n else None,
                "ci95": list(wilson(right, n)) if n else None,
                "goal": GOALS.get((language, length), GOAL_ELSEWHERE),
                "said_instead": dict(said.most_common(5)),
            }
    return {**figures, "texts_per_second": texts_per_second(sentences["it"])}


def texts_per_second(
    sentences: list[Sentence], *, num_texts: int = 10_000, num_chars: int = 300
) -> dict[str, Any]:
    """Time the identification of texts of 300 characters, all different."""
    text = " ".join(one.text for one in sentences)
    starts = range(0, len(text) - num_chars, max(1, (len(text) - num_chars) // num_texts))
    texts = [text[start : start + num_chars] for start in starts][:num_texts]
    return time_rounds(lambda: [identify(one) for one in texts], len(texts))


if __name__ == "__main__":
    print(json.dumps(measure_language(), indent=1))
