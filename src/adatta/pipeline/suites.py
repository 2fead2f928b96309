"""The suites of a recipe: those that its evaluate stages name, and the texts of the user's own."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from adatta.core.artefact import run_dir
from adatta.core.errors import Problem, RecipeError, RowError
from adatta.core.extras import require
from adatta.core.fingerprint import content_id
from adatta.core.problems import Checks, Problems
from adatta.core.recipe import LoadedRecipe, Stage
from adatta.core.records import Document, Item
from adatta.core.registry import load_registry
from adatta.core.settings import DataSettings
from adatta.pipeline.sources import check_structure, find_wrong, list_sources, open_inputs

if TYPE_CHECKING:
    from adatta.evals.harness_run import Benchmarks
    from adatta.evals.suite import Suite, SuiteTask

OWN = "texts"  # what the suite of the user's own texts is called


def load_suites(loaded: LoadedRecipe, *, checks: Checks) -> dict[str, tuple[Suite | Benchmarks, ...]]:
    """Load the suites of every evaluate stage, by the stage's name; texts with mistakes make none.

    Args:
        loaded: the recipe.
        checks: takes the mistakes in texts of the user's own, and in data of benchmarks.
    """
    stages = (stage for stage in loaded.recipe.stages if stage.kind == "evaluate")
    return {stage.name: tuple(_load(stage, loaded, checks)) for stage in stages}


def list_suites() -> tuple[str, ...]:
    """List the names of all suites: our own, then those of public benchmarks."""
    from adatta.evals.harness_suite import list_harness_suites

    return (*(suite.name for suite in load_registry("adatta.evals.suites").values()), *list_harness_suites())


def is_suite(name: str) -> bool:
    """Tell whether there is such a suite, also as a file of the user's."""
    from adatta.evals.harness_file import is_suite_file

    return name in list_suites() or is_suite_file(name)


def _load(stage: Stage, loaded: LoadedRecipe, checks: Checks) -> Iterator[Suite | Benchmarks]:
    suites = {suite.name: suite for suite in load_registry("adatta.evals.suites").values()}
    data_dir = Path(stage.evaluation.data_dir) if stage.evaluation.data_dir else None
    folder = run_dir(loaded.recipe.name)
    is_there = data_dir is None or data_dir.is_dir()  # else it is told at its line
    taken = {OWN}
    for name in stage.evaluation.suites:
        if name in suites:
            yield suites[name]
        elif is_there and is_suite(name):
            found = checks.attempt(f"suite {name}", partial(_open, name, folder, data_dir, taken))
            yield from [found] if found else []
    yield from checks.attempt(f"texts of {stage.name}", lambda: _read_own(stage, loaded)) or ()


def _open(name: str, folder: Path, data_dir: Path | None, taken: set[str]) -> Benchmarks:
    require("lm_eval", "eval")
    from adatta.evals.harness_file import open_suite
    from adatta.evals.harness_run import load_benchmarks

    suite = open_suite(name)
    if suite.path:  # a quick suite asks the tasks of a whole one; a file of the user's stands for itself
        names = {suite.name, *(task.name for task in suite.tasks)}
        if both := sorted(names & taken):
            what = f"another suite or task is called {', '.join(both)}"
            raise RecipeError(Problem(where=name, what=what, hint="choose another name"))
        taken |= names
    return load_benchmarks(suite, folder=folder, data_dir=data_dir)


def _read_own(stage: Stage, loaded: LoadedRecipe) -> tuple[Suite, ...]:
    """Read texts as the rows of adapt are read; every mistake is told at once."""
    from adatta.evals.suite import GivenSuite, SuiteTask

    sources, wrong = list_sources(stage), find_wrong(loaded, stage)
    problems = Problems(chain.from_iterable(wrong.values()))
    tasks, items = [], {}
    for name, settings in stage.evaluation.texts.items():
        language = settings.language or loaded.recipe.language
        task = SuiteTask(name=name, kind="bits_per_byte", language=language)
        tasks.append(task)
        if (place := f"texts.{name}") not in wrong:
            items[name] = _read_items(sources[place], task, problems)
    if len(problems):
        raise RowError(problems.shortened(), counts=problems.counts)
    return (GivenSuite(name=OWN, version=1, tasks=tuple(tasks), given=items),) if tasks else ()


def _read_items(source: DataSettings, task: SuiteTask, problems: Problems) -> tuple[Item, ...]:
    validation = check_structure("document", problems)
    items: dict[str, Item] = {}
    places: dict[str, str] = {}
    for given in open_inputs(source, problems, damaged=validation, tolerant=True):
        for row in validation.rows(given):
            if not isinstance(row, Document):
                continue
            where = f"{row.origin.path}:{row.origin.line}"
            fields = {"text": unicodedata.normalize("NFC", row.text), "title": "", "register": task.name}
            item_id = content_id(fields)
            if item_id in items:
                what, hint = f"the same text stands at {places[item_id]}", "a text counts once; take one out"
                problems.append(Problem(where=where, what=what, hint=hint, reason="repeated"))
                continue
            places[item_id] = where
            items[item_id] = Item(
                item_id=item_id,
                task=task.name,
                language=task.language,
                cluster_id=row.group or item_id,
                fields=fields,
            )
    return tuple(items.values())
