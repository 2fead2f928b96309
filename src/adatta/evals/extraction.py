"""Measures of answers that list something, and of summaries: F1 of what is listed, item by item."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from adatta.core.errors import EvalError
from adatta.data.overlap import words
from adatta.evals.squad import words_f1

_ENTITY = re.compile(r"([^$,\n]+)\$\s*(\w+)")
_RELATION = re.compile(r"([^$%\n]+%?)\$([^$%\n]*)")
_MOST = 10  # substitutes that count


def score_entities(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Measure named entities, written as `Ada$PER, Roma$LOC`, or `&&NOENT&&` for none.

    Args:
        doc: Row with `entities`, each with `entity_text` and `type`.
        results: The answer, alone.

    Returns:
        `f1` of entities with their type; 1 where there are none and none are given.

    Source: own; Differs from Evalita-LLM's, which pools labels over all items and counts persons as found
        where more entities are given than there are.
    """
    wanted = [(each["entity_text"], each["type"]) for each in doc["entities"]]
    return _score_pairs(_ENTITY.findall(results[0]), wanted, is_none="&&NOENT&&" in results[0])


def score_relations(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Measure pairs of texts, written as `80%$saturazione%7 cm$milza`, or `&&NOREL&&` for none.

    Args:
        doc: Row with `relations`, each a pair of texts.
        results: The answer, alone.

    Returns:
        `f1` of pairs; 1 where there are none and none are given.

    Source: own; Differs from Evalita-LLM's, which pools labels over all items.
    """
    return _score_pairs(_RELATION.findall(results[0]), doc["relations"], is_none="&&NOREL&&" in results[0])


def score_substitutes(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Measure up to ten words for another one, in the first line, with commas between them.

    Args:
        doc: Row with `answers`, each with a `word` and the `count` of annotators who gave it.
        results: The answer, alone.

    Returns:
        `oot`, the share of the annotators' answers that are among them.

    Raises:
        EvalError: No annotator gave a word.

    Source: McCarthy and Navigli 2007 (SemEval task 10, out of ten), without its normalisation.
    """
    counts = {_fold(each["word"]): each["count"] for each in doc["answers"]}
    if not sum(counts.values()):
        raise EvalError("no annotator gave a word; leave the item out")
    line = results[0].strip().partition("\n")[0]
    given = [*dict.fromkeys(map(_fold, line.split(",")))][:_MOST]
    return {"oot": sum(counts.get(word, 0) for word in given) / sum(counts.values())}


def score_summary(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Measure a summary against the one that is given as `target`.

    Args:
        doc: Row with `target`.
        results: The summary, alone.

    Returns:
        `rouge1`, the F1 of their words.

    Source: Lin 2004. Differs from the usual tokenizer, which divides words at accented letters.
    """
    return {"rouge1": words_f1(words(results[0]), words(doc["target"]))}


SCORERS: Mapping[str, Callable[[Mapping[str, Any], Sequence[str]], dict[str, float]]] = {
    "entities": score_entities,
    "relations": score_relations,
    "substitutes": score_substitutes,
}


def _fold(text: str) -> str:
    return " ".join(words(text))


def _score_pairs(
    given: Iterable[Sequence[str]], wanted: Iterable[Sequence[str]], *, is_none: bool
) -> dict[str, float]:
    """Give the F1 of pairs; an answer that neither lists some nor says that there are none is wrong."""
    found, right = ([tuple(map(_fold, pair)) for pair in pairs] for pairs in (given, wanted))
    if is_none and not found and not right:
        return {"f1": 1.0}
    return {"f1": words_f1(found, right)}
