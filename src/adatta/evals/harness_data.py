"""The items and shots of a benchmark, from files or the Hub: chosen by content, pinned in a lock file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from adatta.core.artefact import write_json
from adatta.core.errors import DataError, Problem, RowError
from adatta.core.fingerprint import content_id, hash_file
from adatta.core.problems import Problems
from adatta.data.hub import fetch_dataset
from adatta.data.overlap import STRONG_WORDS, ItemText, LeakFinder, words
from adatta.data.source import find_files
from adatta.evals.harness_formats import CONVERTERS, read_release
from adatta.evals.harness_suite import HarnessTask, Row
from adatta.evals.suite import compose

LOCK = "suites.lock"
Pin = Mapping[str, str]
Shots = Mapping[str, Sequence[Row]]  # by the harness' task that asks
_Found = tuple[str, list[Row]]
_KINDS: Any = {kind.__name__: (kind, ...) for kind in (str, int, list, dict)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskData:
    """What a task asks: its items, and the shots before them.

    `pin` says which data they are: their `source`, `hub:OWNER/NAME` or `files`; its `revision`, the Hub's
    commit or a hash of the files; and a hash of the `content`. `counts` are the `rows` of the split, those
    `repeated` and those that `are_shots`, which aren't asked. `leaks` are the items whose question a shot
    holds.
    """

    task: HarnessTask
    items: Sequence[Row]
    shots: Shots
    pin: Pin
    counts: Mapping[str, int]
    leaks: Sequence[Row]


def load_data(task: HarnessTask, data_dir: Path | None = None, *, pin: Pin | None = None) -> TaskData:
    """Read a task's rows, choose its shots, leave items out that are shots.

    Args:
        task: The benchmark.
        data_dir: Folder of original releases; None reads from the Hub, as do tasks that name no files.
        pin: The data that were used first; from the Hub their commit is read again, without it the newest.

    Returns:
        The data.

    Raises:
        DataError: They are missing, or too few for the shots.
        RowError: Rows are broken, or lack a column.
        MissingExtraError: The package datasets isn't installed.
    """
    data_dir = data_dir if task.data.files or not task.data.hub else None
    source = "files" if data_dir else f"hub:{task.data.hub}"
    revision = pin["revision"] if pin and pin["source"] == source else None
    revision, rows = _read_split(task, task.data.split, data_dir, revision)
    found = _read_split(task, task.shots.split, data_dir, revision) if task.shots.count else (revision, [])
    of_shots, pool = found
    items = {content_id(row): row for row in rows}
    shots = _choose_shots(task, pool, items.values())
    are_shots = items.keys() & {content_id(row) for examples in shots.values() for row in examples}
    asked = [row for item_id, row in items.items() if item_id not in are_shots]
    if not asked:
        raise DataError(f"{task.name} has no items in its split {task.data.split}; give all of its files")
    revision = revision if of_shots == revision else content_id([revision, of_shots])
    content = content_id([sorted(items.keys() - are_shots), shots, *filter(None, [task.definition])])
    pin = {"source": source, "revision": revision, "content": content}
    counts = {"rows": len(rows), "repeated": len(rows) - len(items), "are_shots": len(are_shots)}
    leaks = list(find_leaks(task, asked, shots=shots))
    return TaskData(task=task, items=asked, shots=shots, pin=pin, counts=counts, leaks=leaks)


def rank(task: HarnessTask, row: Row) -> tuple[str, str]:
    """Give what rows are drawn by, whatever their order: SHA-256 of the normalised question, then the id."""
    text = " ".join(words(task.question_text(row)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), content_id(row)


def draw_items(data: Iterable[TaskData], total: int) -> dict[str, TaskData]:
    """Draw items from all tasks together in equal shares; what a small task lacks goes to the others.

    Args:
        data: Of the tasks.
        total: Number of items.

    Returns:
        By task, the data with the items of the smallest `rank`.
    """
    drawn: dict[str, TaskData] = {}
    small_first = sorted(data, key=lambda each: len(each.items))
    for number, each in enumerate(small_first):
        share = total // (len(small_first) - number)
        items = sorted(each.items, key=partial(rank, each.task))[:share]
        drawn[each.task.name] = replace(each, items=items)
        total -= len(items)
    return drawn


def find_leaks(task: HarnessTask, items: Sequence[Row], *, shots: Shots) -> Iterator[Row]:
    """Find items whose question equals that of a shot before them, or shares 13 words in a row with it.

    Args:
        task: Of both.
        items: That are scored.
        shots: Of the same task.

    Yields:
        Of each such item: its id, the ids of the shots, and what is shared.
    """
    for part, examples in shots.items():
        asked = [row for row in items if task.part(row) == part]
        finder = LeakFinder([ItemText(question=task.question_text(row)) for row in asked])
        for row in examples:
            finder.look(task.question_text(row), source=part, where=content_id(row))
        found = {leak.item: leak for leak in finder.leaks() if leak.num_words >= STRONG_WORDS}
        same = {rank(task, row)[0]: content_id(row) for row in examples}
        for number, row in enumerate(asked):
            if twin := same.get(rank(task, row)[0]):
                yield {"item": content_id(row), "shots": [twin], "shared": "the question"}
            elif number in found:
                yield {"item": content_id(row), "shots": [*found[number].rows], "shared": found[number].text}


def read_lock(folder: Path) -> dict[str, Pin]:
    """Return the pin of each task's data as first used; nothing where nothing was evaluated."""
    path = folder / LOCK
    lock: dict[str, Pin] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return lock


