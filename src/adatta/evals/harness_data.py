"""The items and shots of a benchmark, from files or the Hub: chosen by content, pinned in a lock file."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adatta.core.artefact import write_json
from adatta.core.errors import DataError, Problem, RowError
from adatta.core.fingerprint import content_id, hash_file, list_id
from adatta.core.problems import Problems
from adatta.data.hub import fetch_dataset
from adatta.data.overlap import STRONG_WORDS, ItemText, LeakFinder, words
from adatta.data.source import find_files
from adatta.evals.harness_formats import CONVERTERS, read_release
from adatta.evals.harness_suite import HarnessTask, Row
from adatta.evals.suite import compose

LOCK = "suites.lock"
Lock = Mapping[str, Mapping[str, str]]
_KINDS: Mapping[str, type] = {"str": str, "str?": str, "int": int, "list": list, "dict": dict}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskData:
    """What a task asks: its items, and the shots before them by the harness' task that asks.

    `pin` says which data they are: their `source`, `hub:OWNER/NAME` or `files`; its `revision`, the Hub's
    commit or a hash of the files; and a hash of the `content`. `num_repeated` rows stand there twice and are
    asked once, `num_are_shots` are shots and not asked; `leaks` are the items whose question a shot holds.
    """

    items: tuple[Row, ...]
    shots: Mapping[str, Sequence[Row]]
    pin: Mapping[str, str]
    num_repeated: int
    num_are_shots: int
    leaks: tuple[Mapping[str, Any], ...]


def load_data(
    task: HarnessTask, data_dir: Path | None = None, *, pin: Mapping[str, str] | None = None
) -> TaskData:
    """Read a task's rows, choose its shots, leave items out that are shots.

    Args:
        task: The benchmark.
        data_dir: Folder of original releases; None reads from the Hub.
        pin: The data that were used first; from the Hub their commit is read again, without it the newest.

    Returns:
        The data.

    Raises:
        DataError: They are missing, or too few for the shots.
        RowError: Rows are broken, or lack a column.
        MissingExtraError: The package datasets isn't installed.
    """
    source = "files" if data_dir else f"hub:{task.data.hub}"
    revision = pin["revision"] if pin and pin["source"] == source != "files" else None
    revision, rows = _read_split(task, task.data.split, data_dir, revision=revision)
    pool: list[Row] = []
    if task.shots.count:
        of_shots, pool = _read_split(task, task.shots.split, data_dir, revision=revision)
        revision = revision if of_shots == revision else content_id([revision, of_shots])
    items = {content_id(row): row for row in rows}
    shots = _choose_shots(task, pool, items.values())
    are_shots = items.keys() & {content_id(row) for examples in shots.values() for row in examples}
    asked = tuple(row for item_id, row in items.items() if item_id not in are_shots)
    if not asked:
        raise DataError(f"{task.name} has no items in its split {task.data.split}; give all of its files")
    return TaskData(
        items=asked,
        shots=shots,
        pin={"source": source, "revision": revision, "content": list_id([*asked, shots])},
        num_repeated=len(rows) - len(items),
        num_are_shots=len(are_shots),
        leaks=tuple(find_leaks(task, asked, shots)),
    )


def rank(task: HarnessTask, row: Row) -> tuple[str, str]:
    """Give what rows are drawn by, whatever their order: SHA-256 of the normalised question, then the id."""
    text = " ".join(words(task.question_text(row)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), content_id(row)


def draw_items(tasks: Iterable[HarnessTask], data: Mapping[str, TaskData], total: int) -> dict[str, TaskData]:
    """Draw items from all tasks together in equal shares; what a small task lacks goes to the others.

    Args:
        tasks: Of the data; those without data are passed over.
        data: By task.
        total: Number of items.

    Returns:
        Data with the items of the smallest `rank`.
    """
    drawn: dict[str, TaskData] = {}
    there = [task for task in tasks if task.name in data]
    for task in sorted(there, key=lambda task: len(data[task.name].items)):
        share = total // (len(there) - len(drawn))
        items = sorted(data[task.name].items, key=lambda row: rank(task, row))[:share]
        drawn[task.name] = replace(data[task.name], items=tuple(items))
        total -= len(items)
    return drawn


def find_leaks(
    task: HarnessTask, items: Sequence[Row], shots: Mapping[str, Sequence[Row]]
) -> Iterator[dict[str, Any]]:
    """Find items whose question equals that of a shot before them, or shares 13 words in a row with it.

    Args:
        task: Of both.
        items: That are scored.
        shots: By the harness' task that asks.

    Yields:
        Of each such item: its id, the shots' ids, and the words.
    """
    for part, examples in shots.items():
        asked = [row for row in items if task.part(row) == part]
        questions = [task.question_text(row) for row in asked]
        finder = LeakFinder([ItemText(question=question) for question in questions])
        same: dict[str, list[str]] = defaultdict(list)
        for row in examples:
            finder.look(task.question_text(row), source=part, where=content_id(row))
            same[" ".join(words(task.question_text(row)))].append(content_id(row))
        found = {leak.item: leak for leak in finder.leaks() if leak.num_words >= STRONG_WORDS}
        for number, row in enumerate(asked):
            text = " ".join(words(questions[number]))
            if text in same:
                yield {"item": content_id(row), "shots": same[text], "words": text}
            elif number in found:
                yield {"item": content_id(row), "shots": [*found[number].rows], "words": found[number].text}


def read_lock(folder: Path) -> Lock:
    """Return the pin of each task's data as first used; nothing where nothing was evaluated.

    Raises:
        DataError: The file can't be read.
    """
    path = folder / LOCK
    try:
        lock: Lock = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise DataError(f"{path} can't be read ({error}); remove it and evaluate anew") from error
    return lock


def update_lock(folder: Path, data: Mapping[str, TaskData]) -> None:
    """Compare data with those that were used first, and write down those that are new.

    Args:
        folder: Of the run.
        data: By task, all of its items.

    Raises:
        DataError: With every task whose content differs.
    """
    lock, pins = read_lock(folder), {name: found.pin for name, found in data.items()}
    problems = [
        Problem(
            where=f"{folder / LOCK}: {name}",
            what=f"other data than at first: {dict(pin)} instead of {lock[name]}",
            hint="give the data of before, or evaluate every model anew in another folder",
        )
        for name, pin in pins.items()
        if name in lock and lock[name]["content"] != pin["content"]
    ]
    if problems:
        raise DataError(problems)
    if pins.keys() - lock.keys():
        write_json(folder / LOCK, {**pins, **lock})


def _read_split(
    task: HarnessTask, split: str, data_dir: Path | None, *, revision: str | None
) -> tuple[str, list[Row]]:
    """Return the revision and the rows of a split."""
    source, problems, rows = task.data, Problems(), []
    if data_dir is not None:
        patterns = source.files.get(split, (f"{split}.*",))
        pattern = next((each for each in patterns if any(data_dir.glob(each))), patterns[0])
        files = list(find_files(data_dir / pattern, problems))
        revision = content_id({file.name: hash_file(file) for file in files})
        read = ((file, read_release(file, source.format, problems)) for file in files)
        numbered = ((f"{file}:{line}", row) for file, lines in read for line, row in lines)
    elif source.hub:
        hub = fetch_dataset(source.hub, problems, config=source.config, split=split, revision=revision)
        revision = hub.commit
        numbered = ((f"hub:{source.hub}:{number}", row) for number, row in hub.rows)
    else:
        raise DataError(f"{task.name} is not on the Hub; give the folder of its files")
    for where, raw in numbered:
        try:
            converted = [{source.split_column: split} | row for row in CONVERTERS[source.format](raw)]
            rows += [_pick(task, row) for row in converted if row[source.split_column] == split]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            hint = f"expected {', '.join(f'{name} ({kind})' for name, kind in source.columns.items())}"
            what = f"no row of the format {source.format}: {error}"
            problems.append(Problem(where=where, what=what, hint=hint, reason="wrong_fields"))
    if problems:
        raise RowError(problems.shortened())
    return revision, rows


def _pick(task: HarnessTask, row: Row) -> Row:
    """Keep the columns of a task, in their types, texts in NFC; numbers in tables are texts, and some texts not."""
    row = row | {ours: row[theirs] for ours, theirs in task.data.fields.items()}
    picked = {name: row.get(name) for name in task.data.columns or row if name}
    wrong = []
    for name, kind in task.data.columns.items():
        value = picked[name]
        if kind == "int" and isinstance(value, str) and value.strip().isdecimal():
            picked[name] = int(value)
        elif kind == "str" and type(value) is int:
            picked[name] = str(value)
        elif type(value) is not _KINDS[kind] and not (kind == "str?" and value is None):
            wrong.append(name)
    if wrong:
        raise ValueError(f"missing or of a wrong type: {', '.join(wrong)}")
    return {name: compose(value) for name, value in picked.items()}


def _choose_shots(task: HarnessTask, pool: Iterable[Row], items: Iterable[Row]) -> dict[str, list[Row]]:
    """Choose the shots of each of the harness' tasks that asks an item."""
    by_part: dict[str, list[Row]] = {task.part(row): [] for row in items} if task.shots.count else {}
    for row in {content_id(row): row for row in pool}.values():
        by_part.get(task.part(row), []).append(row)
    for part, rows in by_part.items():
        if len(rows) < task.shots.count:
            raise DataError(
                f"{part} needs {task.shots.count} shots of its split {task.shots.split}, not {len(rows)}"
            )
        if task.shots.rule == "smallest-hash":
            rows.sort(key=lambda row: rank(task, row))
        del rows[task.shots.count :]
    return by_part
