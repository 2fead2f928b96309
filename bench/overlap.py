"""Leaks and near duplicates that were planted, found by kind; false alarms on distinct real texts; speed.

Real Italian sets are read from a folder beside the repository and skipped where it isn't there.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from adatta.core.runtime import bundled_dir
from adatta.data.overlap import ItemText, LeakFinder, NearDuplicates, is_too_short
from adatta.evals.statistics import wilson
from adatta.evals.suite import load_suite
from bench.rounds import time_rounds

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
NUM_PLANTED = 50
TOLD = {"exact": "blocked", "strong": "blocked", "weak": "reported"}
OTHER_WORDS = ("forse", "subito", "dopo", "sempre", "quasi", "certo", "intanto", "altrove")
TYPED = str.maketrans({"à": "a'", "è": "e'", "é": "e'", "ì": "i'", "ò": "o'", "ù": "u'", "È": "E'", "’": "'"})

# Written for this file: the question in other words, and in English.
REWRITTEN = {
    "Quale fiume attraversa la città di Torino?": (
        "Su quale fiume sorge Torino?",
        "Which river flows through the city of Turin?",
    ),
    "Di quale regione è capoluogo Potenza?": (
        "Potenza è il capoluogo di una regione: quale?",
        "Potenza is the capital of which region?",
    ),
    "Come si chiama il braccio di mare tra la Sicilia e la Calabria?": (
        "Qual è il nome dello stretto che divide la Sicilia dalla Calabria?",
        "What is the name of the strait between Sicily and Calabria?",
    ),
    "Quale parola è un sinonimo di «celere»?": (
        "Di' un'altra parola che significa «celere».",
        "Which word is a synonym of «celere»?",
    ),
    "A quale età si diventa maggiorenni in Italia?": (
        "Quanti anni bisogna avere per essere maggiorenni in Italia?",
        "At what age does one come of age in Italy?",
    ),
    "Come si cuoce un alimento a bagnomaria?": (
        "Che cosa vuol dire cuocere un cibo a bagnomaria?",
        "How do you cook food in a bain-marie?",
    ),
    "Prima dell'euro, quale moneta si usava in Italia?": (
        "Che moneta circolava in Italia prima che arrivasse l'euro?",
        "Which currency was used in Italy before the euro?",
    ),
    "Che cosa misura il barometro?": ("A che cosa serve un barometro?", "What does a barometer measure?"),
    "Ogni notte il cane dei vicini abbaia per ore.": (
        "Il cane dei vicini abbaia per ore tutte le notti.",
        "Every night the neighbours' dog barks for hours.",
    ),
    "Elenca tre buone ragioni per imparare un po' di lingua dei segni anche se in famiglia nessuno è "
    "sordo.": (
        "Fammi tre esempi di perché conviene studiare la lingua dei segni pur senza parenti sordi.",
        "List three good reasons to learn some sign language even if nobody in the family is deaf.",
    ),
}


class Planted(NamedTuple):
    """A row with an item in it, and what the item is."""

    item: ItemText
    question: str
    answer: str


def replace_words(text: str, share: float, draw: random.Random) -> str:
    """Replace a share of the words, at least one."""
    listed = text.split()
    for place in draw.sample(range(len(listed)), max(1, round(share * len(listed)))):
        listed[place] = draw.choice(OTHER_WORDS)
    return " ".join(listed)


def swap_halves(text: str) -> str:
    """Put the second half first."""
    listed = text.rstrip("?.!").split()
    return " ".join([*listed[len(listed) // 2 :], *listed[: len(listed) // 2]])


def change_signs(text: str, draw: random.Random) -> str:
    """Change punctuation, quotes and the case of letters, no word."""
    text = re.sub(r"[,;:.?!](?=\s|$)", lambda _: draw.choice([" -", "…", "", " ;"]), text)
    text = re.sub(r"[«»\"“”]", "'", text).replace("'", draw.choice(["'", "’"]))
    return "".join(draw.choice((letter.lower(), letter.upper())) for letter in text)


def drop_end(text: str) -> str:
    """Drop the last quarter of the words."""
    listed = text.split()
    return " ".join(listed[: max(1, round(0.75 * len(listed)))])


def kinds(draw: random.Random) -> dict[str, Callable[[str], str]]:
    """Return the ways in which copies are changed by rule."""
    return {
        "exact": lambda text: text,
        "punctuation_and_case": lambda text: change_signs(text, draw),
        "typed_accents": lambda text: text.translate(TYPED),
        "one_word_replaced": lambda text: replace_words(text, 0.0, draw),
        "a_tenth_replaced": lambda text: replace_words(text, 0.1, draw),
        "last_quarter_dropped": drop_end,
        "halves_swapped": swap_halves,
    }


def read_own_items() -> list[ItemText]:
    """Read the items of the own suites, an item that stands in two tasks once."""
    suites = [load_suite(name) for name in ("offline", "offline-dev")]
    texts = [
        task.task.item_text(item)
        for suite in suites
        for task, items in zip(suite.tasks, suite.items().values(), strict=True)
        for item in items
    ]
    return list(dict.fromkeys(texts))


def read_real(name: str) -> list[dict[str, Any]]:
    """Read a real set; empty where it isn't there."""
    path = REAL / name
    if not path.exists():
        print(f"overlap: {name} skipped, it isn't in {REAL}", file=sys.stderr)
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_italic_items() -> list[ItemText]:
    """Read exam questions with their right answers."""
    items = []
    for row in read_real("italic_sample.jsonl"):
        options = {letter: text for option in row["options"] for letter, text in option.items()}
        items.append(ItemText(row["question"], options[row["answer"]]))
    return items


