"""Whether an answer is in the language that was asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice

from adatta.core.records import Row
from adatta.core.yaml_source import packaged_yaml
from adatta.data.contents import Content, list_contents
from adatta.data.turns import Mistake

Identify = Callable[[str], tuple[str, float]]

JUDGED_CHARS = 300
MIN_WORDS = 10
MIN_PROBABILITY = 0.7

_NO_PROSE = re.compile(r"```[\s\S]*?(?:```|\Z)|`[^`\n]+`|https?://\S+")
_WORD = re.compile(r"[^\W\d_]{2,}")
_TRANSLATION = re.compile(r"tradu[czt]|transl|übersetz", re.IGNORECASE)


def find_language_mistake(row: Row, *, language: str, identify: Identify) -> Mistake | None:
    """Look for an answer in a language that nobody asked for.

    Asked for is the row's own `language` where it has one; else the recipe's language or that of the prompt
    just before the answer, so that a mixed set needs no field. An answer is judged by its first 300
    characters, code and addresses left out, and only if at least 10 words in them don't begin with a capital
    and the language is told with a probability of at least 0.7: short answers and names are never accused.
    Neither is a row without a `language` whose prompt speaks of translating, or names the answer's language.
    Of a preference the chosen answer counts; of a document, the text.

    Args:
        row: The row.
        language: Tag of the recipe's language.
        identify: Tag and probability of a text's language.

    Returns:
        The first mistake.
    """
    given = _primary(row.language or "")
    asked = {given} if given else {_primary(language)}
    contents = list_contents(row)
    for number, content in enumerate(contents):
        if not content.is_target or content.field.startswith("rejected"):
            continue
        found = _tell(content.text, identify)
        if found in ("", *asked) or (not given and _is_excused(contents[:number], found, identify)):
            continue
        what = f"the answer is in {found!r}, asked for is {' or '.join(sorted(asked))!r}"
        hint = f'take the row out, or write "language": "{found}" into it if that is right'
        return Mistake(what, hint, "wrong_language", content.field)
    return None


def _tell(text: str, identify: Identify) -> str:
    """Tell the language of a text's beginning; empty where that is unsure."""
    prose = (_NO_PROSE.sub(" ", text) if "`" in text or "://" in text else text)[:JUDGED_CHARS]
    uncapitalised = (word for word in _WORD.finditer(prose) if not word[0][0].isupper())
    if len(list(islice(uncapitalised, MIN_WORDS))) < MIN_WORDS:
        return ""
    tag, probability = identify(prose)
    return tag if probability >= MIN_PROBABILITY else ""


def _is_excused(before: list[Content], found: str, identify: Identify) -> bool:
    """Say whether what stands before an answer is in its language, or asks for that language."""
    prompts = [content.text for content in before if content.role in ("system", "user")]
    if not prompts:
        return False
    if identify(prompts[-1][:JUDGED_CHARS])[0] == found:
        return True
    all_names = packaged_yaml("adatta.data", "language_names.yaml")
    names = re.compile(all_names.get(found, r"(?!)"), re.IGNORECASE)
    return any(_TRANSLATION.search(text) or names.search(text) for text in prompts)


def _primary(tag: str) -> str:
    """Return the language of a tag such as it-IT; nothing where it is no tag."""
    language = re.split(r"[-_]", tag.strip().lower(), maxsplit=1)[0]
    return language if 2 <= len(language) <= 3 else ""
