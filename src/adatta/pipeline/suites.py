"""The suites of a recipe: those that its evaluate stages name, and the texts of the user's own."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING

from adatta.core.errors import Problem, RowError
from adatta.core.fingerprint import content_id
from adatta.core.problems import Problems
from adatta.core.recipe import Recipe, Stage
from adatta.core.records import Document, Item
from adatta.core.settings import DataSettings, TextSettings
from adatta.pipeline.prepare import check_structure, open_inputs

if TYPE_CHECKING:
    from adatta.evals.suite import Suite, SuiteTask

OWN = "texts"  # what the suite of the user's own texts is called


def load_suites(recipe: Recipe) -> dict[str, tuple[Suite, ...]]:
    """Load the suites of every evaluate stage, by the stage's name.

    Args:
        recipe: its paths lead to files.

    Raises:
        RowError: texts of the user's own have mistakes.
    """
    stages = (stage for stage in recipe.stages if stage.kind == "evaluate")
    return {stage.name: _load(stage, recipe.language) for stage in stages}


def _load(stage: Stage, language: str) -> tuple[Suite, ...]:
    from adatta.evals.suite import load_suite

    named = tuple(map(load_suite, stage.evaluation.suites))
    texts = stage.evaluation.texts
    return (*named, _read_own(texts, language)) if texts else named


def _read_own(texts: Mapping[str, TextSettings], language: str) -> Suite:
    """Read texts as the rows of adapt are read; every mistake is told at once."""
    from adatta.evals.suite import GivenSuite, SuiteTask

    problems = Problems()
    tasks, items = [], {}
    for name, settings in texts.items():
        task = SuiteTask(name=name, kind="bits_per_byte", language=settings.language or language)
        tasks.append(task)
        items[name] = _read_items(settings, task, problems)
    if len(problems):
        raise RowError(problems.shortened(), counts=problems.counts)
    return GivenSuite(name=OWN, version=1, tasks=tuple(tasks), given=items)


def _read_items(settings: TextSettings, task: SuiteTask, problems: Problems) -> tuple[Item, ...]:
    validation = check_structure("document", problems)
    source = DataSettings(path=settings.path, fields=settings.fields)
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
