"""What the shipped data is made of, and whether it keeps its limits -> bench/results/corpus.json.

Counts and lengths of every kind; repeated openings; type-token ratio beside that of real text (where it lies
beside the repository); language of every row; overlap of training rows with evaluation items; lengths of
chosen and rejected answers; letters of right options. What breaks a limit is named, and the exit status is 1.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from adatta.data.overlap import LeakFinder, words
from adatta.evals.suite import load_suite
from adatta.lang.identify import identify

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
REAL_TEXT = ROOT.parent / "shared" / "data" / "italic_sample.jsonl"
OPENING_WORDS, MOST_REPEATED = 4, 0.03
WINDOW_WORDS = 500  # of which the type-token ratio is the mean: it falls with length
JUDGED_CHARS = 60  # shorter texts don't tell their language
SUITES = ("offline", "offline-dev")
FOREIGN = ("wrong_language", "english")  # ways of failing

Row = dict[str, Any]


def read(name: str) -> list[Row]:
    """Return the rows of a file under `data/`."""
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def files() -> Iterator[str]:
    """Yield every file of rows, by its path under `data/`."""
    yield from sorted(path.relative_to(DATA).as_posix() for path in DATA.rglob("*.jsonl"))


def texts(row: Row) -> list[str]:
    """Return the texts of a row, without tags; a prompt is one text, however many turns it has."""
    if "messages" in row:
        return [message["content"] for message in row["messages"]]
    if "chosen" in row:
        return [*(turn["content"] for turn in row["prompt"]), said(row["chosen"]), said(row["rejected"])]
    if "options" in row:
        return [row["question"], *row["options"]]
    return [row[name] for name in ("text", "prompt", "right", "wrong") if name in row]


def said(answer: str | Row) -> str:
    """Return the words of an answer: of a training row, or of an evaluation item."""
    return answer if isinstance(answer, str) else str(answer["content"])


def opening_texts(row: Row) -> list[str]:
    """Return what opens something in a row: the first prompt, the answers, a document, a question."""
    if "messages" in row:
        turns = [message for message in row["messages"] if message["role"] != "system"]
        return [turns[0]["content"], *(each["content"] for each in turns if each["role"] == "assistant")]
    if "chosen" in row:
        return [row["prompt"][0]["content"], said(row["chosen"])]
    return texts(row)[:1]


def repeated_openings(rows: Sequence[Row]) -> float:
    """Return the share of rows one of whose texts begins with the same four words as another row's."""
    begins = [{tuple(words(text)[:OPENING_WORDS]) for text in opening_texts(row)} for row in rows]
    counts = Counter(begin for each in begins for begin in each if len(begin) == OPENING_WORDS)
    return sum(any(counts[begin] > 1 for begin in each) for each in begins) / len(rows)


def type_token_ratio(given: Iterable[str]) -> float:
    """Return the mean share of different words in windows of 500 words."""
    listed = [word for text in given for word in words(text)]
    ends = range(WINDOW_WORDS, len(listed) + 1, WINDOW_WORDS)
    return statistics.fmean(len(set(listed[end - WINDOW_WORDS : end])) / WINDOW_WORDS for end in ends)


def foreign_texts(name: str, rows: Sequence[Row]) -> list[str]:
    """Name the texts that aren't in the language that their row or file says; rejected answers may be."""
    found = []
    for number, row in enumerate(rows, start=1):
        language = row.get("language") or ("en" if "_en" in name else "it")
        judged = texts(row)[:-1] if row.get("fault") in FOREIGN else texts(row)
        found += [
            f"{name}:{number}: {identify(text)[0]}, not {language}: {text[:50]}"
            for text in judged
            if len(text) >= JUDGED_CHARS and "{" not in text and identify(text)[0] != language
        ]
    return found


def overlaps(training: Sequence[str]) -> list[str]:
    """Name the training rows that hold an item of a suite, as `adatta check` finds them."""
    items = [
        suite_task.task.item_text(item)
        for suite in SUITES
        for suite_task in load_suite(suite).tasks
        for item in load_suite(suite).items()[suite_task.name]
    ]
    finder = LeakFinder(items)
    for name in training:
        for number, row in enumerate(read(name), start=1):
            finder.look("\n".join(texts(row)), source=name, where=f"{name}:{number}")
    return [
        f"{leak.rows[0]}: {leak.kind} match, {leak.text}" for leak in finder.leaks() if leak.kind != "weak"
    ]


def answer_lengths(rows: Sequence[Row]) -> Row:
    """Return, by way of failing: rows, median words of both answers, share with a longer chosen one."""
    found = {}
    for fault in sorted({row["fault"] for row in rows}):
        pairs = [
            [len(words(said(row[side]))) for side in ("chosen", "rejected")]
            for row in rows
            if row["fault"] == fault
        ]
        medians = [statistics.median(pair[side] for pair in pairs) for side in (0, 1)]
        longer = sum(chosen > rejected for chosen, rejected in pairs) / len(pairs)
        found[fault] = {"rows": len(pairs), "words": medians, "chosen_longer": round(longer, 2)}
    return found


def describe() -> tuple[Row, list[str]]:
    """Return the facts about every file, and what breaks a limit."""
    facts: Row = {}
    broken: list[str] = []
    for name in files():
        rows = read(name)
        lengths = [sum(len(words(text)) for text in texts(row)) for row in rows]
        opened = repeated_openings(rows)
        facts[name] = {
            "rows": len(rows),
            "words": sum(lengths),
            "median_words": statistics.median(lengths),
            "repeated_openings": round(opened, 3),
            "type_token_ratio": round(type_token_ratio(text for row in rows for text in texts(row)), 3),
        }
        if opened > MOST_REPEATED:
            broken.append(f"{name}: {opened:.1%} of the rows share an opening")
        broken += foreign_texts(name, rows)
        if "chosen" in rows[0]:
            facts[name]["answers"] = answer_lengths(rows)
        if "options" in rows[0]:
            facts[name]["letters"] = [sum(row["answer"] == place for row in rows) for place in range(4)]
            longest = sum(max(row["options"], key=len) == row["options"][row["answer"]] for row in rows)
            facts[name]["right_is_longest"] = round(longest / len(rows), 3)
    broken += overlaps([name for name in facts if not name.startswith("evaluation/")])
    if REAL_TEXT.exists():
        real = [json.loads(line) for line in REAL_TEXT.read_text(encoding="utf-8").splitlines()]
        facts["real text (ITALIC)"] = {
            "type_token_ratio": round(type_token_ratio(row["question"] for row in real), 3)
        }
    return facts, broken


def main() -> None:
    """Write the facts, print them and what breaks a limit."""
    facts, broken = describe()
    path = ROOT / "bench" / "results" / "corpus.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        json.dumps({"facts": facts, "broken": broken}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    for name, found in facts.items():
        print(name, json.dumps(found, ensure_ascii=False))
    for line in broken:
        print(f"breaks a limit: {line}")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