def read_squad_items() -> list[ItemText]:
    """Read questions on passages, one a passage."""
    asked = [(row["questions"][0], row["text"]) for row in read_real("squad_it.jsonl") if row["questions"]]
    return [ItemText(one["question"], one["answers"][0], passage) for one, passage in asked]


def find_planted(items: Sequence[ItemText], planted: Sequence[Planted]) -> dict[str, Any]:
    """Look for planted items among all items of a set.

    Returns:
        Of `n` planted: `blocked` (exact or strong; with interval), `reported` (weak), `missed`.
    """
    finder = LeakFinder(items)
    for number, (_, question, answer) in enumerate(planted):
        finder.look(
            f"Ho una domanda per te. {question}\nDirei così: {answer}", source="row", where=str(number)
        )
    found = {leak.item: leak.kind for leak in finder.leaks() if leak.kind != "passage"}
    told = Counter(TOLD.get(found.get(items.index(one.item)), "missed") for one in planted)
    blocked, n = told["blocked"], len(planted)
    return {
        "n": n,
        **{name: told[name] for name in ("blocked", "reported", "missed")},
        "blocked_ci95": list(wilson(blocked, n)),
    }


def measure_leaks(items: Sequence[ItemText]) -> dict[str, Any]:
    """Plant 50 items of a set, those too short to judge left out, in every way that is a rule."""
    draw = random.Random(7)
    judged = [item for item in items if not is_too_short(item)]
    chosen = draw.sample(judged, min(NUM_PLANTED, len(judged)))
    return {
        kind: find_planted(items, [Planted(one, change(one.question), one.answer) for one in chosen])
        for kind, change in kinds(draw).items()
    }


def measure_rewritten(items: Sequence[ItemText]) -> dict[str, Any]:
    """Plant the paraphrases and translations written by hand."""
    chosen = [item for item in items if item.question in REWRITTEN]
    return {
        kind: find_planted(
            items, [Planted(one, REWRITTEN[one.question][place], one.answer) for one in chosen]
        )
        for place, kind in enumerate(("paraphrased", "translated"))
    }


def count_false_alarms(rows: Sequence[str], items: Sequence[ItemText]) -> dict[str, int]:
    """Count what is found in rows that weren't made from the items."""
    finder = LeakFinder(items)
    for number, row in enumerate(rows):
        finder.look(row, source="row", where=str(number))
    return {
        "items": len(items),
        "too_short": sum(map(is_too_short, items)),
        "rows": len(rows),
        **Counter(leak.kind for leak in finder.leaks()),
    }


def measure_near(texts: Sequence[str]) -> dict[str, Any]:
    """Count distinct texts taken for repetitions, and changed copies found, as their row or another."""
    draw = random.Random(7)
    changes: dict[str, Callable[[str], str]] = {
        "punctuation_and_case": lambda text: change_signs(text, draw),
        "one_word_replaced": lambda text: replace_words(text, 0.0, draw),
        "2%_replaced": lambda text: replace_words(text, 0.02, draw),
        "5%_replaced": lambda text: replace_words(text, 0.05, draw),
        "10%_replaced": lambda text: replace_words(text, 0.1, draw),
        "30%_replaced": lambda text: replace_words(text, 0.3, draw),
    }
    figures: dict[str, Any] = {"texts": len(texts)}
    for name, change in changes.items():
        rows = NearDuplicates()
        figures["false_alarms"] = sum(rows.find(text) is not None for text in texts)
        found = [rows.find(change(text)) for text in texts]
        right = sum(number == place for place, number in enumerate(found))
        figures[name] = {"found": right / len(texts), "other_row": sum(n is not None for n in found) - right}
    return figures


def measure_speed(texts: Sequence[str], items: Sequence[ItemText]) -> dict[str, Any]:
    """Time what is done in a second: items indexed, and rows of about 1 kB, all different, compared."""
    words = " ".join(texts).split()
    rows = [" ".join(words[start : start + 160])[:1000] for start in range(0, len(words) - 160, 37)][:2000]

    def compare(look: Callable[[str], object]) -> None:
        for row in rows:
            look(row)

    def look_for_leaks() -> None:
        finder = LeakFinder(items)
        compare(lambda row: finder.look(row, source="row", where=""))

    return {
        "items_indexed_per_second": time_rounds(lambda: LeakFinder(items), len(items)),
        "leak_rows_per_second": time_rounds(look_for_leaks, len(rows)),
        "near_duplicate_rows_per_second": time_rounds(lambda: compare(NearDuplicates().find), len(rows)),
    }


def read_own_texts() -> Iterator[str]:
    """Read adatta's own training texts, a row each."""
    data = bundled_dir() / "data"
    for path in (*sorted(data.glob("*.jsonl")), *sorted((data / "text").glob("*.jsonl"))):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield "\n".join(text for text in _texts(json.loads(line)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def measure_overlap() -> dict[str, Any]:
    """Measure everything; real sets only where they are."""
    own, texts = read_own_items(), list(read_own_texts())
    real = {"italic": read_italic_items(), "squad_it": read_squad_items()}
    passages = [item.passage for item in real["squad_it"]]
    figures: dict[str, Any] = {
        "leaks": {"own": {**measure_leaks(own), **measure_rewritten(own)}},
        "false_alarms": {"own": count_false_alarms([*texts, *passages], own)},
        "near": {"own": measure_near(texts)},
        "speed": measure_speed(passages or texts, own),
    }
    for name, items in real.items():
        if items:
            figures["leaks"][name] = measure_leaks(items)
            rows = texts if name == "squad_it" else [*texts, *passages]
            figures["false_alarms"][name] = count_false_alarms(rows, items)
    if passages:
        figures["near"]["squad_it"] = measure_near(passages)
    return figures


if __name__ == "__main__":
    print(json.dumps(measure_overlap(), indent=1))