def check_lock(folder: Path, data: Iterable[TaskData]) -> None:
    """Compare data with those that were used first.

    Args:
        folder: Of the run.
        data: Of the tasks, all of their items.

    Raises:
        DataError: With every task whose content differs.
    """
    lock, pins = read_lock(folder), {found.task.name: found.pin for found in data}
    hint = "give the data of before, or evaluate every model anew in another folder"
    problems = [
        Problem(where=f"{folder / LOCK}: {name}", what=f"{lock[name]} at first, now {pin}", hint=hint)
        for name, pin in pins.items()
        if name in lock and lock[name]["content"] != pin["content"]
    ]
    if problems:
        raise DataError(problems)


def write_lock(folder: Path, data: Iterable[TaskData]) -> None:
    """Write down the data of tasks that are used for the first time."""
    lock, pins = read_lock(folder), {found.task.name: dict(found.pin) for found in data}
    if pins.keys() - lock.keys():
        write_json(folder / LOCK, pins | lock)


def _read_split(task: HarnessTask, split: str, data_dir: Path | None, revision: str | None) -> _Found:
    """Return the revision and the rows of a split."""
    source, problems, rows = task.data, Problems(), []
    if data_dir is not None:
        patterns = source.files.get(split, (f"{split}.*",))
        pattern = next((each for each in patterns if any(data_dir.glob(each))), patterns[0])
        files = list(find_files(data_dir / pattern, problems))
        revision = content_id({file.name: hash_file(file) for file in files})
        read = ((file, read_release(file, source.format, problems=problems)) for file in files)
        numbered = ((f"{file}:{line}", row) for file, lines in read for line, row in lines)
    elif source.hub:
        hub = fetch_dataset(source.hub, problems, config=source.config, split=split, revision=revision)
        revision = hub.commit
        numbered = ((f"hub:{source.hub}:{number}", row) for number, row in hub.rows)
    else:
        raise DataError(f"{task.name} is not on the Hub; give the folder of its files")
    convert = CONVERTERS.get(source.format)
    fields: Any = {name: _KINDS.get(kind, (str | None, None)) for name, kind in source.columns.items()}
    model = create_model("Row", __config__=ConfigDict(coerce_numbers_to_str=True), **fields)
    for where, raw in numbered:
        try:
            if source.split_column is None or raw.get(source.split_column, split) == split:
                rows += [_pick(task, row, model) for row in (convert(raw) if convert else [raw])]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            hint = f"expected {', '.join(f'{name} ({kind})' for name, kind in source.columns.items())}"
            what = f"no row of the format {source.format}: {error}"
            problems.append(Problem(where=where, what=what, hint=hint, reason="wrong_fields"))
    if problems:
        raise RowError(problems.shortened())
    return revision, rows


def _pick(task: HarnessTask, row: Row, model: type[BaseModel]) -> Row:
    """Keep the columns of a task, in their types and with their texts in NFC."""
    row = row | {ours: row[theirs] for ours, theirs in task.data.fields.items() if theirs in row}
    try:
        picked = model.model_validate(row).model_dump() if task.data.columns else row
    except ValidationError as error:
        wrong = dict.fromkeys(str(each["loc"][0]) for each in error.errors())
        raise ValueError(f"missing or of a wrong type: {', '.join(wrong)}") from error
    return {name: compose(value) for name, value in picked.items()}


def _choose_shots(task: HarnessTask, pool: Iterable[Row], items: Iterable[Row]) -> dict[str, list[Row]]:
    """Choose the shots of each of the harness' tasks that asks an item."""
    by_part: dict[str, list[Row]] = {task.part(row): [] for row in items} if task.shots.count else {}
    for row in {content_id(row): row for row in pool}.values():
        by_part.get(task.part(row), []).append(row)
    for part, rows in by_part.items():
        if len(rows) < task.shots.count:
            raise DataError(f"{part} has {len(rows)} of {task.shots.count} shots; give all of its files")
        if task.shots.rule == "smallest-hash":
            rows.sort(key=partial(rank, task))
        del rows[task.shots.count :]
    return by_part
