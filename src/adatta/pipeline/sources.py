"""What the stages of a recipe read rows from: found, opened, and their rows' structure checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from adatta.core.errors import DataError, Problem, RowError
from adatta.core.problems import Problems, Sink
from adatta.core.recipe import LoadedRecipe, Stage
from adatta.core.records import Row
from adatta.core.settings import DataSettings, EvaluateSettings

if TYPE_CHECKING:
    from adatta.data.shape import RowKind
    from adatta.data.validate import Input, Refused, Validation

ROW_KIND: dict[str, RowKind] = {"sft": "conversation", "dpo": "preference", "adapt": "document"}
HUB = "hub:"

Wrong = Mapping[str, Sequence[Problem]]
"""What is wrong with whole sources of a stage, by their places; their rows aren't read."""
NOTHING: Wrong = {}


def list_sources(stage: Stage) -> dict[str, DataSettings]:
    """List what a stage reads rows from, by its place in the settings: data.0, holdout, texts.mine.

    Args:
        stage: a training or an evaluate stage.
    """
    if isinstance(stage.settings, EvaluateSettings):
        texts = stage.settings.texts.items()
        return {f"texts.{name}": DataSettings(path=text.path, fields=text.fields) for name, text in texts}
    found = {f"data.{number}": source for number, source in enumerate(stage.training.data)}
    held = stage.training.holdout.path
    return found | ({"holdout": DataSettings(path=held)} if held else {})


def find_wrong(loaded: LoadedRecipe, stage: Stage) -> Wrong:
    """Find the sources that are missing, or whose field map has names that are wrong for every row.

    Args:
        loaded: the recipe.
        stage: one of its training or evaluate stages.

    Returns:
        What is wrong, once each, at the recipe's line.
    """
    from adatta.data.field_map import find_wrong_names

    wrong: dict[str, list[Problem]] = {}
    for place, source in list_sources(stage).items():
        path = f"stages.{loaded.recipe.stages.index(stage)}.{stage.kind}.{place}"
        told = loaded.missing.get(f"{path}.path")
        found = [loaded.problem(f"{path}.path", told[0], hint=told[1], reason="unreadable")] if told else []
        unread = Problems()
        inputs = open_inputs(source, unread, damaged=unread, tolerant=True) if source.fields else ()
        records = (record for given in inputs for record in given.records)
        kind = ROW_KIND.get(stage.kind, "document")
        with suppress(DataError):  # of a source that can't be reached: told when its rows are checked
            for mistake in find_wrong_names(source.fields, kind, records=records):
                name = f"{path}.fields.{mistake.field}"
                found.append(loaded.problem(name, mistake.what, hint=mistake.hint, reason=mistake.reason))
        wrong |= {place: found} if found else {}
    return wrong


def read_structure(stage: Stage, *, is_strict: bool, wrong: Wrong = NOTHING) -> Iterator[Row]:
    """Read the rows of a stage, those of its held-out file too, as far as that needs no model.

    Args:
        stage: a training stage.
        is_strict: whether bad rows are mistakes; else they are left out.
        wrong: the sources that are told and not read.

    Raises:
        RowError: after the last row, if there are mistakes.
    """
    problems = Problems(chain.from_iterable(wrong.values()))
    validation = check_structure(ROW_KIND[stage.kind], problems if is_strict else Problems())
    for place, source in list_sources(stage).items():
        inputs = () if place in wrong else open_inputs(source, problems, damaged=validation, tolerant=True)
        for given in inputs:
            yield from validation.rows(given)
    if len(problems):
        raise RowError(problems.shortened(), counts=problems.counts)


def check_structure(kind: RowKind, problems: Problems) -> Validation:
    """Make the first pass alone, which needs no model; what it refuses is added to `problems`.

    Args:
        kind: the kind of row that is expected.
        problems: takes every problem.
    """
    from adatta.data.validate import Validation

    def refuse(refused: Refused) -> None:
        for problem in refused.problems:
            problems.append(problem)

    return Validation(kind, refuse=refuse, warn=problems.append, meaning=None)


def open_inputs(source: DataSettings, missing: Sink, *, damaged: Sink, tolerant: bool) -> Iterator[Input]:
    """Open what a source stands for: files, or a data set of the Hub at a commit.

    Args:
        source: of a training stage.
        missing: takes what can't be found.
        damaged: takes what can't be read.
        tolerant: whether the rows before a damage are used.
    """
    from adatta.data.source import find_files, read_file
    from adatta.data.validate import Input

    if source.path.startswith(HUB):
        from adatta.data.hub import fetch_dataset

        commit, records = fetch_dataset(
            source.path.removeprefix(HUB),
            damaged,
            config=source.config,
            split=source.split,
            revision=source.revision,
        )
        yield Input(name=source.path, records=records, names=source.fields, commit=commit)
        return
    for file in find_files(source.path, missing):
        yield Input(name=str(file), records=read_file(file, damaged, tolerant=tolerant), names=source.fields)


def show_path(path: str) -> str:
    """Say where a file lies, from the current folder where it is in it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
