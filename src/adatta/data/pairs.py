"""Check a set of preferences as a whole: lengths, repeated and contradicting pairs, languages, harm."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

import numpy as np

from adatta.core.fingerprint import content_id
from adatta.core.records import Preference
from adatta.data.answer_language import JUDGED_CHARS, MIN_PROBABILITY
from adatta.data.overlap import words
from adatta.lang.identify import identify
from adatta.lang.profile import list_profiles, load_profile

MIN_WORDS = 5
NUM_OPENING_WORDS = 40
NUM_SHOWN = 20


class PairChecks:
    """Looks at the preferences of one source, one by one, and describes the set; it refuses none.

    Keeps 32 bytes a pair. A pair is a suspect of harmful compliance where the prompt wishes for harm, the
    rejected answer refuses and the chosen one doesn't. The patterns of all language profiles point a
    human to rows and miss what they don't name, so pairs that reject any refusal are counted beside.
    """

    def __init__(self, interval: Callable[[float, int], Sequence[float]]) -> None:
        """Start with no pair.

        Args:
            interval: 95% interval of a share, from successes and trials.
        """
        self._interval = interval
        profiles = [*map(load_profile, list_profiles())]
        self._refusals = _join(pattern for profile in profiles for pattern in profile.refusals)
        self._excuses = _join(pattern for profile in profiles for pattern in profile.harm_excuses)
        self._harms = _join(pattern for profile in profiles for pattern in profile.harm_terms.values())
        self._ratios, self._lines = array("f"), array("I")
        self._prompts, self._pairs, self._turned = array("Q"), array("Q"), array("Q")
        self._counts: Counter[str] = Counter()
        self._suspects: list[str] = []

    def __len__(self) -> int:
        return len(self._lines)

    def look(self, pair: Preference) -> None:
        """Look at one pair."""
        prompt = "\n".join(message.content for message in pair.prompt if message.role == "user")
        chosen, rejected = pair.chosen.content.strip(), pair.rejected.content.strip()
        self._path = pair.origin.path
        self._lines.append(pair.origin.line)
        self._ratios.append(len(chosen) / max(1, len(rejected)))
        self._prompts.append(_number(words(prompt)))
        self._pairs.append(_number([words(prompt), chosen, rejected]))
        self._turned.append(_number([words(prompt), rejected, chosen]))
        languages = [self._tell(text) for text in (prompt, chosen, rejected)]
        self._counts["mixed"] += "" not in languages[1:] and languages[1] != languages[2]
        self._counts["other_language"] += "" not in languages[:2] and languages[0] != languages[1]
        if self._refuses(rejected) and not self._refuses(chosen):
            self._counts["refusals_rejected"] += 1
            asked = " ".join(words(prompt))
            if self._harms.search(asked) and not self._excuses.search(asked):
                self._suspects.append(f"{self._path}:{pair.origin.line}")

    def summary(self) -> dict[str, Any]:
        """Describe the set, for the record: counts, shares and a median with intervals, the first rows found.

        At least one pair must have been looked at; answers of one length count as half longer.
        """
        ordered, num = sorted(self._ratios), len(self._ratios)
        longer = sum((ratio > 1) + (ratio == 1) / 2 for ratio in ordered)
        low, high = self._interval(num / 2, num)  # of the median's place among the sorted ratios
        pairs, turned = np.array(self._pairs), np.array(self._turned)
        contradicting = np.flatnonzero(np.isin(turned, pairs) & (turned != pairs)).tolist()
        return {
            "pairs": num,
            "chosen_longer": self._share(longer),
            "length_ratio": {
                "value": median(ordered),
                "ci95": [ordered[int(low * num)], ordered[min(int(high * num), num - 1)]],
            },
            "repeated_prompts": num - len(set(self._prompts)),
            "contradicting": _told(f"{self._path}:{self._lines[number]}" for number in contradicting),
            "mixed_languages": self._share(self._counts["mixed"]),
            "other_language": self._share(self._counts["other_language"]),
            "refusals_rejected": self._counts["refusals_rejected"],
            "suspects": _told(self._suspects),
        }

    def _share(self, successes: float) -> dict[str, Any]:
        num = len(self._ratios)
        return {"value": successes / num, "ci95": list(self._interval(successes, num))}

    def _tell(self, text: str) -> str:
        """Tell the language of a text's beginning; empty where that is unsure."""
        opening = text[:JUDGED_CHARS]
        if len(opening.split()) < MIN_WORDS:
            return ""
        tag, probability = identify(opening)
        return tag if probability >= MIN_PROBABILITY else ""

    def _refuses(self, answer: str) -> bool:
        return bool(self._refusals.search(" ".join(words(answer)[:NUM_OPENING_WORDS])))


def _told(rows: Iterable[str]) -> dict[str, Any]:
    listed = list(rows)
    return {"count": len(listed), "rows": listed[:NUM_SHOWN]}


def _number(value: Any) -> int:
    """Return a value's id as a number of 8 bytes."""
    return int(content_id(value), 16)


def _join(patterns: Iterable[str]) -> re.Pattern[str]:
    """Join patterns into one that finds whole words; without any, it finds nothing."""
    return re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in patterns) or r"(?!)")
