"""What a tokenizer makes of a language: tokens a word, bytes a token, words that it divides."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from adatta.chat.encode import Encoded
from adatta.core.errors import EvalError, TemplateError
from adatta.evals.suite import Suite
from adatta.lang.normalize import find_words
from adatta.lang.profile import Traits, list_profiles, load_profile

Encode = Callable[[str], Encoded]


def suite_fertility(suite: Suite, encode: Encode) -> dict[str, dict[str, Any]]:
    """Measure a tokenizer on the plain texts of a suite.

    The texts of two languages aren't translations, so that their token counts can't be compared, but tokens
    a word and bytes a token can.

    Args:
        suite: Its tasks of kind `bits_per_byte` are read.
        encode: As `Chat.encode_text`.

    Returns:
        By task, as `measure_fertility` has it; a task without words has none.

    Raises:
        RowError: The suite's files have mistakes.
    """
    items, found = suite.items(), {}
    for task in (task for task in suite.tasks if task.kind == "bits_per_byte"):
        traits = load_profile(task.language) if task.language in list_profiles() else Traits()
        texts = [item.fields["text"] for item in items[task.name]]
        try:
            found[task.name] = measure_fertility(texts, encode, language=traits)
        except EvalError:
            continue  # no words, or none that can be encoded: there is no such figure
    return found


def measure_fertility(texts: Iterable[str], encode: Encode, *, language: Traits) -> dict[str, Any]:
    """Measure a tokenizer on texts: composed (NFC), without special tokens.

    Words are runs of letters and digits; an apostrophe divides them where the language has elision
    (`l'acqua` is two) and is part of them elsewhere (`don't` is one). A token belongs to every word of which
    it has a part.

    Args:
        texts: Of one language.
        encode: Gives the ids of a text, with the character in which each ends.
        language: Its profile, or what else is known of it.

    Returns:
        `tokens_per_word`, `bytes_per_token`, `divided_word_share` (words of two tokens and more); the counts
        `words`, `tokens`, `bytes`, `texts`; `unencoded`, texts left out because a character has no token.

    Raises:
        EvalError: No text has a word and can be encoded.

    Source: arXiv:2012.15613 (fertility, proportion of continued words). Differs: words as said above.
    """
    counts = Counter(words=0, divided=0, tokens=0, bytes=0, texts=0, unencoded=0)
    for given in texts:
        text = unicodedata.normalize("NFC", given)
        try:
            ends = [end for end in encode(text).last_char if end >= 0]
        except TemplateError:
            counts["unencoded"] += 1
            continue
        words = find_words(text, language)
        divided = sum(_count_tokens(ends, *word) > 1 for word in words)
        counts.update(words=len(words), divided=divided, tokens=len(ends), bytes=len(text.encode()), texts=1)
    if not counts["words"]:
        raise EvalError("fertility of no words; expected texts with words that the tokenizer can encode")
    return {
        "tokens_per_word": counts["tokens"] / counts["words"],
        "bytes_per_token": counts["bytes"] / counts["tokens"],
        "divided_word_share": counts.pop("divided") / counts["words"],
        **counts,
    }


def _count_tokens(ends: Sequence[int], start: int, stop: int) -> int:
    """Count the tokens of a word: those that end in it, and one that goes on behind it."""
    first, after = bisect_left(ends, start), bisect_left(ends, stop)
    return after - first + (after == first or ends[after - 1] < stop - 1)
